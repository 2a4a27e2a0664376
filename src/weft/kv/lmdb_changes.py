"""The log of what changed lately in a namespace, kept in LMDB beside what changed.

    meta   "changes", namespace id                      -> since when the log is whole, and its size
           "changes", namespace id, generation, ordinal -> part of that generation's record ids and item keys

It names records by their ids: a number is given out again once its record is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
import zstandard

from weft.core import limits
from weft.core.codec import decode, encode, pack_u64, unpack_u64
from weft.kv.lmdb_rows import NAMESPACE_BYTES, NUMBER_BYTES, NamespaceRow, Rows
from weft.kv.model import Change, Changes
from weft.kv.store import ChangesForgotten

_LOG: Final = b"changes"
_GENERATION_AT: Final = len(_LOG) + NAMESPACE_BYTES
_ORDINAL_BYTES: Final = 4
# A value of LMDB lies in one run of pages; longer runs are hard to find in a file that has been in use.
_PART_BYTES: Final = 256 << 10


Pairs = dict[bytes, list[bytes]]
"""Record ids and item keys in turn, by the namespace's id."""


class Written(NamedTuple):
    """What a batch changed. `ids`, `numbers` and `whole` go by the records' keys in `records`."""

    ids: dict[bytes, bytes]
    numbers: dict[bytes, bytes]
    whole: set[bytes]
    """Where a range was deleted or the record's expiry was set."""
    keys: list[bytes]
    """In `items`."""
    sent: Pairs | None
    """Where nothing lost: all that the batch writes."""


class _Entry(msgspec.Struct, array_like=True):
    """What a generation changed in a namespace."""

    whole: list[bytes]
    """Ids of records of which anything may have changed."""
    pairs: list[bytes]
    """A record id and an item key in turn."""


class _Log(msgspec.Struct, array_like=True):
    floor: int
    """Every change after this generation is told."""
    bytes: int = 0


def log_batch(rows: Rows, generation: int, written: Written, namespaces: Iterable[NamespaceRow]) -> None:
    """Note a batch in the logs of the namespaces that keep one."""
    logged = {row.prefix: row for row in namespaces if row.config.changes_bytes}
    if not logged:
        return
    whole: Pairs = {prefix: [] for prefix in logged}
    for key in written.whole:
        if (prefix := key[:NAMESPACE_BYTES]) in whole:
            whole[prefix].append(written.ids[key])
    pairs = _won(written, logged) if written.sent is None else written.sent
    for prefix, row in logged.items():
        _append(rows, row, generation, _Entry(whole[prefix], pairs[prefix]))


def _won(written: Written, prefixes: Iterable[bytes]) -> Pairs:
    pairs: Pairs = {prefix: [] for prefix in prefixes}
    places = {
        number: (written.ids[key], pairs[key[:NAMESPACE_BYTES]])
        for key, number in written.numbers.items()
        if key[:NAMESPACE_BYTES] in pairs and key not in written.whole
    }
    for key in written.keys:
        if (place := places.get(key[:NUMBER_BYTES])) is not None:
            record, found = place
            found += (record, key[NUMBER_BYTES:])
    return pairs


def log_records(rows: Rows, generation: int, records: list[bytes], namespace: NamespaceRow) -> None:
    """Note that anything of some records may have changed."""
    if namespace.config.changes_bytes:
        _append(rows, namespace, generation, _Entry(records, []))


def configure_log(rows: Rows, generation: int, namespace: NamespaceRow) -> None:
    """Begin, trim or drop the log as its namespace is configured now, in this generation; 0 for a new one."""
    log = _log(rows, namespace.prefix)
    if not namespace.config.changes_bytes:
        drop_log(rows, namespace.prefix)
    elif log is None:
        _keep(rows, namespace.prefix, _Log(generation))
    else:
        _trim(rows, namespace, log)


def drop_log(rows: Rows, prefix: bytes) -> None:
    cursor = rows.txn.cursor(db=rows.meta)
    while cursor.set_range(_LOG + prefix) and cursor.key().startswith(_LOG + prefix):
        cursor.delete()


def read_changes(rows: Rows, name: str, prefix: bytes, after: int, limit: int) -> Changes:
    """See `KeyValueStore.changes`."""
    generation = rows.generation()
    if after == generation:
        return Changes([], generation)
    log = _log(rows, prefix)
    if log is None or not log.floor <= after <= generation:
        raise ChangesForgotten(name)
    changed: list[Change] = []
    for told_at, entry in _generations(rows, prefix, after + 1):
        changed += [Change(record, None) for record in entry.whole]
        changed += map(Change, entry.pairs[::2], entry.pairs[1::2])
        if len(changed) >= limit:
            return Changes(changed, told_at)
    return Changes(changed, generation)


def _generations(rows: Rows, prefix: bytes, first: int) -> Iterator[tuple[int, _Entry]]:
    cursor = rows.txn.cursor(db=rows.meta)
    if not cursor.set_range(_LOG + prefix + pack_u64(first)):
        return
    for place, parts in groupby(cursor, lambda pair: pair[0][:-_ORDINAL_BYTES]):
        if not place.startswith(_LOG + prefix):
            return
        packed = b"".join(part for _, part in parts)
        if packed.startswith(zstandard.FRAME_HEADER):
            packed = zstandard.ZstdDecompressor().decompress(packed)
        yield unpack_u64(place, _GENERATION_AT), decode(packed, _Entry, "a log of changes")


def _append(rows: Rows, namespace: NamespaceRow, generation: int, entry: _Entry) -> None:
    log = _log(rows, namespace.prefix)
    if log is None or not (entry.whole or entry.pairs):
        return
    packed = encode(entry)
    if len(packed) >= limits.COMPRESS_FROM_BYTES:
        packed = zstandard.ZstdCompressor(level=1).compress(packed)
    for ordinal, at in enumerate(range(0, len(packed), _PART_BYTES)):
        key = _LOG + namespace.prefix + pack_u64(generation) + ordinal.to_bytes(_ORDINAL_BYTES, "big")
        part = packed[at : at + _PART_BYTES]
        rows.txn.put(key, part, db=rows.meta)
        log.bytes += len(key) + len(part)
    _trim(rows, namespace, log)


def _trim(rows: Rows, namespace: NamespaceRow, log: _Log) -> None:
    """Forget the oldest parts of a log that is too large. What is left of their generation is never read."""
    cursor = rows.txn.cursor(db=rows.meta)
    while log.bytes > namespace.config.changes_bytes:
        cursor.set_range(_LOG + namespace.prefix + bytes(1))
        log.floor = unpack_u64(cursor.key(), _GENERATION_AT)
        log.bytes -= len(cursor.key()) + len(cursor.value())
        cursor.delete()
    _keep(rows, namespace.prefix, log)


def _log(rows: Rows, prefix: bytes) -> _Log | None:
    row = rows.txn.get(_LOG + prefix, db=rows.meta)
    return None if row is None else decode(row, _Log, "a log of changes")


def _keep(rows: Rows, prefix: bytes, log: _Log) -> None:
    rows.txn.put(_LOG + prefix, encode(log), db=rows.meta)
