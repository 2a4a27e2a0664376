"""Where LMDB keeps what: the databases of a store, and the moves that batches and sweeps share.

    meta          "generation"              -> how often the store was written
                  "move", namespace id, no. -> mutations since a move of the namespace began
                  "changes", ...            -> what changed lately; see `weft.kv.lmdb_changes`
    namespaces    name                      -> id, configuration
    records       namespace id, record id   -> number, then a Head where the record needs one
    numbers       number                    -> key in records
    items         number, item key          -> cell
    chunks        chunk number, index       -> part of a cell's payload
    due           instant, ordinal          -> item keys that a sweep should look at from then on
    due_records   instant, number           -> the same for records

A record's number is shorter than its id, so items of one record lie together under short keys. `due` is a
log: an overwritten item leaves its old entry behind, and the sweep goes by the item's cell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import lmdb
import msgspec

from weft.core import limits
from weft.core.codec import decode, encode, pack_u64, prefix_end, unpack_u64
from weft.core.errors import Corrupt
from weft.kv import expiry
from weft.kv.cells import (
    DUE,
    HEADER,
    NEVER,
    chunks_of,
    event_time_us,
    kept_until_us,
    split,
    tombstone_cell,
)
from weft.kv.expiry import NEVER_US
from weft.kv.model import Mutation, Namespace

DATABASES: Final = ("meta", "namespaces", "records", "numbers", "items", "chunks", "due", "due_records")
_GENERATION: Final = b"generation"
MOVE_LOG: Final = b"move"
NUMBER_BYTES: Final = 8
NAMESPACE_BYTES: Final = 4
# An LMDB key has at most 511 bytes; longer record ids are cut and told apart by a digest.
_WHOLE_ID_BYTES: Final = 480
_DIGEST_BYTES: Final = 16
# What falls due within a minute is looked at together.
_SHORTEST_SPAN_US: Final = 60_000_000
_SPANS: Final = 16
_DUE_KEYS_PER_ENTRY: Final = 500


class Move(msgspec.Struct, frozen=True):
    """How far the move of a namespace has come; see `weft.kv.move`."""

    to: str
    mover: bytes
    """Whoever is at it now; one that was overtaken finds another name here and stops."""
    after: bytes | None = None
    copied: bool = False
    switched: bool = False


class NamespaceRow(msgspec.Struct, frozen=True):
    """A namespace as stored."""

    id: int
    config: Namespace
    move: Move | None = None

    @property
    def prefix(self) -> bytes:
        return self.id.to_bytes(NAMESPACE_BYTES, "big")


class Tombstone(msgspec.Struct, frozen=True, array_like=True):
    """A deleted range of keys, and until when it is kept; `version` is packed."""

    version: bytes
    start: bytes
    end: bytes | None
    until_us: int

    def hides(self, key: bytes, cell: bytes) -> bool:
        return self.start <= key and (self.end is None or key < self.end) and cell[:32] <= self.version

    def covers(self, other: Tombstone) -> bool:
        return (
            self.version >= other.version
            and self.until_us >= other.until_us
            and self.start <= other.start
            and (self.end is None or (other.end is not None and other.end <= self.end))
        )


class Head(msgspec.Struct, array_like=True):
    """What only few records have: a long id, range tombstones, an expiry and its packed version."""

    long_id: bytes = b""
    tombstones: tuple[Tombstone, ...] = ()
    expiry_version: bytes = b""
    expires_us: int = NEVER_US

    def row(self, number: bytes) -> bytes:
        return number if self == Head() else number + encode(self)

    def hiding(self, key: bytes, cell: bytes) -> list[Tombstone]:
        """The tombstones that hide a cell."""
        return [tombstone for tombstone in self.tombstones if tombstone.hides(key, cell)]

    def add(self, tombstone: Tombstone) -> bool:
        """Add a tombstone in place of those that it covers; False when another one covers it."""
        if any(other.covers(tombstone) for other in self.tombstones):
            return False
        kept = [other for other in self.tombstones if not tombstone.covers(other)]
        self.tombstones = (*kept, tombstone)
        return True

    def final_us(self) -> int:
        """From when on nothing can move the record's expiry any more."""
        if self.expires_us == NEVER_US:
            return NEVER_US
        return expiry.kept_until_us(self.expires_us, int.from_bytes(self.expiry_version[8:16], "big"))

    def holds_nothing(self) -> bool:
        return not self.tombstones and self.expires_us == NEVER_US


def record_key(prefix: bytes, record: bytes) -> bytes:
    """A record's key in `records`."""
    if len(record) <= _WHOLE_ID_BYTES:
        return prefix + record
    digest = hashlib.blake2b(record, digest_size=_DIGEST_BYTES).digest()
    return prefix + record[:_WHOLE_ID_BYTES] + digest


def new_row(number: int, record: bytes) -> bytes:
    """The row of a record that is new."""
    return Head(record).row(pack_u64(number)) if len(record) > _WHOLE_ID_BYTES else pack_u64(number)


def parse_record(row: bytes) -> tuple[bytes, Head]:
    """Number and head of a row of `records`."""
    if len(row) == NUMBER_BYTES:
        return row, Head()
    return row[:NUMBER_BYTES], decode(row[NUMBER_BYTES:], Head, "a record's head")


def record_id(key: bytes, head: Head) -> bytes:
    return head.long_id or key[NAMESPACE_BYTES:]


class Rows:
    """The databases of a store within one transaction."""

    meta: Any
    namespaces: Any
    records: Any
    numbers: Any
    items: Any
    chunks: Any
    due: Any
    due_records: Any

    def __init__(self, handles: dict[str, Any], txn: lmdb.Transaction) -> None:
        self.__dict__.update(handles)
        self.txn = txn

    def namespace_rows(self) -> Iterator[NamespaceRow]:
        for _, row in self.txn.cursor(db=self.namespaces):
            yield decode(row, NamespaceRow, "a namespace")

    def generation(self) -> int:
        return unpack_u64(self.txn.get(_GENERATION, bytes(8), db=self.meta))

    def bump_generation(self) -> int:
        generation = self.generation() + 1
        self.txn.put(_GENERATION, pack_u64(generation), db=self.meta)
        return generation

    def log_move(self, prefix: bytes, mutations: Sequence[Mutation]) -> None:
        """Note what was written to a namespace while it is moved."""
        cursor = self.txn.cursor(db=self.meta)
        log = MOVE_LOG + prefix
        found = cursor.prev() if cursor.set_range(log + b"\xff" * 8) else cursor.last()
        number = unpack_u64(cursor.key(), len(log)) + 1 if found and cursor.key().startswith(log) else 0
        self.txn.put(log + pack_u64(number), encode(mutations), db=self.meta)

    def next_number(self, database: Any) -> int:
        """One more than the number at the front of the database's last key."""
        cursor = self.txn.cursor(db=database)
        return unpack_u64(cursor.key()) + 1 if cursor.last() else 1

    def span(self, number: bytes, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """Keys and cells of a record, from `start` up to `end`."""
        cursor = self.txn.cursor(db=self.items)
        if cursor.set_range(number + start):
            stop = prefix_end(number) if end is None else number + end
            for key, cell in cursor:
                if stop is not None and key >= stop:
                    return
                yield key, cell

    def span_back(self, number: bytes, start: bytes, end: bytes | None) -> Iterator[tuple[bytes, bytes]]:
        """The same from the end."""
        cursor = self.txn.cursor(db=self.items)
        stop = prefix_end(number) if end is None else number + end
        found = stop is not None and cursor.set_range(stop)
        if not (cursor.prev() if found else cursor.last()):
            return
        first = number + start
        for key, cell in cursor.iterprev():
            if key < first:
                return
            yield key, cell

    def put_cells(self, keys: list[bytes], cells: list[bytes]) -> None:
        """Store cells under ascending keys, large ones in chunks, and log when they are due."""
        largest = HEADER.size + limits.CHUNK_BYTES
        if max(map(len, cells), default=0) > largest:
            cells = [cell if len(cell) <= largest else self._put_chunks(cell) for cell in cells]
        self.txn.cursor(db=self.items).putmulti(zip(keys, cells, strict=True))
        self.log_due(keys, cells)

    def _put_chunks(self, cell: bytes) -> bytes:
        number = self.next_number(self.chunks)
        stored, chunks = split(cell, number)
        for index, chunk in enumerate(chunks):
            self.txn.put(_chunk_key(number, index), chunk, db=self.chunks, append=True)
        return stored

    def read_chunks(self, number: int, count: int) -> bytes:
        parts = [self.txn.get(_chunk_key(number, index), db=self.chunks) for index in range(count)]
        if None in parts:
            raise Corrupt("a stored value lacks a chunk", hint="restore it from a backup")
        return b"".join(parts)

    def chunk_bytes(self, cell: bytes) -> int:
        """Size of the chunks of a cell."""
        owned = chunks_of(cell)
        return len(self.read_chunks(*owned)) if owned else 0

    def free_chunks(self, cell: bytes) -> None:
        """Delete the chunks of a cell that is being replaced or deleted."""
        if owned := chunks_of(cell):
            number, count = owned
            for index in range(count):
                self.txn.delete(_chunk_key(number, index), db=self.chunks)

    def delete_cell(self, key: bytes, cell: bytes) -> None:
        self.free_chunks(cell)
        self.txn.delete(key, db=self.items)

    def keep_loser(self, key: bytes, cell: bytes) -> None:
        """Let a write that lost to one which is forgotten earlier go on hiding others, as a tombstone."""
        number, item = key[:NUMBER_BYTES], key[NUMBER_BYTES:]
        record = self.txn.get(number, db=self.numbers)
        head = parse_record(self.txn.get(record, db=self.records))[1]
        if head.add(Tombstone(cell[:32], item, item + b"\x00", kept_until_us(cell))):
            self.txn.put(record, head.row(number), db=self.records)
            self.log_record(number, head)

    def delete_hidden(self, number: bytes, tombstone: Tombstone) -> None:
        """Delete what a tombstone hides; what outlives it stays, as a tombstone."""
        hidden = [
            (key, cell)
            for key, cell in self.span(number, tombstone.start, tombstone.end)
            if cell[:32] <= tombstone.version
        ]
        kept = {}
        for key, cell in hidden:
            self.delete_cell(key, cell)
            if kept_until_us(cell) > tombstone.until_us:
                kept[key] = tombstone_cell(cell[:32], kept_until_us(cell))
        self.put_cells(list(kept), list(kept.values()))

    def finish_expiry(self, number: bytes, head: Head, now_us: int) -> int:
        """Delete what a record's expiry ended and forget the expiry, once nothing can move it any more."""
        ended_us = head.expires_us
        if head.final_us() > now_us:
            return 0
        head.expiry_version, head.expires_us = b"", NEVER_US
        ended = [(key, cell) for key, cell in self.span(number, b"", None) if event_time_us(cell) < ended_us]
        for key, cell in ended:
            self.delete_cell(key, cell)
        return len(ended)

    def log_due(self, keys: list[bytes], cells: list[bytes]) -> None:
        """Have a sweep look at cells when they expire, or when their tombstones may go.

        They are cut into few spans of time, and a sweep that comes to a span cuts what is left of it again:
        so a batch makes few entries, and an item is looked at a few times, however far its batch reaches.
        """
        due = [cell[DUE] for cell in cells]
        instants = {unpack_u64(one): one for one in set(due)}
        instants.pop(NEVER_US, None)
        if not instants:
            return
        first = min(instants)
        width = max((max(instants) - first) // min(_SPANS, len(due)) + 1, _SHORTEST_SPAN_US)
        spans: dict[int, list[bytes]] = {}
        span_of: dict[bytes, list[bytes]] = {NEVER: []}
        for due_us, one in instants.items():
            span_of[one] = spans.setdefault((due_us - first) // width, [])
        for one, key in zip(due, keys, strict=True):
            span_of[one].append(key)
        for at, span in spans.items():
            self.log_keys(first + at * width, span)

    def log_keys(self, due_us: int, keys: list[bytes]) -> None:
        """Have a sweep look at some cells from an instant on."""
        cursor = self.txn.cursor(db=self.due)
        found = cursor.prev() if cursor.set_range(pack_u64(due_us + 1)) else cursor.last()
        last = cursor.key() if found else b""
        ordinal = int.from_bytes(last[8:], "big") + 1 if last.startswith(pack_u64(due_us)) else 0
        for at in range(0, len(keys), _DUE_KEYS_PER_ENTRY):
            entry = encode(keys[at : at + _DUE_KEYS_PER_ENTRY])
            self.txn.put(pack_u64(due_us) + ordinal.to_bytes(4, "big"), entry, db=self.due)
            ordinal += 1

    def log_record(self, number: bytes, head: Head) -> None:
        """Have a sweep look at a record when its next tombstone may go or its expiry is final."""
        dues = [tombstone.until_us for tombstone in head.tombstones]
        if head.expires_us != NEVER_US:
            dues.append(head.final_us())
        if dues:
            due = max(min(dues), 0)
            self.txn.put(pack_u64(due) + number, b"", db=self.due_records)


def _chunk_key(number: int, index: int) -> bytes:
    return pack_u64(number) + index.to_bytes(4, "big")
