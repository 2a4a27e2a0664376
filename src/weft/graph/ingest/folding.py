"""Folding a batch into what the store holds: read, merge, write what changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from weft.graph import layout
from weft.graph.ingest.dedup import Folding
from weft.graph.ingest.model import Batch
from weft.graph.schema import Schema
from weft.graph.updates import Key, Update, mutations
from weft.kv.model import ALL, Item, Keys, Mutation, Selection
from weft.kv.store import KeyValueStore


def folded_mutations(store: KeyValueStore, schema: Schema, batch: Batch) -> list[tuple[Mutation, ...]]:
    """The mutations of those of the batch's outputs that fold, merged with what is stored."""
    groups = []
    for name, updates in batch.outputs.items():
        folding = batch.folds.get(name)
        if folding is not None:
            stored = _stored(store, schema, updates)
            for update in updates:
                group = _merged(folding, schema, update, stored.get(update.key))
                if group:
                    groups.append(group)
    return groups


def _merged(folding: Folding, schema: Schema, update: Update, item: Item | None) -> tuple[Mutation, ...]:
    """The write that makes the stored item into both; nothing when it is both already."""
    if item is None:
        return mutations(update, schema)
    time_us, token = item.version
    before = msgspec.structs.replace(update, value=item.value, event_time_us=time_us, nonce=token.nonce)
    after = folding.fold(before, update)
    if after.value == item.value and after.order == before.order:
        return ()
    # The event time and nonce say which update was last; the instant says which folding of it.
    return mutations(after, schema, max(after.event_time_us, token.instant_us + 1))


def _stored(store: KeyValueStore, schema: Schema, updates: Sequence[Update]) -> dict[Key, Item]:
    """What is stored of the updated nodes or edges, by the key of the update."""
    kind, whole = updates[0].type, ALL
    if updates[0].target is None:
        nodes = list(dict.fromkeys(update.record for update in updates))
        found = _items(store, layout.node_namespace(kind), nodes, whole)
        return {_key(kind, node, item.key.decode()): item for node, item in found}
    if schema.edges[kind].split:
        by_pair = {layout.pair_record(update.record, update.target or b""): update.key for update in updates}
        found = _items(store, layout.pair_namespace(kind), list(by_pair), whole)
        return {by_pair[pair]: item for pair, item in found}
    targets: dict[bytes, list[bytes]] = {}
    for update in updates:
        targets.setdefault(update.record, []).append(update.target or b"")
    return {
        (kind, source, item.key): item
        for source, keys in targets.items()
        for _, item in _items(store, layout.out_namespace(kind), [source], Keys(tuple(keys)))
    }


def _key(kind: str, node: bytes, group: str) -> Key:
    return (kind, node, None, group) if group else (kind, node, None)


def _items(
    store: KeyValueStore, namespace: str, records: Sequence[bytes], selection: Selection
) -> Iterator[tuple[bytes, Item]]:
    after = None
    while True:
        page = store.get_items(namespace, records, selection, after=after)
        for found in page.records:
            for item in found.items:
                yield found.record, item
        after = page.next
        if after is None:
            return
