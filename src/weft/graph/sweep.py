"""What keeps lists in the order of time short: what is stale, what was removed long ago, what is over a cap.

Whatever is done here is decided by versions alone, and done under the version of what was read. So a sweep
undoes nothing that is written at the same time, and sweeps of many processes, whenever they run, end in the
same edges. A removal keeps its place in a list, which makes that true of caps: the places of a node only ever
fill with later ones, so an edge that has dropped out would have dropped out in any order of arrival.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from weft.core.limits import MAX_LATENESS_US
from weft.graph import layout
from weft.graph.schema import Schema
from weft.graph.types import EdgeType
from weft.kv.expiry import kept_until_us
from weft.kv.model import Item, Mutation, Version
from weft.kv.store import KeyValueStore

_MUTATIONS_PER_BATCH: Final = 10_000


def sweep_newest(store: KeyValueStore, schema: Schema, now_us: int) -> int:
    """Bring the lists of all types in order; how many items that removed. Reads all of these lists."""
    return sum(
        _sweep(store, kind, adjacency, now_us)
        for kind in schema.edges.values()
        if kind.newest
        for adjacency in (layout.out_namespace(kind.name), layout.in_namespace(kind.name))
    )


def _sweep(store: KeyValueStore, kind: EdgeType, adjacency: str, now_us: int) -> int:
    namespace = layout.newest_namespace(adjacency)
    cap = kind.cap if adjacency == layout.out_namespace(kind.name) else None
    reclaimed = 0
    batch: list[Mutation] = []
    for record in _records(store, namespace):
        # A removal hides what is stale behind it, and goes last.
        removals: list[Mutation] = []
        places: set[bytes] = set()
        for item in _items(store, namespace, record):
            there = layout.newest_end(item.key)
            if there in places:
                batch.append(layout.forget_mutation(namespace, record, item))
                reclaimed += 1
            elif item.value.startswith(layout.REMOVED):
                places.add(there)
                seen_us = layout.removal_seen_us(item)
                if seen_us is not None and seen_us + MAX_LATENESS_US <= now_us:
                    removals.append(layout.forget_mutation(namespace, record, item))
                elif seen_us is None and _is_old(item.version, now_us):
                    batch.append(layout.seen_removal_mutation(namespace, record, item, now_us))
            else:
                places.add(there)
                if cap is not None and len(places) > cap:
                    batch += layout.laid_out_edge_mutations(kind, record, there, None, *item.version)
                    reclaimed += 1
            if len(batch) >= _MUTATIONS_PER_BATCH:
                store.mutate(batch)
                batch = []
        batch += removals
        reclaimed += len(removals)
    if batch:
        store.mutate(batch)
    return reclaimed


def _is_old(version: Version, now_us: int) -> bool:
    """Whether it happened so long ago that tombstones of it would be due. It may have been written later: it
    is kept for as long again, from when this was seen first."""
    return kept_until_us(version.event_time_us, version.token.instant_us) <= now_us


def _records(store: KeyValueStore, namespace: str) -> Iterator[bytes]:
    after = None
    while True:
        page = store.scan_records(namespace, after=after)
        yield from page.records
        after = page.next
        if after is None:
            return


def _items(store: KeyValueStore, namespace: str, record: bytes) -> Iterator[Item]:
    after = None
    while True:
        page = store.get_items(namespace, [record], after=after)
        yield from page.items()
        after = page.next
        if after is None:
            return
