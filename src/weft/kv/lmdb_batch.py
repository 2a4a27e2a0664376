"""One batch on its way into LMDB: made into cells beforehand, then merged in one sorted walk."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from operator import eq

from weft.core import limits
from weft.kv.cells import (
    PLAIN,
    RANK,
    kept_until_us,
    outlives,
    pack_version,
    tombstone_cell,
    value_cell,
    wins,
)
from weft.kv.expiry import NEVER_US, delete_kept_until_us, ttl_end_us
from weft.kv.lmdb_changes import Written
from weft.kv.lmdb_rows import (
    NUMBER_BYTES,
    Head,
    NamespaceRow,
    Rows,
    Tombstone,
    new_row,
    parse_record,
    record_key,
)
from weft.kv.model import Delete, Keys, Mutation, Put
from weft.kv.paging import bounds


class Batch:
    """Checked mutations as cells, range tombstones and record expiries, by record key."""

    def __init__(
        self, mutations: Sequence[Mutation], namespaces: dict[str, NamespaceRow], now_us: int
    ) -> None:
        self._now_us = now_us
        # Side by side, not in tuples: garbage collection would visit a hundred thousand of those.
        self._owners: list[bytes] = []
        self._keys: list[bytes] = []
        self._cells: list[bytes] = []
        self._records: dict[bytes, bytes] = {}
        self._tombstones: list[tuple[bytes, Tombstone]] = []
        self._expiries: list[tuple[bytes, bytes, int]] = []
        self._sent = {row.prefix: list[bytes]() for row in namespaces.values() if row.config.changes_bytes}
        places = {name: _Place(row, self._sent.get(row.prefix)) for name, row in namespaces.items()}
        version, event_us, token = b"", 0, None
        for mutation in mutations:
            if mutation.token is not token or mutation.event_time_us != event_us:
                event_us, token = mutation.event_time_us, mutation.token
                version = pack_version(event_us, token)
            place = places[mutation.namespace]
            key = record_key(place.prefix, mutation.record)
            if type(mutation) is Put:
                self._add_put(key, version, mutation, place)
            else:
                self._add_delete(key, version, mutation, place)  # type: ignore[arg-type]

    def _add_put(self, record: bytes, version: bytes, put: Put, place: _Place) -> None:
        namespace_end_us, state = NEVER_US, PLAIN
        if place.ttl_s is not None:
            namespace_end_us = ttl_end_us(put.event_time_us, place.ttl_s)
            state = PLAIN[:2] + namespace_end_us.to_bytes(8, "big")
        for item in put.items:
            value = item.value
            if item.ttl_s is None and len(value) < place.small:
                cell = version + state + value
            else:
                expires_us = min(namespace_end_us, ttl_end_us(put.event_time_us, item.ttl_s))
                cell = value_cell(version, value, expires_us, place.compress)
            self._owners.append(record)
            self._keys.append(item.key)
            self._cells.append(cell)
            self._records[record] = put.record
            if place.sent is not None:
                place.sent += (put.record, item.key)
        if put.record_ttl_s is not None:
            expires_us = ttl_end_us(put.event_time_us, put.record_ttl_s)
            self._expiries.append((record, version, expires_us))
            self._records[record] = put.record

    def _add_delete(self, record: bytes, version: bytes, delete: Delete, place: _Place) -> None:
        until_us = delete_kept_until_us(delete.event_time_us, delete.token.instant_us, self._now_us)
        if isinstance(delete.selection, Keys):
            keys = delete.selection.keys
            if not keys:
                return
            self._owners += [record] * len(keys)
            self._keys += keys
            if place.sent is not None:
                place.sent += (part for key in keys for part in (delete.record, key))
            self._cells += [tombstone_cell(version, until_us)] * len(keys)
        else:
            self._tombstones.append((record, Tombstone(version, *bounds(delete.selection), until_us)))
        self._records[record] = delete.record

    def apply(self, rows: Rows) -> Written:
        """Merge the batch into the store; may run again in another transaction."""
        numbers, heads = self._open_records(rows)
        whole = self._apply_to_heads(rows, numbers, heads)
        keys, cells = self._stage(rows, numbers, heads)
        kept_longer: dict[bytes, bytes] = {}
        won, winners = keys, cells
        if stored := dict(rows.txn.cursor(db=rows.items).getmulti(keys)):
            won, winners = [], []
            for key, cell in zip(keys, cells, strict=True):
                if (old := stored.get(key)) is not None:
                    cell = _of_two(rows, key, cell, old)
                    if old[32] and cell[RANK] == old[RANK]:
                        kept_longer[key] = cell
                        continue
                    if cell is old:
                        continue
                    rows.free_chunks(old)
                won.append(key)
                winners.append(cell)
        rows.put_cells(won, winners)
        rows.put_cells(list(kept_longer), list(kept_longer.values()))
        lost = bool(heads) or len(won) < len(keys)
        return Written(self._records, numbers, whole, won, None if lost else self._sent)

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
                row = new_row(number, self._records[key])
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
        self, rows: Rows, numbers: dict[bytes, bytes], heads: dict[bytes, Head]
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
            rows.finish_expiry(numbers[key], head, self._now_us)
            if (version, expires_us) > (head.expiry_version, head.expires_us):
                head.expiry_version, head.expires_us = version, expires_us
                changed.add(key)
            touched.add(key)
        for key in changed | touched:
            rows.txn.put(key, heads[key].row(numbers[key]), db=rows.records)
            rows.log_record(numbers[key], heads[key])
        return changed

    def _stage(
        self, rows: Rows, numbers: dict[bytes, bytes], heads: dict[bytes, Head]
    ) -> tuple[list[bytes], list[bytes]]:
        """The batch's own winners by ascending keys, without what tombstones hide."""
        keys = [numbers[owner] + key for owner, key in zip(self._owners, self._keys, strict=True)]
        order: Sequence[int] = range(len(keys))
        cells = self._cells
        if heads:
            cells = [self._unhidden(at, heads) for at in order]
            order = [at for at in order if cells[at]]
        order = sorted(order, key=keys.__getitem__)
        keys, cells = [keys[at] for at in order], [cells[at] for at in order]
        if any(map(eq, keys, islice(keys, 1, None))):
            merged: dict[bytes, bytes] = {}
            for key, cell in zip(keys, cells, strict=True):
                merged[key] = _of_two(rows, key, cell, merged[key]) if key in merged else cell
            keys, cells = list(merged), list(merged.values())
        return keys, cells

    def _unhidden(self, at: int, heads: dict[bytes, Head]) -> bytes:
        """A cell; nothing where it is hidden, but a tombstone where what hides it is forgotten first."""
        owner, cell = self._owners[at], self._cells[at]
        if owner not in heads or not (hiding := heads[owner].hiding(self._keys[at], cell)):
            return cell
        until_us = kept_until_us(cell)
        if any(until_us <= tombstone.until_us for tombstone in hiding):
            return b""
        return tombstone_cell(cell[:32], until_us)


def _of_two(rows: Rows, key: bytes, new: bytes, old: bytes) -> bytes:
    """The cell that holds under a key, after seeing to it that what the other one hides stays hidden."""
    loser, winner = (old, new) if wins(new, old, rows.read_chunks) else (new, old)
    if not outlives(loser, winner):
        return winner
    if winner[32]:
        return tombstone_cell(winner[:32], kept_until_us(loser))
    rows.keep_loser(key, loser)
    return winner


class _Place:
    """What a put needs to know of its namespace."""

    __slots__ = ("compress", "prefix", "sent", "small", "ttl_s")

    def __init__(self, row: NamespaceRow, sent: list[bytes] | None) -> None:
        self.sent = sent
        self.prefix = row.prefix
        self.ttl_s = row.config.ttl_s
        self.compress = row.config.compression == "zstd"
        self.small = limits.COMPRESS_FROM_BYTES if self.compress else limits.MAX_VALUE_BYTES + 1
