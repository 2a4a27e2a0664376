"""What keeps lists in the order of time short: what is stale, what was removed long ago, what is over a cap.

Whatever is done here is decided by versions alone, and done under the version of what was read. So a sweep
undoes nothing that is written at the same time, and sweeps of many processes, whenever they run, end in the
same edges. A removal keeps its place in a list, which makes that true of caps: the places of a node only ever
fill with later ones, so an edge that has dropped out would have dropped out in any order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Final, NamedTuple

from weft.core.limits import MAX_LATENESS_US
from weft.graph import layout
from weft.graph.schema import Schema
from weft.graph.types import EdgeType
from weft.kv.expiry import kept_until_us
from weft.kv.model import Item, Keys, Mutation, Version
from weft.kv.store import KeyValueStore

# A batch holds the writer lock for some tens of milliseconds.
_MUTATIONS_PER_BATCH: Final = 5_000


def sweep_newest(store: KeyValueStore, schema: Schema, now_us: int) -> Iterator[int]:
    """Bring the lists of all types in order, some at a time; how many items each time removed. Reads all of
    these lists."""
    for kind in schema.edges.values():
        if kind.newest:
            yield from _sweep(store, kind, layout.out_namespace(kind.name), now_us)
            yield from _sweep(store, kind, layout.in_namespace(kind.name), now_us)


def _sweep(store: KeyValueStore, kind: EdgeType, adjacency: str, now_us: int) -> Iterator[int]:
    namespace = layout.newest_namespace(adjacency)
    cap = kind.cap if adjacency == layout.out_namespace(kind.name) else None
    reclaimed = 0
    batch: list[Mutation] = []
    for record, items in groupby(_items(store, namespace), key=itemgetter(0)):
        places: set[bytes] = set()
        removals: dict[bytes, _Removal] = {}
        for _, item in items:
            there = layout.newest_end(item.key)
            if there in removals:
                removals[there].behind.append(item)
            elif there in places:
                batch.append(layout.forget_mutation(namespace, record, item))
                reclaimed += 1
            else:
                places.add(there)
                if item.value.startswith(layout.REMOVED):
                    if _is_old(item.version, now_us):
                        removals[there] = _Removal(item, [])
                elif cap is not None and len(places) > cap:
                    batch += layout.laid_out_edge_mutations(kind, record, there, None, *item.version)
                    reclaimed += 1
        current = _current(store, adjacency, record, tuple(removals))
        for there, removal in removals.items():
            gone = removal.gone(current.get(there), now_us)
            batch += [layout.forget_mutation(namespace, record, item) for item in gone]
            reclaimed += len(gone)
            if layout.removal_seen_us(removal.item) is None:
                batch.append(layout.seen_removal_mutation(namespace, record, removal.item, now_us))
        if len(batch) >= _MUTATIONS_PER_BATCH:
            _write(store, batch)
            yield reclaimed
            batch, reclaimed = [], 0
    _write(store, batch)
    yield reclaimed


class _Removal(NamedTuple):
    """A removal that is old, and the items of the same other end behind it."""

    item: Item
    behind: list[Item]

    def gone(self, current: Version | None, now_us: int) -> list[Item]:
        """What may be forgotten, the removal last: until then it hides the others. An edge that is there all
        the same came when its tombstones were forgotten already, and takes the removal's place."""
        seen_us = layout.removal_seen_us(self.item)
        over = seen_us is not None and seen_us + MAX_LATENESS_US <= now_us
        stale = [item for item in self.behind if item.version != current]
        return stale + [self.item] * (over or current is not None)


def _current(
    store: KeyValueStore, adjacency: str, record: bytes, others: tuple[bytes, ...]
) -> dict[bytes, Version]:
    """The edges to these other ends as the ordinary list has them."""
    found: dict[bytes, Version] = {}
    after = None
    while others:
        page = store.get_items(adjacency, [record], Keys(others), after=after)
        found.update((item.key, item.version) for item in page.items())
        after = page.next
        if after is None:
            break
    return found


def _write(store: KeyValueStore, batch: list[Mutation]) -> None:
    for start in range(0, len(batch), _MUTATIONS_PER_BATCH):
        store.mutate(batch[start : start + _MUTATIONS_PER_BATCH])


def _is_old(version: Version, now_us: int) -> bool:
    """Whether it happened so long ago that tombstones of it would be due. It may have been written later: it
    is kept for as long again, from when this was seen first."""
    return kept_until_us(version.event_time_us, version.token.instant_us) <= now_us


def _items(store: KeyValueStore, namespace: str) -> Iterator[tuple[bytes, Item]]:
    """All items with their records, record by record."""
    next_records = None
    while True:
        ids = store.scan_records(namespace, after=next_records)
        after = None
        while ids.records:
            page = store.get_items(namespace, ids.records, after=after)
            for found in page.records:
                for item in found.items:
                    yield found.record, item
            after = page.next
            if after is None:
                break
        next_records = ids.next
        if next_records is None:
            return
