"""Reading an LMDB store: one moment of it, and the items that records hold then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from weft.kv.cells import live_item
from weft.kv.expiry import NEVER_US
from weft.kv.lmdb_rows import NUMBER_BYTES, Rows, parse_record, record_key
from weft.kv.model import ALL, Item, Keys, PageLimits, RecordItems, Selection
from weft.kv.paging import Place, bounds


class Moment:
    """One read transaction, at one instant: everything that is read through it is of that moment."""

    __slots__ = ("now_us", "prefixes", "rows")

    def __init__(self, rows: Rows, now_us: int, prefixes: dict[str, bytes]) -> None:
        self.rows = rows
        self.now_us = now_us
        self.prefixes = prefixes
        """Of the namespaces that were asked for, by name."""

    def short_records(
        self, prefix: bytes, records: Sequence[bytes], limit_per_record: int | None, limits: PageLimits
    ) -> tuple[list[RecordItems], Place | None]:
        """All items of the records, or as many as a page holds and where it ended.

        The straight path for what is asked most: everything, forwards, from the start, without a deadline.
        """
        rows, now_us = self.rows, self.now_us
        get, database, read_chunks = rows.txn.get, rows.records, rows.read_chunks
        cursor: Any = rows.txn.cursor(db=rows.items)
        room, size = limits.items, limits.bytes
        found: list[RecordItems] = []
        last = Place(0, b"", 0)
        for at, record in enumerate(records):
            row = get(record_key(prefix, record), db=database)
            if row is None:
                continue
            number, record_us = row, NEVER_US
            if len(row) != NUMBER_BYTES:
                number, head = parse_record(row)
                record_us = head.expires_us
            if not cursor.set_range(number):
                continue
            items: list[Item] = []
            for key, cell in cursor:
                if key[:NUMBER_BYTES] != number:
                    break
                item = live_item(key[NUMBER_BYTES:], cell, record_us, now_us, read_chunks)
                if item is None:
                    continue
                room -= 1
                size -= len(key) - NUMBER_BYTES + len(item.value)
                if (room < 0 or size < 0) and (items or found):
                    if items:
                        found.append(RecordItems(record, items))
                        last = Place(at, items[-1].key, len(items))
                    return found, last
                items.append(item)
                if len(items) == limit_per_record:
                    break
            if items:
                found.append(RecordItems(record, items))
                last = Place(at, items[-1].key, len(items))
        return found, None


class Reader:
    """Reads any selection of records at one moment."""

    def __init__(self, moment: Moment, selection: Selection = ALL, reverse: bool = False) -> None:
        self._rows = moment.rows
        self._now_us = moment.now_us
        self._reverse = reverse
        self._keys: list[bytes] | None = None
        self._start, self._end = b"", None
        if isinstance(selection, Keys):
            self._keys = sorted(set(selection.keys), reverse=reverse)
        else:
            self._start, self._end = bounds(selection)

    def scan(self, record: bytes, after_key: bytes | None) -> Iterable[Item]:
        """The selected live items of the record with this key in `records`."""
        row = self._rows.txn.get(record, db=self._rows.records)
        return () if row is None else self.scan_row(row, after_key)

    def scan_row(self, row: bytes, after_key: bytes | None) -> Iterator[Item]:
        """The same, of a row of `records`."""
        number, head = parse_record(row)
        now_us, read_chunks, record_us = self._now_us, self._rows.read_chunks, head.expires_us
        for key, cell in self._cells(number, after_key):
            item = live_item(key[NUMBER_BYTES:], cell, record_us, now_us, read_chunks)
            if item is not None:
                yield item

    def _cells(self, number: bytes, after_key: bytes | None) -> Iterable[tuple[bytes, bytes]]:
        start, end = self._start, self._end
        if self._keys is not None:
            return self._cells_of_keys(self._keys, number, after_key)
        if self._reverse:
            return self._rows.span_back(number, start, end if after_key is None else after_key)
        return self._rows.span(number, start if after_key is None else after_key + b"\x00", end)

    def _cells_of_keys(
        self, keys: list[bytes], number: bytes, after_key: bytes | None
    ) -> Iterator[tuple[bytes, bytes]]:
        for key in keys:
            if after_key is None or (key < after_key if self._reverse else key > after_key):
                cell = self._rows.txn.get(number + key, db=self._rows.items)
                if cell is not None:
                    yield number + key, cell


def record_rows(rows: Rows, prefix: bytes, after_key: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Rows of `records` under a namespace's prefix."""
    cursor: Any = rows.txn.cursor(db=rows.records)
    if cursor.set_range(prefix if after_key is None else after_key + b"\x00"):
        for key, row in cursor:
            if not key.startswith(prefix):
                return
            yield key, row
