"""What a walk is asked about where it ends: nodes, edges, paths, groups, a summary; and which page of it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, Literal

from weft.core import codec
from weft.core.limits import MAX_PATHS
from weft.graph.model import NodeRef, Path, id_text
from weft.graph.schema import Schema
from weft.graph.traverse.reads import Asking, Link
from weft.graph.traverse.result import Group, Summary
from weft.graph.traverse.resume import Place, digest, moved_on
from weft.graph.traverse.walk import EVERYTHING, Chain, Walk, Wanted
from weft.graph.traverse.where import property_kind, sort_key

Things = Literal["nodes", "edges", "paths"]


class Paged:
    """One page of the nodes, edges or paths of a walk: at most `page`, from `place` on."""

    def __init__(self, things: Things, page: int | None, place: Place | None) -> None:
        self.reason = ""
        self.rest: Place | None = None
        """Where the next page starts; its `question` is for the caller to fill in."""
        self._things = things
        self._page = MAX_PATHS if page is None and things == "paths" else page
        self._told = page is not None
        self._place = place or Place(b"", b"", 0)

    def wanted(self) -> Wanted:
        """What the walk need not leave out."""
        if self._things == "paths":
            return EVERYTHING
        enough = None if self._page is None else self._place.count + self._page
        return Wanted(self._place.key or None, enough, self._things == "edges")

    def read(self, walk: Walk) -> Asking[list[Any]]:
        yield from walk.run()
        found = self._found(walk)
        start = 0 if self._place.key else self._place.count
        if not self._begins(walk, found[:start]):
            if walk.stopped:
                self.rest = self._place
                return []
            raise moved_on()
        chosen = found[start:] if self._page is None else found[start : start + self._page]
        items = yield from _built(self._things, walk, chosen)
        end = start + len(items)
        if end < len(found) or walk.more or walk.stopped:
            self._leave(walk, found[:end])
        if end < len(found) and not walk.stopped:
            self.reason = f"a page of {self._page:,}"
            if not self._told:
                self.reason = f"there are more than {MAX_PATHS:,} paths"
        return items

    def _found(self, walk: Walk) -> list[Any]:
        if self._things == "nodes":
            return list(walk.last.walks)
        if self._things == "edges":
            return walk.last.distinct_links()
        assert self._page is not None
        return list(islice(walk.paths(), self._place.count + self._page + 1))

    def _begins(self, walk: Walk, before: list[Any]) -> bool:
        """Whether the walk is the one that the page before was of."""
        if self._place.key:
            return walk.origin is not None and digest(walk.origin) == self._place.seen
        if not self._place.count:
            return True
        return len(before) == self._place.count and digest(_names(before)) == self._place.seen

    def _leave(self, walk: Walk, returned: list[Any]) -> None:
        if walk.origin is not None and self._things != "paths":
            if returned:
                key = returned[-1].there if self._things == "edges" else returned[-1]
                self.rest = Place(b"", digest(walk.origin), 0, key)
            elif self._place.key:
                self.rest = self._place
        elif walk.beginning and not walk.more:
            self.rest = Place(b"", digest(_names(returned)), len(returned))


def _names(things: Sequence[Any]) -> list[Any]:
    return [_name(thing) for thing in things]


def _name(thing: bytes | Link | Chain) -> Any:
    """What tells nodes, edges or paths of one walk apart."""
    if isinstance(thing, Link):
        return thing[:3]
    return [thing.start, [link[1:3] for link in thing.links]] if isinstance(thing, Chain) else thing


def _built(things: Things, walk: Walk, chosen: list[Any]) -> Asking[list[Any]]:
    if things == "nodes":
        return (yield from walk.nodes(walk.last, chosen))
    if things == "edges":
        layer = walk.last
        return list(map(layer.edge, (yield from walk.whole(layer, chosen))))
    return (yield from _paths(walk, chosen))


def _paths(walk: Walk, chains: list[Chain]) -> Asking[list[Path]]:
    known = []
    for depth, layer in enumerate(walk.layers):
        ids = list(dict.fromkeys(chain.node(depth) for chain in chains))
        nodes = yield from walk.nodes(layer, ids)
        known.append(dict(zip(ids, nodes, strict=False)))
    links = {}
    for depth in range(1, len(walk.layers)):
        links[depth] = yield from _links(walk, depth, chains)
    paths = []
    for chain in chains:
        ends = [known[depth].get(chain.node(depth)) for depth in range(len(walk.layers))]
        taken = [links[depth].get(link[:3]) for depth, link in enumerate(chain.links, 1)]
        if None in ends or None in taken:
            break
        edges = [walk.layers[depth].edge(link) for depth, link in enumerate(taken, 1) if link is not None]
        paths.append(Path([end for end in ends if end is not None], edges))
    return paths


def _links(walk: Walk, depth: int, chains: list[Chain]) -> Asking[dict[tuple[bytes, bytes, bool], Link]]:
    """The links of one hop of the chains with their properties."""
    wanted = {chain.links[depth - 1][:3]: chain.links[depth - 1] for chain in chains}
    found = yield from walk.whole(walk.layers[depth], list(wanted.values()))
    return {link[:3]: link for link in found}


def groups(walk: Walk, by: str | None, schema: Schema) -> Asking[list[Group]]:
    """How many walks end at each node, or with each value of a property; the largest group first."""
    if by is None:
        kind = walk.last.type
        found = [Group(NodeRef(kind, id_text(node)), count) for node, count in walk.last.walks.items()]
    else:
        found = yield from _by_value(walk, by, schema)
    found.sort(key=lambda group: (-group.count, sort_key(_sortable(group.key))))
    return found


def _by_value(walk: Walk, by: str, schema: Schema) -> Asking[list[Group]]:
    property_kind(by, schema.node(walk.last.type))
    facts = yield from walk.facts(walk.last)
    found: dict[bytes, Group] = {}
    for node, count in walk.last.walks.items():
        value = facts.get(node, {}).get(by)
        before = found.get(key := codec.encode(value))
        found[key] = Group(value, count + (before.count if before else 0))
    return list(found.values())


def _sortable(key: Any) -> Any:
    return key.id if isinstance(key, NodeRef) else key


def values(walk: Walk, by: str, of: Literal["nodes", "edges"]) -> Asking[list[Any]]:
    """A property of the distinct nodes or edges at the end; without those that lack it."""
    if of == "edges":
        links = yield from walk.whole(walk.last, walk.last.distinct_links())
        found = [walk.last.facts(link).get(by) for link in links]
    else:
        known = yield from walk.facts(walk.last)
        found = [facts.get(by) for facts in known.values()]
    return [value for value in found if value is not None]


def summary(found: list[Any], reason: str) -> Summary:
    if not found:
        return Summary(0, complete=not reason, reason=reason)
    numbers = all(type(value) in (int, float) for value in found)
    total = sum(found) if numbers else None
    return Summary(
        len(found),
        min(found, key=sort_key),
        max(found, key=sort_key),
        total,
        None if total is None else total / len(found),
        not reason,
        reason,
    )
