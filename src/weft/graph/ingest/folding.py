"""Folding a batch into what the store holds: read, merge, write what changes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weft.graph import layout
from weft.graph.ingest.dedup import Folding
from weft.graph.ingest.model import Batch
from weft.graph.updates import Update, mutations
from weft.kv.model import Item, Keys, Mutation, Selection
from weft.kv.store import KeyValueStore

_WHOLE = Keys((b"",))


def folded_mutations(store: KeyValueStore, batch: Batch) -> list[tuple[Mutation, ...]]:
    """The mutations of those of the batch's outputs that fold, merged with what is stored."""
    groups = []
    for name, updates in batch.outputs.items():
        folding = batch.folds.get(name)
        if folding is not None:
            stored = _stored(store, updates)
            for update in updates:
                group = _merged(folding, update, stored.get(update.key[1:]))
                if group:
                    groups.append(group)
    return groups


def _merged(folding: Folding, update: Update, item: Item | None) -> tuple[Mutation, ...]:
    """The write that makes the stored item into both; nothing when it is both already."""
    if item is None:
        return mutations(update)
    time_us, token = item.version
    before = Update(update.type, update.record, update.target, item.value, time_us, token.nonce)
    after = folding.fold(before, update)
    if after.value == item.value and after.order == before.order:
        return ()
    # The event time and nonce say which update was last; the instant says which folding of it.
    return mutations(after, max(after.event_time_us, token.instant_us + 1))


def _stored(store: KeyValueStore, updates: Sequence[Update]) -> dict[tuple[bytes, bytes | None], Item]:
    kind = updates[0].type
    found: dict[tuple[bytes, bytes | None], Item] = {}
    if updates[0].target is None:
        records = [update.record for update in updates]
        for record, item in _items(store, layout.node_namespace(kind), records, _WHOLE):
            found[record, None] = item
        return found
    targets: dict[bytes, list[bytes]] = {}
    for update in updates:
        targets.setdefault(update.record, []).append(update.target or b"")
    for source, keys in targets.items():
        for record, item in _items(store, layout.out_namespace(kind), [source], Keys(tuple(keys))):
            found[record, item.key] = item
    return found


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
