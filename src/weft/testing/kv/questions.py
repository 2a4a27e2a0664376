"""Shorthands for tests of a store: tokens, puts, deletes, whole answers over all pages."""

from __future__ import annotations

import msgspec

from weft.core import limits
from weft.kv import (
    ALL,
    Delete,
    Item,
    ItemWrite,
    Keys,
    KeyValueStore,
    Mutation,
    Namespace,
    PageLimits,
    Prefix,
    Put,
    Range,
    Selection,
    Token,
)
from weft.testing.clock import START_US

IDENTITIES = [
    b"a",
    b"A",
    b"a ",
    b" a",
    b"a\x00",
    b"a\x00\x00",
    b"a\x00\xff",
    b"\x00",
    b"\x00\x00",
    b"\xff",
    b"\xff\xff",
    b"\xffa",
    "ä".encode(),
    "a\u0308".encode(),
    "日本".encode(),
    b"\x80invalid utf-8",
    b"a\nb",
    b"%00",
    b"x" * 255,
    b"x" * 256,
    b"x" * limits.MAX_ITEM_KEY_BYTES,
]
"""Byte strings that careless stores mix up."""

LONG_RECORDS = [
    b"x" * limits.MAX_RECORD_ID_BYTES,
    b"x" * (limits.MAX_RECORD_ID_BYTES - 1) + b"y",
    b"x" * (limits.MAX_ITEM_KEY_BYTES + 1),
    b"x" * 511 + b"\x00",
]


def token(number: int, instant_us: int = START_US) -> Token:
    """A token that a test can name."""
    return Token(instant_us, number.to_bytes(16, "big"))


TOKEN = token(0)
# Caching everything, so that a cache has the chance to be wrong.
NAMESPACES = [Namespace(name="n", cache_records=1_000), Namespace(name="other", cache_records=1_000)]


def put(
    record: bytes,
    items: dict[bytes, bytes],
    *,
    namespace: str = "n",
    at_us: int = START_US,
    token: Token = TOKEN,
    ttl_s: float | None = None,
    record_ttl_s: float | None = None,
) -> Put:
    """A put with an event time and token that a test can name."""
    return Put(
        namespace=namespace,
        record=record,
        items=tuple(ItemWrite(key, value, ttl_s) for key, value in items.items()),
        event_time_us=at_us,
        token=token,
        record_ttl_s=record_ttl_s,
    )


def delete(
    record: bytes,
    selection: Selection = ALL,
    *,
    namespace: str = "n",
    at_us: int = START_US,
    token: Token = TOKEN,
) -> Delete:
    """A delete with an event time and token that a test can name."""
    return Delete(namespace=namespace, record=record, selection=selection, event_time_us=at_us, token=token)


def read(store: KeyValueStore, record: bytes, namespace: str = "n") -> dict[bytes, bytes]:
    """Keys and values of one record."""
    return {item.key: item.value for item in store.get_items(namespace, [record]).items()}


def read_pages(
    store: KeyValueStore,
    records: list[bytes],
    selection: Selection = ALL,
    *,
    page: PageLimits,
    namespace: str = "n",
    reverse: bool = False,
    limit_per_record: int | None = None,
) -> list[list[tuple[bytes, Item]]]:
    """All pages of an answer, each as pairs of record and item."""
    pages: list[list[tuple[bytes, Item]]] = []
    after = None
    while True:
        found = store.get_items(
            namespace,
            records,
            selection,
            page=page,
            after=after,
            reverse=reverse,
            limit_per_record=limit_per_record,
        )
        pages.append([(part.record, item) for part in found.records for item in part.items])
        assert found.next is None or pages[-1], "a page makes progress"
        if found.next is None:
            return pages
        after = found.next


def scan(store: KeyValueStore, namespace: str = "n", page_items: int = 3) -> list[bytes]:
    """All records of a namespace, page by page."""
    found: list[bytes] = []
    after = None
    while True:
        part = store.scan_records(namespace, page=PageLimits(items=page_items), after=after)
        assert len(part.records) <= page_items
        found += part.records
        if part.next is None:
            return found
        after = part.next


def sweep_all(store: KeyValueStore) -> int:
    """Sweep until there is nothing left to reclaim."""
    total = 0
    while reclaimed := store.sweep(limit=3):
        total += reclaimed
    return total


def selects(selection: Selection, key: bytes) -> bool:
    """Whether a selection selects a key, said plainly."""
    match selection:
        case Keys(keys):
            return key in keys
        case Range(start, end):
            return start <= key and (end is None or key < end)
        case Prefix(prefix):
            return key.startswith(prefix)


def change(mutation: Mutation, **fields: object) -> Mutation:
    """The same mutation with other fields."""
    return msgspec.structs.replace(mutation, **fields)


def change_record(mutation: Mutation, record: bytes) -> Mutation:
    """The same mutation of another record."""
    return change(mutation, record=record)
