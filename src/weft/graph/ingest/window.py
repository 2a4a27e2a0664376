"""The dedup window: updates to the same node, edge or tuple merge before they are written."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Final

from weft.graph.ingest.dedup import Folding
from weft.graph.ingest.model import RelationUpdate
from weft.graph.updates import Key, Update

# Deadlines fall together in this many buckets per window, so that one timer serves thousands of keys.
_BUCKETS: Final = 16
_NEVER_US: Final = 1 << 63


class Window:
    """Keeps, per node and edge, the update that holds: the last in event time, with folded properties.

    An update opens a window of `length_us` of event time for its key. When the stream's time, the latest that
    any event had, has passed it, what holds is due to be written. It is bounded by its owner, which writes
    what is due and drains the rest at every checkpoint.
    """

    def __init__(self, length_us: int = 0, folds: Mapping[str, Folding] | None = None) -> None:
        self._length_us = length_us
        self._bucket_us = max(1, length_us // _BUCKETS)
        self._folds = folds or {}
        self._held: dict[Key, Update] = {}
        self._due: dict[Key, Update] = {}
        self._buckets: dict[int, list[Key]] = {}
        self._ends: list[int] = []
        self._time_us = 0
        self._next_end_us = _NEVER_US
        self._relations: dict[str, RelationUpdate] = {}

    @property
    def due(self) -> int:
        """How many updates have left their windows."""
        return len(self._due)

    @property
    def size(self) -> int:
        """How many writes `drain` would give."""
        return len(self._held) + len(self._due) + len(self._relations)

    def add(self, update: Update) -> None:
        key = update.key
        held = self._held
        before = held.get(key)
        if before is not None:
            held[key] = self._of_two(before, update)
            return
        held[key] = update if not self._folds else self._normal(update)
        if self._length_us:
            self._schedule(key, update.event_time_us)

    def add_relation(self, update: RelationUpdate) -> None:
        before = self._relations.get(update.text)
        if before is None or update.order > before.order:
            self._relations[update.text] = update

    def advance(self, time_us: int) -> None:
        """An event of this time was read: windows that end before it are due."""
        if time_us > self._time_us:
            self._time_us = time_us
            while self._next_end_us <= time_us:
                self._close(heapq.heappop(self._ends))

    def drain_due(self) -> dict[str, list[Update]]:
        """What is due, per output stream."""
        due, self._due = self._due, {}
        return _by_stream(due)

    def drain(self) -> tuple[dict[str, list[Update]], list[RelationUpdate]]:
        """Everything that holds; the window is empty afterwards."""
        self._buckets, self._ends, self._next_end_us = {}, [], _NEVER_US
        held, self._held = self._held, {}
        if self._due:
            for key, update in held.items():
                self._make_due(key, update)
        else:
            self._due = held
        relations, self._relations = list(self._relations.values()), {}
        return self.drain_due(), relations

    def _of_two(self, before: Update, update: Update) -> Update:
        if self._folds:
            folding = self._folds.get(stream_of(update))
            if folding is not None:
                return folding.fold(before, update)
        return update if update.order > before.order else before

    def _normal(self, update: Update) -> Update:
        folding = self._folds.get(stream_of(update))
        return update if folding is None else folding.normal(update)

    def _schedule(self, key: Key, time_us: int) -> None:
        end_us = (max(time_us, self._time_us) + self._length_us) // self._bucket_us * self._bucket_us
        end_us += self._bucket_us
        bucket = self._buckets.get(end_us)
        if bucket is not None:
            bucket.append(key)
            return
        self._buckets[end_us] = [key]
        heapq.heappush(self._ends, end_us)
        self._next_end_us = self._ends[0]

    def _close(self, end_us: int) -> None:
        for key in self._buckets.pop(end_us):
            self._make_due(key, self._held.pop(key))
        self._next_end_us = self._ends[0] if self._ends else _NEVER_US

    def _make_due(self, key: Key, update: Update) -> None:
        before = self._due.get(key)
        self._due[key] = update if before is None else self._of_two(before, update)


def stream_of(update: Update) -> str:
    """The output stream of an update."""
    return ("node/" if update.target is None else "edge/") + update.type


def _by_stream(updates: Mapping[Key, Update]) -> dict[str, list[Update]]:
    streams: dict[tuple[str, bool], list[Update]] = {}
    for update in updates.values():
        kind = update.type, update.target is None
        found = streams.get(kind)
        if found is None:
            streams[kind] = [update]
        else:
            found.append(update)
    return {stream_of(found[0]): found for found in streams.values()}
