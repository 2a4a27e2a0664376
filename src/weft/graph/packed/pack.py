"""Edge types as packed at one moment of the store, brought to a later one by what has changed since."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from weft.core.clock import Clock
from weft.graph import layout
from weft.graph.model import id_text
from weft.graph.packed.edges import Change, Edges
from weft.graph.packed.hops import PackedWalk, TooMany
from weft.graph.packed.nodes import Nodes
from weft.graph.packed.reading import all_records, changed_keys, items_of, records_of
from weft.graph.schema import Schema
from weft.graph.traverse.explain import Meter
from weft.graph.traverse.plan import Plan, PlannedHop
from weft.graph.traverse.steps import Distinct, Limit
from weft.kv.model import Item, RecordItems
from weft.kv.store import Capability, ChangesForgotten, KeyValueStore

Progress = Callable[[str, int], object]
"""Told the namespace that is being read, and how many of its items were."""
Asked = Literal["nodes", "edges", "count"]


class Answer(NamedTuple):
    """What was asked for, and what cut it."""

    found: Any
    reason: str


class Pack:
    """The edges of some types, and the nodes at their ends, in arrays.

    `generation` is the moment of the store that the arrays are of. The lock is never waited for by a thread
    that could hold up the store meanwhile: it is taken inside a snapshot, or without touching the store.
    """

    def __init__(self, schema: Schema, names: Iterable[str]) -> None:
        kinds = [schema.edge(name) for name in names]
        ends = dict.fromkeys(end for kind in kinds for end in (kind.source, kind.target))
        self.nodes = {name: Nodes(schema.node(name)) for name in ends}
        self.edges = {
            kind.name: Edges(kind, self.nodes[kind.source], self.nodes[kind.target]) for kind in kinds
        }
        self.generation = -1
        self._read_us = 0
        """When items were last read or dropped; at an earlier time more of them would be live."""
        self._lock = threading.Lock()

    @classmethod
    def read(
        cls, schema: Schema, names: Iterable[str], store: KeyValueStore, clock: Clock, progress: Progress
    ) -> Pack:
        """Read everything, page by page while others may write, and then what was written meanwhile."""
        try:
            pack = cls(schema, names)
            pack._read(store, clock, progress)
            with store.snapshot():
                pack._follow(store, clock)
        except ChangesForgotten:
            # So much is written that only one moment can be read; that holds up the writers.
            pack = cls(schema, names)
            with store.snapshot():
                pack._read(store, clock, progress)
        return pack

    def covers(self, plan: Plan, asked: Asked) -> bool:
        """Whether the walk can be answered from here: hops from given nodes along packed types, each with
        all that it meets or the first of it, in no other order than that of ids."""
        hopped = False
        kind = ""
        for step in plan.steps:
            if isinstance(step, PlannedHop):
                if step.test is not None or step.order is not None or step.edge.name not in self.edges:
                    return False
                hopped, kind = True, step.to
            elif not (hopped and isinstance(step, Limit)) and not isinstance(step, Distinct):
                return False
        return hopped and plan.ids is not None and (asked != "nodes" or not self.nodes[kind].kind.groups)

    def answer(
        self, plan: Plan, asked: Asked, store: KeyValueStore, clock: Clock, meter: Meter | None
    ) -> Answer | None:
        """The answer at this moment of the store; None where only the store can tell. `ChangesForgotten`
        when the pack has to be read anew."""
        generation = store.generation()
        with self._lock:
            if generation == self.generation:
                return self._walk(plan, asked, clock.now_us(), meter)
        with store.snapshot(), self._lock:
            if not self._follow(store, clock):
                return None
            return self._walk(plan, asked, clock.now_us(), meter)

    def memory_bytes(self) -> tuple[int, int]:
        """Of the arrays of edges, and of nodes with their ids."""
        return (
            sum(edges.memory_bytes() for edges in self.edges.values()),
            sum(nodes.memory_bytes() for nodes in self.nodes.values()),
        )

    def _walk(self, plan: Plan, asked: Asked, now_us: int, meter: Meter | None) -> Answer | None:
        if now_us < self._read_us:
            return None
        walk = PackedWalk(self.nodes, self.edges, now_us, meter)
        try:
            walk.run(plan.type, map(id_text, plan.ids or ()), plan.steps)
        except TooMany:
            return None
        return Answer(getattr(walk, asked)(), walk.reason)

    def _read(self, store: KeyValueStore, clock: Clock, progress: Progress) -> None:
        generation = store.generation()
        assert generation is not None
        for name, nodes in self._ungrouped():
            namespace = layout.node_namespace(name)
            for records in _told(namespace, all_records(store, namespace), progress):
                nodes.put([(record.record, record.items[0]) for record in records])
        for name, edges in self.edges.items():
            namespace = layout.out_namespace(name)
            edges.fill(_told(namespace, all_records(store, namespace), progress))
        self._settle(generation, clock.now_us())

    def _follow(self, store: KeyValueStore, clock: Clock) -> bool:
        """Be at the moment that this thread reads; False when that is an earlier one, or cannot be told."""
        generation = store.generation()
        if generation is None or generation < self.generation or Capability.CHANGES not in store.capabilities:
            return False
        if generation == self.generation:
            return True
        for name, nodes in self._ungrouped():
            namespace = layout.node_namespace(name)
            for changed in changed_keys(store, namespace, self.generation, generation):
                nodes.put(list(_nodes_now(store, namespace, list(changed))))
        for name, edges in self.edges.items():
            namespace = layout.out_namespace(name)
            for changed in changed_keys(store, namespace, self.generation, generation):
                edges.change(list(_edges_now(store, namespace, changed, edges)))
        self._settle(generation, clock.now_us())
        return True

    def _ungrouped(self) -> Iterator[tuple[str, Nodes]]:
        """The node types whose properties are packed: those that lie in one item."""
        return ((name, nodes) for name, nodes in self.nodes.items() if not nodes.kind.groups)

    def _settle(self, generation: int, now_us: int) -> None:
        for edges in self.edges.values():
            edges.fit()
            edges.compact(now_us)
        for nodes in self.nodes.values():
            nodes.fit()
            nodes.compact(now_us)
        self.generation, self._read_us = generation, max(self._read_us, now_us)


def _told(
    namespace: str, pages: Iterable[list[RecordItems]], progress: Progress
) -> Iterator[list[RecordItems]]:
    """The pages, each of which progress is told of."""
    read = 0
    for records in pages:
        yield records
        read += sum(len(record.items) for record in records)
        progress(namespace, read)


def _nodes_now(
    store: KeyValueStore, namespace: str, records: list[bytes]
) -> Iterator[tuple[bytes, Item | None]]:
    items = {
        record.record: record.items[0] for page in records_of(store, namespace, records) for record in page
    }
    return ((record, items.get(record)) for record in records)


def _edges_now(
    store: KeyValueStore, namespace: str, changed: Mapping[bytes, set[bytes] | None], edges: Edges
) -> Iterator[Change]:
    for record, keys in changed.items():
        items = {
            item.key: item
            for item in items_of(store, namespace, record, None if keys is None else tuple(keys))
        }
        for key in {*items, *edges.targets_of(record)} if keys is None else keys:
            yield record, key, items.get(key)
