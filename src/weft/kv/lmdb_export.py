"""What an LMDB store holds, as mutations; and forgetting it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from weft.core.codec import pack_u64, unpack_u64
from weft.kv.cells import DUE, event_time_us, kept_until_us, unpack_version, value_of
from weft.kv.expiry import NEVER_US
from weft.kv.exporting import Entry, Place, RecordExport
from weft.kv.lmdb_rows import NUMBER_BYTES, Head, Rows, parse_record, record_id, record_key
from weft.kv.model import Mutation


def export_entries(
    rows: Rows,
    namespace: str,
    prefix: bytes,
    records: Sequence[bytes] | None,
    place: Place | None,
    now_us: int,
) -> Iterator[Entry]:
    """All entries of a namespace, or of some records, behind a place."""
    for position, key, row in _rows_from(rows, prefix, records, place):
        number, head = parse_record(row)
        make = RecordExport(namespace, record_id(key, head))
        start = b""
        if place is not None and position == place.record:
            start = b"" if place.key is None else place.key + b"\x00"
        elif heads := list(_heads(make, head, now_us)):
            yield Entry(Place(position, None), heads, len(key))
        yield from _cells(rows, make, number, head, position, start, now_us)


def _rows_from(
    rows: Rows, prefix: bytes, records: Sequence[bytes] | None, place: Place | None
) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Position, key and row of each record from the place on."""
    if records is not None:
        first = 0 if place is None else unpack_u64(place.record)
        for at in range(first, len(records)):
            key = record_key(prefix, records[at])
            row = rows.txn.get(key, db=rows.records)
            if row is not None:
                yield pack_u64(at), key, row
        return
    cursor = rows.txn.cursor(db=rows.records)
    if cursor.set_range(prefix if place is None else place.record):
        for key, row in cursor:
            if not key.startswith(prefix):
                return
            yield key, key, row


def _heads(make: RecordExport, head: Head, now_us: int) -> Iterator[Mutation]:
    for tombstone in sorted(head.tombstones, key=lambda found: (found.start, found.version)):
        if tombstone.until_us > now_us:
            yield make.delete(unpack_version(tombstone.version), tombstone.start, tombstone.end)
    if head.expires_us != NEVER_US and head.final_us() > now_us:
        yield make.expire(unpack_version(head.expiry_version), head.expires_us)


def _cells(
    rows: Rows, make: RecordExport, number: bytes, head: Head, position: bytes, start: bytes, now_us: int
) -> Iterator[Entry]:
    final = head.final_us() <= now_us
    for key, cell in rows.span(number, start, None):
        item = key[NUMBER_BYTES:]
        if final and event_time_us(cell) < head.expires_us:
            continue
        expires_us = int.from_bytes(cell[DUE], "big")
        value = b""
        if not cell[32] and expires_us > now_us:
            value = value_of(cell, rows.read_chunks)
            mutation = make.put(unpack_version(cell), item, value, expires_us)
        elif kept_until_us(cell) > now_us:
            mutation = make.delete(unpack_version(cell), item, item + b"\x00")
        else:
            continue
        yield Entry(Place(position, item), [mutation], len(key) + len(value))


class Erased(NamedTuple):
    """How many items and records were forgotten, and of which records."""

    total: int
    records: list[bytes]


def erase_rows(rows: Rows, prefix: bytes, limit: int) -> Erased:
    """Forget items and records from the front of a namespace."""
    erased = 0
    records = []
    while erased < limit:
        cursor = rows.txn.cursor(db=rows.records)
        if not cursor.set_range(prefix) or not cursor.key().startswith(prefix):
            break
        record = cursor.key()
        number, head = parse_record(cursor.value())
        records.append(record_id(record, head))
        for key, cell in _first(rows, number, limit - erased):
            rows.delete_cell(key, cell)
            erased += 1
        if next(rows.span(number, b"", None), None) is None:
            rows.txn.delete(record, db=rows.records)
            rows.txn.delete(number, db=rows.numbers)
            erased += 1
    return Erased(erased, records)


def _first(rows: Rows, number: bytes, limit: int) -> list[tuple[bytes, bytes]]:
    return [pair for pair, _ in zip(rows.span(number, b"", None), range(limit), strict=False)]
