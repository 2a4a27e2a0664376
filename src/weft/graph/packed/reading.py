"""What a pack reads from the store: everything, in pages, and what has changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from weft.kv.model import ALL, Item, Keys, PageLimits, RecordItems
from weft.kv.store import KeyValueStore

_FEW: Final = PageLimits(items=500)
"""Records at once, so that their items mostly are one page: the first page of an answer is read fastest."""


def all_records(store: KeyValueStore, namespace: str) -> Iterator[list[RecordItems]]:
    """Every record with its items, page by page; a record may come in several parts."""
    after = None
    while True:
        page = store.scan_records(namespace, after=after, page=_FEW)
        yield from records_of(store, namespace, page.records)
        after = page.next
        if after is None:
            return


def records_of(store: KeyValueStore, namespace: str, records: Sequence[bytes]) -> Iterator[list[RecordItems]]:
    """These records with their items; those without are left out."""
    after = None
    while True:
        page = store.get_items(namespace, records, ALL, after=after)
        yield page.records
        after = page.next
        if after is None:
            return


def items_of(
    store: KeyValueStore, namespace: str, record: bytes, keys: tuple[bytes, ...] | None
) -> list[Item]:
    """The items of a record with these keys, or all of them."""
    after = None
    found: list[Item] = []
    selection = ALL if keys is None else Keys(keys)
    while True:
        page = store.get_items(namespace, [record], selection, after=after)
        found += page.items()
        after = page.next
        if after is None:
            return found


def changed_keys(
    store: KeyValueStore, namespace: str, after: int, generation: int
) -> Iterator[dict[bytes, set[bytes] | None]]:
    """The records that changed since a generation, each with the changed keys, None for any; in parts."""
    while after < generation:
        told = store.changes(namespace, after=after)
        found: dict[bytes, set[bytes] | None] = {}
        for record, key in told.changed:
            keys = found.setdefault(record, set())
            if key is None:
                found[record] = None
            elif keys is not None:
                keys.add(key)
        yield found
        after = told.generation
