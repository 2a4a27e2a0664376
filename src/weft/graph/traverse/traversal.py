"""The traversal as its users write it: lazy, immutable, and run by a terminal call."""

from __future__ import annotations

from collections.abc import Generator
from itertools import islice
from typing import Any, TypeVar

import msgspec

from weft.core import codec
from weft.core.errors import Bug
from weft.core.limits import MAX_PATHS
from weft.graph.model import Edge, Node, NodeRef, Path, id_text
from weft.graph.schema import Schema
from weft.graph.traverse import where as conditions
from weft.graph.traverse.plan import Planner
from weft.graph.traverse.reads import Ask, Asking, Read, Request, Scan
from weft.graph.traverse.result import Count, Group, Result
from weft.graph.traverse.steps import Direction, Distinct, Hop, Limit, OrderBy, Query, Step, Where, to_json
from weft.graph.traverse.visibility import Visibility
from weft.graph.traverse.walk import Walk
from weft.graph.traverse.where import sort_key
from weft.kv.store import KeyValueStore

T = TypeVar("T")


class Traversal:
    """Steps from a start set. Each step returns a new traversal; `nodes`, `edges`, `paths`, `count` and
    `count_by` read. What they return says whether it is complete."""

    __slots__ = ("_planner", "_store", "_visibility", "query")

    def __init__(
        self, query: Query, planner: Planner, store: KeyValueStore, visibility: Visibility | None = None
    ) -> None:
        self.query = query
        self._planner = planner
        self._store = store
        self._visibility = visibility

    def out(
        self,
        edge: str,
        *,
        where: conditions.Where | None = None,
        order_by: str | None = None,
        per_node: int | None = None,
        limit: int | None = None,
    ) -> Traversal:
        """To the targets of the edges that start here; the arguments are those of `steps.Hop`."""
        return self._hop("out", edge, where, order_by, per_node, limit)

    def in_(
        self,
        edge: str,
        *,
        where: conditions.Where | None = None,
        order_by: str | None = None,
        per_node: int | None = None,
        limit: int | None = None,
    ) -> Traversal:
        """To the sources of the edges that end here."""
        return self._hop("in", edge, where, order_by, per_node, limit)

    def both(
        self,
        edge: str,
        *,
        where: conditions.Where | None = None,
        order_by: str | None = None,
        per_node: int | None = None,
        limit: int | None = None,
    ) -> Traversal:
        """Along the edges in whichever direction the schema allows."""
        return self._hop("both", edge, where, order_by, per_node, limit)

    def where(self, where: conditions.Where) -> Traversal:
        """Keep the nodes whose properties satisfy the condition."""
        return self._then(Where(dict(where)))

    def order_by(self, by: str) -> Traversal:
        """Order the nodes by a property, `-name` for descending."""
        return self._then(OrderBy(by))

    def limit(self, limit: int) -> Traversal:
        """Keep the first nodes."""
        return self._then(Limit(limit))

    def distinct(self) -> Traversal:
        """Count each node once from here on, however many walks reached it."""
        return self._then(Distinct())

    def to_json(self) -> str:
        """The traversal as JSON, for `Graph.traverse`."""
        return to_json(self.query)

    def nodes(self) -> Result[Node]:
        """The distinct nodes where the walks end, with their properties."""

        def answer(walk: Walk) -> Asking[list[Node]]:
            return (yield from walk.nodes(walk.last, walk.last.walks))

        return self._result(answer)

    def edges(self) -> Result[Edge]:
        """The distinct edges of the last hop; none without a hop."""

        def answer(walk: Walk) -> Asking[list[Edge]]:
            yield from ()
            return [walk.last.edge(link) for link in walk.last.links]

        return self._result(answer)

    def paths(self) -> Result[Path]:
        """Every walk with its nodes and edges, at most `limits.MAX_PATHS`."""
        return self._result(_paths)

    def count(self) -> Count:
        """How many nodes `nodes()` would return."""

        def answer(walk: Walk) -> Asking[list[int]]:
            yield from ()
            return [len(walk.last.walks)]

        result = self._result(answer)
        return Count(result.items[0], result.reason)

    def count_by(self, by: str | None = None, *, top: int | None = None) -> Result[Group]:
        """How many walks end at each node, or with each value of the property `by`; the largest first.

        `top` keeps that many groups. Nodes without the property form the group None.
        """

        def answer(walk: Walk) -> Asking[list[Group]]:
            if by is None:
                kind = walk.last.type
                groups = [Group(NodeRef(kind, id_text(n)), count) for n, count in walk.last.walks.items()]
            else:
                groups = yield from _by_value(walk, by, self._planner.schema)
            groups.sort(key=lambda group: (-group.count, sort_key(_sortable(group.key))))
            if top is not None and len(groups) > top:
                walk.cut(f"the top {top:,} of {len(groups):,} groups")
                del groups[top:]
            return groups

        return self._result(answer)

    def _hop(
        self,
        direction: Direction,
        edge: str,
        where: conditions.Where | None,
        order_by: str | None,
        per_node: int | None,
        limit: int | None,
    ) -> Traversal:
        return self._then(Hop(direction, edge, dict(where or {}), order_by, per_node, limit))

    def _then(self, step: Step) -> Traversal:
        query = msgspec.structs.replace(self.query, steps=[*self.query.steps, step])
        return Traversal(query, self._planner, self._store, self._visibility)

    def _result(self, answer: Any) -> Result[Any]:
        walk = Walk(self._planner.plan(self.query), guarded=self._visibility is not None)

        def whole() -> Asking[list[Any]]:
            yield from walk.run()
            found: list[Any] = yield from answer(walk)
            return found

        items = drive(whole(), self._store, self._visibility)
        return Result(items, walk.reason)


def drive(asking: Generator[Request, Any, T], store: KeyValueStore, visibility: Visibility | None) -> T:
    """Answer a walk's requests until it returns, all at one moment of the store."""
    with store.snapshot():
        reply: Any = None
        while True:
            try:
                request = asking.send(reply)
            except StopIteration as done:
                result: T = done.value
                return result
            reply = _answer(request, store, visibility)


def _answer(request: Request, store: KeyValueStore, visibility: Visibility | None) -> Any:
    if type(request) is Read:
        namespace, records, limit_per_record, after = request
        return store.get_items(namespace, records, limit_per_record=limit_per_record, after=after)
    if isinstance(request, Scan):
        return store.scan_records(request.namespace, after=request.after)
    assert isinstance(request, Ask)
    if visibility is None:
        raise Bug("a traversal without visibility asked for it")
    return visibility.visible(request.nodes)


def _paths(walk: Walk) -> Asking[list[Path]]:
    chains = list(islice(walk.paths(), MAX_PATHS + 1))
    if len(chains) > MAX_PATHS:
        walk.cut(f"there are more than {MAX_PATHS:,} paths")
        del chains[MAX_PATHS:]
    known = []
    for depth, layer in enumerate(walk.layers):
        ids = dict.fromkeys(chain.node(depth) for chain in chains)
        known.append(dict(zip(ids, (yield from walk.nodes(layer, ids)), strict=True)))
    return [
        Path(
            [known[depth][chain.node(depth)] for depth in range(len(walk.layers))],
            [walk.layers[depth].edge(link) for depth, link in enumerate(chain.links, 1)],
        )
        for chain in chains
    ]


def _by_value(walk: Walk, by: str, schema: Schema) -> Asking[list[Group]]:
    conditions.property_kind(by, schema.node(walk.last.type))
    facts = yield from walk.facts(walk.last)
    groups: dict[bytes, Group] = {}
    for node, count in walk.last.walks.items():
        value = facts.get(node, {}).get(by)
        before = groups.get(key := codec.encode(value))
        groups[key] = Group(value, count + (before.count if before else 0))
    return list(groups.values())


def _sortable(key: Any) -> Any:
    return key.id if isinstance(key, NodeRef) else key
