"""Watch: the changes of nodes and edges as an endless stream that can be resumed at any event."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from weft.core.clock import Clock
from weft.core.codec import decode, encode
from weft.core.errors import Conflict, Corrupt, Invalid
from weft.graph import layout
from weft.graph.model import Edge, EdgeRef, Node, NodeRef, id_text
from weft.graph.schema import Schema
from weft.graph.traverse.visibility import LastingVisibility, Visibility
from weft.graph.types import EdgeType, GraphType, NodeType
from weft.kv.model import ALL, Change, Item, Keys, Selection
from weft.kv.store import Capability, ChangesForgotten, KeyValueStore

HEARTBEAT_S: Final = 5.0
POLL_S: Final = 0.02
"""How soon a write of another process is seen."""
_BATCH: Final = 100


class ExpiredCursor(Conflict):
    """The changes after a cursor are no longer known."""


class WatchEvent(msgspec.Struct, frozen=True):
    """A node or edge that changed, as it is `now`, or what was `removed`; without either, a heartbeat.

    `cursor` resumes right after it. The events of one write may share the cursor before it until the last of
    them: whoever resumes in between is told the first ones again, as they are then.
    """

    cursor: str
    now: Node | Edge | None = None
    removed: NodeRef | EdgeRef | None = None


class Position(msgspec.Struct, array_like=True):
    """Up to which generation of the store a watch has told everything."""

    generation: int
    ahead: dict[str, int] = {}
    """Namespaces of which more than that was told."""

    def of(self, namespace: str) -> int:
        return self.ahead.get(namespace, self.generation)

    def cursor(self) -> str:
        return urlsafe_b64encode(encode(self)).decode().rstrip("=")


class Watch:
    """The stream in steps, for a loop that waits in its own way; see `Graph.watch` for what it tells."""

    def __init__(
        self,
        store: KeyValueStore,
        schema: Schema,
        clock: Clock,
        types: Iterable[str] = (),
        *,
        after: str | None = None,
        visibility: Visibility | None = None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        if isinstance(types, str):
            raise Invalid(f"`types` is the text `{types}`", hint=f"write types=[{types!r}]")
        if not heartbeat_s > 0:
            raise Invalid(f"a heartbeat every {heartbeat_s} s is not possible", hint="use a positive number")
        self._store = store
        self._schema = schema
        self._clock = clock
        self._types = frozenset(types)
        self._visibility = visibility
        self._heartbeat_s = heartbeat_s
        schema.current(self._check_types)
        self._until = self._generation()
        self._told_s: float | None = None
        if after is None:
            self._position = Position(self._until)
        else:
            self._position = _parsed(after)
            self._told_s = clock.monotonic_s()
            for kind in self._kinds():
                self._changes(kind)

    @property
    def pause_s(self) -> float:
        """How long to wait when a poll has told nothing."""
        return min(POLL_S, self._heartbeat_s)

    def poll(self) -> list[WatchEvent]:
        """The next events, without waiting; a heartbeat where there were none for long enough, and where the
        watch begins."""
        events = self._next_events() if self._told_s is not None else []
        now_s = self._clock.monotonic_s()
        if not events and (self._told_s is None or now_s - self._told_s >= self._heartbeat_s):
            events = [WatchEvent(self._position.cursor())]
        if events:
            self._told_s = now_s
        return events

    def _next_events(self) -> list[WatchEvent]:
        """Every type is told up to one generation before any is told further."""
        if self._position.generation == self._until:
            self._until = self._generation()
            if self._position.generation == self._until:
                return []
            self._schema.refresh()
        for kind in self._kinds():
            while self._position.of(_namespace(kind)) < self._until:
                if events := self._tell(kind):
                    return events
        ahead = {name: told for name, told in self._position.ahead.items() if told > self._until}
        self._position = Position(self._until, ahead)
        return []

    def _tell(self, kind: GraphType) -> list[WatchEvent]:
        before = self._position.cursor()
        with self._store.snapshot():
            changed, generation = self._changes(kind)
            found = (
                self._read_nodes(kind, changed)
                if isinstance(kind, NodeType)
                else self._read_edges(kind, changed)
            )
        self._position.ahead[_namespace(kind)] = generation
        found = self._visible(kind, found)
        events = [_event(before, one) for one in found[:-1]]
        return events + [_event(self._position.cursor(), one) for one in found[-1:]]

    def _changes(self, kind: GraphType) -> tuple[list[Change], int]:
        name = _namespace(kind)
        try:
            found = self._store.changes(name, after=self._position.of(name), limit=_BATCH)
        except ChangesForgotten as error:
            raise _expired() from error
        return found.changed, found.generation

    def _read_nodes(self, kind: NodeType, changed: list[Change]) -> list[Node | Edge | NodeRef | EdgeRef]:
        records = list(dict.fromkeys(change.record for change in changed))
        items: dict[bytes, list[Item]] = {record: [] for record in records}
        for record, item in self._items(layout.node_namespace(kind.name), records, ALL):
            items[record].append(item)
        return [
            layout.node_from(kind.name, record, found) if found else NodeRef(kind.name, id_text(record))
            for record, found in items.items()
        ]

    def _read_edges(self, kind: EdgeType, changed: list[Change]) -> list[Node | Edge | NodeRef | EdgeRef]:
        items: dict[tuple[bytes, bytes], Item | None] = {}
        targets: dict[bytes, list[bytes]] = {}
        for source, target in dict.fromkeys(changed):
            if target is None:
                raise _expired()  # A part of the list was erased: nobody knows what was in it.
            items[source, target] = None
            targets.setdefault(source, []).append(target)
        for source, keys in targets.items():
            for _, item in self._items(layout.out_namespace(kind.name), [source], Keys(tuple(keys))):
                items[source, item.key] = item
        if kind.split:
            there = {layout.pair_record(*ends): ends for ends, item in items.items() if item is not None}
            for record, item in self._items(layout.pair_namespace(kind.name), list(there), ALL):
                items[there[record]] = item
        return [
            layout.edge_from(kind.name, *ends, item)
            if item is not None
            else EdgeRef(kind.name, id_text(ends[0]), id_text(ends[1]))
            for ends, item in items.items()
        ]

    def _items(
        self, namespace: str, records: Sequence[bytes], selection: Selection
    ) -> Iterator[tuple[bytes, Item]]:
        after = None
        while True:
            page = self._store.get_items(namespace, records, selection, after=after)
            yield from ((part.record, item) for part in page.records for item in part.items)
            after = page.next
            if after is None:
                return

    def _visible(
        self, kind: GraphType, found: list[Node | Edge | NodeRef | EdgeRef]
    ) -> list[Node | Edge | NodeRef | EdgeRef]:
        """What is no hidden node, and no edge with a hidden end."""
        eyes = self._visibility
        if eyes is None or not found:
            return found
        if isinstance(eyes, LastingVisibility):
            eyes = eyes.now()
        ends = [_nodes_of(kind, one) for one in found]
        asked = list(dict.fromkeys(node for nodes in ends for node in nodes))
        seen = {node for node, visible in zip(asked, eyes.visible(asked), strict=True) if visible is True}
        return [one for one, nodes in zip(found, ends, strict=True) if seen.issuperset(nodes)]

    def _kinds(self) -> list[GraphType]:
        kinds: list[GraphType] = [*self._schema.nodes.values(), *self._schema.edges.values()]
        return [kind for kind in kinds if not self._types or kind.name in self._types]

    def _check_types(self) -> None:
        known = {*self._schema.nodes, *self._schema.edges}
        for name in sorted(self._types - known):
            raise Invalid(
                f"`{name}` is no type of this graph",
                hint=f"name some of {', '.join(sorted(known)) or 'none'}",
            )

    def _generation(self) -> int:
        generation = self._store.generation()
        if generation is None or Capability.CHANGES not in self._store.capabilities:
            raise Invalid("this store does not tell its changes", hint="keep the graph in a folder")
        return generation


def watch(steps: Watch, clock: Clock) -> Iterator[WatchEvent]:
    """The events, for ever."""
    while True:
        events = steps.poll()
        yield from events
        if not events:
            clock.sleep(steps.pause_s)


def _namespace(kind: GraphType) -> str:
    if isinstance(kind, NodeType):
        return layout.node_namespace(kind.name)
    return layout.out_namespace(kind.name)


def _nodes_of(kind: GraphType, one: Node | Edge | NodeRef | EdgeRef) -> tuple[NodeRef, ...]:
    if isinstance(one, Node | NodeRef):
        return (NodeRef(one.type, one.id),)
    assert isinstance(kind, EdgeType)
    return (NodeRef(kind.source, one.source), NodeRef(kind.target, one.target))


def _event(cursor: str, one: Node | Edge | NodeRef | EdgeRef) -> WatchEvent:
    if isinstance(one, Node | Edge):
        return WatchEvent(cursor, now=one)
    return WatchEvent(cursor, removed=one)


def _parsed(cursor: str) -> Position:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        return decode(urlsafe_b64decode(padded), Position, "a cursor")
    except (Corrupt, ValueError, AttributeError):
        raise Invalid(
            f"`{cursor!s:.80}` is no cursor of a watch", hint="pass the `cursor` of an event, as it was told"
        ) from None


def _expired() -> ExpiredCursor:
    return ExpiredCursor(
        "the changes after this cursor are forgotten",
        hint="begin a watch from now, read the graph again, then go on with that watch",
    )
