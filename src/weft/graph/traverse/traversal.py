"""The traversal as its users write it: lazy, immutable, and run by a terminal call."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import msgspec

from weft.core.clock import Clock
from weft.core.errors import Bug, Invalid
from weft.graph.model import Edge, Node, Path
from weft.graph.packed.packs import Packs
from weft.graph.traverse import answers
from weft.graph.traverse import where as conditions
from weft.graph.traverse.answers import Paged, Things
from weft.graph.traverse.explain import Meter, Profile, StepPlan, explain, step_names
from weft.graph.traverse.plan import Planner, positive
from weft.graph.traverse.reads import Ask, Asking, Read, Request, Scan
from weft.graph.traverse.result import Count, Group, Result, Summary
from weft.graph.traverse.resume import question, read_token, write_token
from weft.graph.traverse.steps import Direction, Distinct, Hop, Limit, OrderBy, Query, Step, Where, to_json
from weft.graph.traverse.visibility import Visibility
from weft.graph.traverse.walk import EVERYTHING, Walk, Wanted
from weft.kv.model import ALL, Range
from weft.kv.store import KeyValueStore

if TYPE_CHECKING:
    from weft.graph.packed.pack import Answer, Asked

T = TypeVar("T")


class Serving(NamedTuple):
    """What the traversals of one graph share."""

    planner: Planner
    store: KeyValueStore
    packs: Packs
    key: bytes
    """What signs the tokens of pages."""
    clock: Clock


class Traversal:
    """Steps from a start set. Each step returns a new traversal; `nodes`, `edges`, `paths`, `count`,
    `count_by`, `summary` and `profile` read. What they return says whether it is complete."""

    __slots__ = ("_serving", "_visibility", "query")

    def __init__(self, query: Query, serving: Serving, visibility: Visibility | None) -> None:
        self.query = query
        self._serving = serving
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

    def as_of(self, instant_us: int) -> Traversal:
        """Walk only edges that are valid at that instant, of types that declare `valid_from_us` or
        `valid_to_us`; edges of other types are valid always."""
        return self._with(as_of_us=instant_us)

    def within(self, seconds: float) -> Traversal:
        """Stop reading after so long, and return what was found: `complete` is False then. A page of the
        store, of at most 10,000 items, is finished first."""
        return self._with(within_s=seconds)

    def per_node(self, edges: int) -> Traversal:
        """Walk at most so many edges of each node on every hop that has no `per_node` of its own."""
        return self._with(per_node=edges)

    def nodes(self, *, page: int | None = None, after: str | None = None) -> Result[Node]:
        """The distinct nodes where the walks end, with their properties.

        `page` returns at most so many; the result's `next`, given as `after`, returns those that follow.
        `Conflict` when they no longer follow what was returned.
        """
        return self._page("nodes", page, after)

    def edges(self, *, page: int | None = None, after: str | None = None) -> Result[Edge]:
        """The distinct edges of the last hop, none without a hop; pages as in `nodes`."""
        return self._page("edges", page, after)

    def paths(self, *, page: int | None = None, after: str | None = None) -> Result[Path]:
        """Every walk with its nodes and edges; at most `limits.MAX_PATHS` at once; pages as in `nodes`."""
        return self._page("paths", page, after)

    def count(self) -> Count:
        """How many nodes `nodes()` would return."""
        packed = self._packed("count")
        if packed is not None:
            return Count(packed.found, packed.reason)
        walk = self._run(lambda walk: walk.run())[0]
        return Count(len(walk.last.walks), self._reason(walk))

    def count_by(self, by: str | None = None, *, top: int | None = None) -> Result[Group]:
        """How many walks end at each node, or with each value of the property `by`; the largest first.

        `top` keeps that many groups. Nodes without the property form the group None.
        """

        def answer(walk: Walk) -> Asking[list[Group]]:
            yield from walk.run()
            return (yield from answers.groups(walk, by, self._serving.planner.schema))

        walk, groups = self._run(answer)
        if top is not None and len(groups) > top:
            walk.cut(f"the top {top:,} of {len(groups):,} groups")
            del groups[top:]
        return Result(groups, self._reason(walk))

    def summary(self, by: str, *, of: Literal["nodes", "edges"] = "nodes") -> Summary:
        """Count, least, greatest, sum and mean of a property of the distinct nodes where the walks end, or
        of the edges of the last hop."""

        def answer(walk: Walk) -> Asking[list[Any]]:
            yield from walk.run()
            return (yield from answers.values(walk, by, of))

        self._serving.planner.check_property(self.query, by, of)
        walk, values = self._run(answer)
        return answers.summary(values, self._reason(walk))

    def explain(self) -> list[StepPlan]:
        """What each step is going to read, and the most that it can leave. Reads nothing."""
        plan = self._serving.planner.plan(self.query)
        return explain(
            self.query, plan, packed=self._packable() and self._serving.packs.covers(plan, "nodes")
        )

    def profile(self) -> Profile:
        """Run `nodes()` and tell what each step read and how long it took; of the whole graph only, since it
        counts what is hidden from a reader, too."""
        if self._visibility is not None:
            raise Invalid("a profile counts what is hidden, too", hint="ask for `explain`")
        names = step_names(self.query, self._serving.planner.plan(self.query))
        meter = Meter(names, self._serving.clock)
        packed = self._packed("nodes", meter)
        if packed is not None:
            return meter.profile(len(packed.found), packed.reason, packed=True)
        meter = Meter(names, self._serving.clock)
        paged = Paged("nodes", None, None)
        walk, nodes = self._run(paged.read, meter=meter)
        return meter.profile(len(nodes), self._reason(walk), packed=False)

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
        return self._with(steps=[*self.query.steps, step])

    def _with(self, **changes: Any) -> Traversal:
        query = msgspec.structs.replace(self.query, **changes)
        return Traversal(query, self._serving, self._visibility)

    def _page(self, things: Things, page: int | None, after: str | None) -> Result[Any]:
        if page is None and after is None and things != "paths":
            packed = self._packed(things)
            if packed is not None:
                return Result(packed.found, packed.reason)
        positive("page", page)
        place = None if after is None else read_token(after, question(self.query, things), self._serving.key)
        paged = Paged(things, page, place)
        walk, items = self._run(paged.read, paged.wanted())
        token = None
        if paged.rest is not None:
            place = msgspec.structs.replace(paged.rest, question=question(self.query, things))
            token = write_token(place, self._serving.key)
        return Result(items, paged.reason or self._reason(walk), token)

    def _packable(self) -> bool:
        """Whether nothing is asked that only a walk of the store can do: hide nodes, or stop in time."""
        return self._visibility is None and self.query.within_s is None

    def _packed(self, asked: Asked, meter: Meter | None = None) -> Answer | None:
        """The answer of the read form, or None where the store is to be walked."""
        if self._serving.packs.pack is None or not self._packable():
            return None
        plan = self._serving.planner.plan(self.query)
        return self._serving.packs.answer(plan, asked, self._serving.store, meter)

    def _run(
        self,
        answer: Callable[[Walk], Asking[T]],
        wanted: Wanted = EVERYTHING,
        meter: Meter | None = None,
    ) -> tuple[Walk, T]:
        walk = Walk(
            self._serving.planner.plan(self.query),
            guarded=self._visibility is not None,
            late=self._late(),
            wanted=wanted,
            entered=meter.entered if meter else None,
        )
        return walk, drive(answer(walk), self._serving.store, self._visibility, meter)

    def _late(self) -> Callable[[], bool] | None:
        if self.query.within_s is None:
            return None
        monotonic_s = self._serving.clock.monotonic_s
        end_s = monotonic_s() + self.query.within_s
        return lambda: monotonic_s() >= end_s

    def _reason(self, walk: Walk) -> str:
        return f"{self.query.within_s:g} s were over" if walk.stopped else walk.reason


def drive(
    asking: Generator[Request, Any, T],
    store: KeyValueStore,
    visibility: Visibility | None,
    meter: Meter | None = None,
) -> T:
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
            if meter is not None:
                meter.answered(request, reply)


def _answer(request: Request, store: KeyValueStore, visibility: Visibility | None) -> Any:
    if type(request) is Read:
        namespace, records, limit_per_record, after, behind = request
        selection = ALL if behind is None else Range(behind + b"\x00")
        return store.get_items(namespace, records, selection, limit_per_record=limit_per_record, after=after)
    if isinstance(request, Scan):
        return store.scan_records(request.namespace, after=request.after)
    assert isinstance(request, Ask)
    if visibility is None:
        raise Bug("a traversal without visibility asked for it")
    return visibility.visible(request.nodes)
