"""Taking back the space of what nobody can read any more."""

from __future__ import annotations

from weft.core.codec import decode, unpack_u64
from weft.kv.cells import due_us, kept_until_us, tombstone_cell
from weft.kv.lmdb_rows import NUMBER_BYTES, Rows, parse_record


class Sweep:
    """One bounded round over what is due, within one transaction."""

    def __init__(self, rows: Rows, now_us: int, limit: int) -> None:
        self._rows = rows
        self._now_us = now_us
        self._limit = limit
        self._reclaimed = 0
        self._touched: set[bytes] = set()

    def run(self) -> int:
        """How many items, tombstones and record expiries were reclaimed."""
        txn, rows = self._rows.txn, self._rows
        while self._reclaimed < self._limit and (entry := self._first_due(rows.due)):
            txn.delete(entry[0], db=rows.due)
            self._sweep_items(unpack_u64(entry[0]), decode(entry[1], list[bytes], "a due entry"))
        while self._reclaimed < self._limit and (entry := self._first_due(rows.due_records)):
            txn.delete(entry[0], db=rows.due_records)
            self._sweep_record(entry[0][-NUMBER_BYTES:])
        for number in self._touched:
            self._drop_if_empty(number)
        return self._reclaimed

    def _first_due(self, database: object) -> tuple[bytes, bytes] | None:
        cursor = self._rows.txn.cursor(db=database)
        if cursor.first() and unpack_u64(cursor.key()) <= self._now_us:
            return cursor.item()  # type: ignore[no-any-return]
        return None

    def _sweep_items(self, logged_us: int, keys: list[bytes]) -> None:
        later: dict[bytes, bytes] = {}
        for at, key in enumerate(keys):
            if self._reclaimed >= self._limit:
                self._rows.log_keys(logged_us, keys[at:])
                break
            cell = self._rows.txn.get(key, db=self._rows.items)
            if cell is None:
                continue
            if due_us(cell) > self._now_us:
                later[key] = cell
            else:
                self._reclaim(key, cell)
        self._rows.log_due(list(later), list(later.values()))

    def _reclaim(self, key: bytes, cell: bytes) -> None:
        """Drop a cell that no late write can meet any more; shrink a younger one to a tombstone."""
        self._reclaimed += 1
        if kept_until_us(cell) <= self._now_us:
            self._rows.delete_cell(key, cell)
            self._touched.add(key[:NUMBER_BYTES])
        else:
            self._rows.free_chunks(cell)
            self._rows.put_cells([key], [tombstone_cell(cell[:32], kept_until_us(cell))])

    def _sweep_record(self, number: bytes) -> None:
        rows = self._rows
        key = rows.txn.get(number, db=rows.numbers)
        if key is None:
            return
        head = parse_record(rows.txn.get(key, db=rows.records))[1]
        before = len(head.tombstones)
        head.tombstones = tuple(t for t in head.tombstones if t.until_us > self._now_us)
        self._reclaimed += before - len(head.tombstones)
        self._reclaimed += rows.finish_expiry(number, head, self._now_us)
        rows.txn.put(key, head.row(number), db=rows.records)
        rows.log_record(number, head)
        self._touched.add(number)

    def _drop_if_empty(self, number: bytes) -> None:
        rows = self._rows
        key = rows.txn.get(number, db=rows.numbers)
        if key is None or next(rows.span(number, b"", None), None) is not None:
            return
        if parse_record(rows.txn.get(key, db=rows.records))[1].holds_nothing():
            rows.txn.delete(key, db=rows.records)
            rows.txn.delete(number, db=rows.numbers)
