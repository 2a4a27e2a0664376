"""One batch on its way into LMDB: made into cells beforehand, then merged in one sorted walk."""

from __future__ import annotations

from collections.abc import Sequence

from weft.core import limits
from weft.core.codec import pack_u64
from weft.kv.cells import (
    PLAIN,
    outlives,
    pack_version,
    tombstone_cell,
    value_cell,
    wins,
)
from weft.kv.expiry import NEVER_US, ttl_end_us
from weft.kv.lmdb_changes import Written
from weft.kv.lmdb_rows import (
    NUMBER_BYTES,
    Head,
    NamespaceRow,
    Rows,
    Tombstone,
    new_head,
    parse_record,
    record_key,
)
from weft.kv.model import Delete, Keys, Mutation, Put
from weft.kv.paging import bounds


class Batch:
    """Checked mutations as cells, range tombstones and record expiries, by record key."""

    def __init__(self, mutations: Sequence[Mutation], namespaces: dict[str, NamespaceRow]) -> None:
        self._cells: list[tuple[bytes, bytes, bytes]] = []
        self._records: dict[bytes, bytes] = {}
        self._tombstones: list[tuple[bytes, Tombstone]] = []
        self._expiries: list[tuple[bytes, bytes, int]] = []
        places = {name: _Place(row) for name, row in namespaces.items()}
        records = self._records
        for mutation in mutations:
            place, record = places[mutation.namespace], mutation.record
            key = record_key(place.prefix, record)
            version = pack_version(mutation.event_time_us, mutation.token)
            if type(mutation) is Put:
                if mutation.items or mutation.record_ttl_s is not None:
                    records[key] = record
                    self._add_put(key, version, mutation, place)
            elif _selects_anything(mutation):  # type: ignore[arg-type]
                records[key] = record
                self._add_delete(key, version, mutation)  # type: ignore[arg-type]

    def _add_put(self, record: bytes, version: bytes, put: Put, place: _Place) -> None:
        if place.ttl_s is None:
            namespace_end_us, plain = NEVER_US, version + PLAIN
        else:
            namespace_end_us = ttl_end_us(put.event_time_us, place.ttl_s)
            plain = version + b"\x00\x00" + namespace_end_us.to_bytes(8, "big")
        for item in put.items:
            value = item.value
            if item.ttl_s is None and len(value) < place.small:
                cell = plain + value
            else:
                expires_us = min(namespace_end_us, ttl_end_us(put.event_time_us, item.ttl_s))
                cell = value_cell(version, value, expires_us, place.compress)
            self._cells.append((record, item.key, cell))
        if put.record_ttl_s is not None:
            expires_us = ttl_end_us(put.event_time_us, put.record_ttl_s)
            self._expiries.append((record, version, expires_us))

    def _add_delete(self, record: bytes, version: bytes, delete: Delete) -> None:
        if isinstance(delete.selection, Keys):
            cell = tombstone_cell(version)
            self._cells.extend((record, key, cell) for key in delete.selection.keys)
        else:
            self._tombstones.append((record, Tombstone(version, *bounds(delete.selection))))

    def apply(self, rows: Rows, now_us: int) -> Written:
        """Merge the batch into the store; may run again in another transaction."""
        numbers, heads = self._open_records(rows)
        whole = self._apply_to_heads(rows, numbers, heads, now_us)
        staged = self._stage(rows, numbers, heads)
        ordered = sorted(staged)
        stored = dict(rows.txn.cursor(db=rows.items).getmulti(ordered))
        won = []
        for key in ordered:
            cell = staged[key]
            old = stored.get(key)
            if old is None:
                won.append((key, cell))
                continue
            loser, winner = cell, old
            if wins(cell, old, rows.read_chunks):
                rows.free_chunks(old)
                won.append((key, cell))
                loser, winner = old, cell
            if outlives(loser, winner):
                rows.keep_loser(key, loser)
        rows.put_cells(won)
        return Written(self._records, numbers, whole, won)

    def _open_records(self, rows: Rows) -> tuple[dict[bytes, bytes], dict[bytes, Head]]:
        """The number of every record, given out to new ones, and the heads of those that have one."""
        keys = sorted(self._records)
        stored = dict(rows.txn.cursor(db=rows.records).getmulti(keys))
        numbers: dict[bytes, bytes] = {}
        heads: dict[bytes, Head] = {}
        created: list[tuple[bytes, bytes]] = []
        number = 0
        for key in keys:
            row = stored.get(key)
            if row is None:
                number = number + 1 if number else rows.next_number(rows.numbers)
                head = new_head(self._records[key])
                row = head.row(pack_u64(number))
                created.append((key, row))
            numbers[key] = row[:NUMBER_BYTES]
            if len(row) > NUMBER_BYTES:
                heads[key] = parse_record(row)[1]
        if created:
            rows.txn.cursor(db=rows.records).putmulti(created)
            rows.txn.cursor(db=rows.numbers).putmulti(
                [(row[:NUMBER_BYTES], key) for key, row in created], append=True
            )
        return numbers, heads

    def _apply_to_heads(
        self, rows: Rows, numbers: dict[bytes, bytes], heads: dict[bytes, Head], now_us: int
    ) -> set[bytes]:
        """The records of which anything may have changed."""
        changed: set[bytes] = set()
        touched: set[bytes] = set()
        for key, tombstone in self._tombstones:
            head = heads.setdefault(key, Head())
            if not head.add(tombstone):
                continue
            rows.delete_hidden(numbers[key], tombstone)
            changed.add(key)
        for key, version, expires_us in self._expiries:
            head = heads.setdefault(key, Head())
            rows.finish_expiry(numbers[key], head, now_us)
            if (version, expires_us) > (head.expiry_version, head.expires_us):
                head.expiry_version, head.expires_us = version, expires_us
                changed.add(key)
            touched.add(key)
        for key in changed | touched:
            rows.txn.put(key, heads[key].row(numbers[key]), db=rows.records)
            rows.log_record(numbers[key], heads[key])
        return changed

    def _stage(self, rows: Rows, numbers: dict[bytes, bytes], heads: dict[bytes, Head]) -> dict[bytes, bytes]:
        """The batch's own winner under each key, without what tombstones hide."""
        staged: dict[bytes, bytes] = {}
        for record, key, cell in self._cells:
            if heads and record in heads and (hiding := heads[record].hiding(key, cell)):
                if any(not outlives(cell, tombstone.version) for tombstone in hiding):
                    continue
                cell = tombstone_cell(cell[:32])
            full_key = numbers[record] + key
            other = staged.get(full_key)
            if other is None:
                staged[full_key] = cell
                continue
            loser, winner = cell, other
            if wins(cell, other, rows.read_chunks):
                staged[full_key] = cell
                loser, winner = other, cell
            if outlives(loser, winner):
                rows.keep_loser(full_key, loser)
        return staged


class _Place:
    """What a put needs to know of its namespace."""

    __slots__ = ("compress", "prefix", "small", "ttl_s")

    def __init__(self, row: NamespaceRow) -> None:
        self.prefix = row.prefix
        self.ttl_s = row.config.ttl_s
        self.compress = row.config.compression == "zstd"
        self.small = limits.COMPRESS_FROM_BYTES if self.compress else limits.MAX_VALUE_BYTES + 1


def _selects_anything(delete: Delete) -> bool:
    return not isinstance(delete.selection, Keys) or bool(delete.selection.keys)
