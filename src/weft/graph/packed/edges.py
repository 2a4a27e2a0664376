"""The edges of one type: both directions as rows of one set of edge numbers, and what the edges say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from weft.graph.model import Edge, id_text
from weft.graph.packed.facts import Facts, Numbers
from weft.graph.packed.nodes import Nodes
from weft.graph.packed.rows import Rows
from weft.graph.types import EdgeType
from weft.kv.model import Item, RecordItems

_LOST_PLACES = 10_000
"""Unused places, and edges that were replaced or have expired, up to this many may lie about."""

Change = tuple[bytes, bytes, Item | None]
"""Source, target, and what the store has of the edge between them now."""


class Edges:
    """An edge that is written again gets a new number; the old one is lost until `compact`."""

    def __init__(self, kind: EdgeType, sources: Nodes, targets: Nodes) -> None:
        self.kind = kind
        self.sources = sources
        self.targets = targets
        self.out = Rows()
        self.into = Rows()
        self.facts = Facts()
        self._given = 0
        """How many numbers were given."""
        self._compacted = 0
        """What `_used` was when everything was in its place."""

    def __len__(self) -> int:
        return self.out.total

    def fit(self) -> None:
        """Have rows for all nodes that are numbered."""
        self.out.fit(len(self.sources))
        self.into.fit(len(self.targets))

    def fill(self, pages: Iterable[Sequence[RecordItems]]) -> None:
        """Take all adjacency lists of the way out, for the first time; a list may come in several parts."""
        sources: list[int] = []
        counts: list[int] = []
        parts: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
        for records in pages:
            items = [item for record in records for item in record.items]
            numbers = self.sources.numbers([id_text(record.record) for record in records])
            for source, record in zip(numbers, records, strict=True):
                if sources and sources[-1] == source:
                    counts[-1] += len(record.items)
                else:
                    sources.append(source)
                    counts.append(len(record.items))
            parts.append(np.array(self.targets.numbers([id_text(item.key) for item in items]), np.int32))
            self.facts.put(self._new(len(items)), items)
        self.fit()
        self._fill(np.array(sources, np.int32), np.array(counts, np.int32), np.concatenate(parts))

    def _fill(self, sources: NDArray[np.int32], counts: NDArray[np.int32], there: NDArray[np.int32]) -> None:
        self.out.fill(sources, counts, there, np.arange(len(there)))
        names = self.sources.names
        by_name = sorted(range(len(sources)), key=[names[source] for source in sources.tolist()].__getitem__)
        rank = np.zeros(len(sources), np.int32)
        rank[by_name] = np.arange(len(sources))
        edges = np.lexsort((rank.repeat(counts), there))
        lengths = np.bincount(there, minlength=len(self.targets))
        self.into.fill(np.arange(len(self.targets)), lengths, sources.repeat(counts)[edges], edges)
        self._compacted = self._used()

    def change(self, changes: Sequence[Change]) -> None:
        """Take what the store has now of these edges, each of which comes once."""
        sources = self.sources.numbers([id_text(source) for source, _, _ in changes])
        targets = self.targets.numbers([id_text(target) for _, target, _ in changes])
        self.fit()
        items = [item for _, _, item in changes if item is not None]
        edges = self._new(len(items))
        self.facts.put(edges, items)
        given = iter(edges.tolist())
        for source, target, (_, _, item) in zip(sources, targets, changes, strict=True):
            if item is None:
                self.out.remove(source, target, self.targets.names)
                self.into.remove(target, source, self.sources.names)
            else:
                edge = next(given)
                self.out.set(source, target, edge, self.targets.names)
                self.into.set(target, source, edge, self.sources.names)

    def targets_of(self, source: bytes) -> list[bytes]:
        """The ids of the neighbours on the way out."""
        numbers = self.sources.known([id_text(source)])
        if not numbers:
            return []
        self.fit()
        names = self.targets.names
        there = self.out.there[self.out.place(numbers[0])]
        return [names[number].encode() for number in there.tolist()]

    def built(self, sources: Numbers, targets: Numbers, edges: Numbers, now_us: int) -> list[Edge]:
        """The edges with these ends and numbers."""
        names = (
            map(self.sources.names.__getitem__, sources.tolist()),
            map(self.targets.names.__getitem__, targets.tolist()),
        )
        return list(map(Edge, repeat(self.kind.name), *names, *self.facts.told(edges, now_us)))

    def compact(self, now_us: int) -> bool:
        """Once much is lost, put everything in its place again, without what has expired; whether it was."""
        if self._used() <= self._compacted + self._compacted // 2 + _LOST_PLACES:
            return False
        live = self.facts.live(np.arange(self._given), now_us)
        self.out.compact(live)
        self.into.compact(live)
        edges = self.out.edge
        self.facts = self.facts.taken(edges)
        renumbered = np.zeros(self._given, np.int32)
        renumbered[edges] = np.arange(len(edges))
        self.into.edge = renumbered[self.into.edge]
        self.out.edge = np.arange(len(edges), dtype=np.int32)
        self._given = len(edges)
        self._compacted = self._used()
        return True

    def memory_bytes(self) -> int:
        return self.out.memory_bytes() + self.into.memory_bytes() + self.facts.memory_bytes()

    def _new(self, number: int) -> NDArray[np.int32]:
        self._given += number
        return np.arange(self._given - number, self._given, dtype=np.int32)

    def _used(self) -> int:
        return self.out.end + self.into.end + self._given
