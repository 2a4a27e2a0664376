"""The embedded default: one LMDB directory, any number of processes, durable when acknowledged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self

import lmdb

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.codec import decode, encode
from weft.core.lmdb_env import LmdbEnv
from weft.kv.base import StoreBase
from weft.kv.cells import live_item
from weft.kv.checks import check_mutations, check_namespace, check_page, check_query, find_namespace
from weft.kv.lmdb_batch import Batch
from weft.kv.lmdb_rows import (
    DATABASES,
    NUMBER_BYTES,
    NamespaceRow,
    Rows,
    parse_record,
    record_id,
    record_key,
)
from weft.kv.lmdb_sweep import Sweep
from weft.kv.model import (
    ALL,
    Delete,
    Item,
    Keys,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    Put,
    RecordPage,
    Selection,
)
from weft.kv.paging import DEFAULT_LIMITS, bounds, fill_page, fill_record_page
from weft.kv.store import Capability

FORMAT_NAME = "weft.kv"
FORMAT_VERSION = 1


class LmdbStore(StoreBase):
    """A `KeyValueStore` in an LMDB directory."""

    capabilities = frozenset(Capability)

    def __init__(self, env: LmdbEnv, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(clock)
        self._env = env
        self._handles = {name: env.database(name) for name in DATABASES}
        self._decoded: dict[str, tuple[bytes, NamespaceRow]] = {}

    @classmethod
    def open(
        cls, path: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK, readonly: bool = False
    ) -> Self:
        """Open a directory, or create it unless `readonly`; errors as those of `LmdbEnv.open`."""
        env = LmdbEnv.open(
            path,
            format_name=FORMAT_NAME,
            format_version=FORMAT_VERSION,
            databases=DATABASES,
            readonly=readonly,
        )
        return cls(env, clock=clock)

    def namespaces(self) -> list[Namespace]:
        with self._env.read() as txn:
            return [row.config for row in Rows(self._handles, txn).namespace_rows()]

    def configure(self, namespace: Namespace) -> None:
        check_namespace(namespace)
        name = namespace.name.encode()

        def write(txn: lmdb.Transaction) -> None:
            rows = Rows(self._handles, txn)
            ids = {row.config.name: row.id for row in rows.namespace_rows()}
            number = ids.get(namespace.name, max(ids.values(), default=0) + 1)
            txn.put(name, encode(NamespaceRow(number, namespace)), db=rows.namespaces)
            rows.bump_generation()

        self._env.write(write)

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        now_us = self._clock.now_us()
        with self._env.read() as txn:
            namespaces = self._find_all(txn, {m.namespace for m in mutations if isinstance(m, Put | Delete)})
        check_mutations(mutations, {name: row.config for name, row in namespaces.items()}, now_us)
        batch = Batch(mutations, namespaces)

        def write(txn: lmdb.Transaction) -> None:
            rows = Rows(self._handles, txn)
            batch.apply(rows, now_us)
            rows.bump_generation()

        self._env.write(write)

    def get_items(
        self,
        namespace: str,
        records: Sequence[bytes],
        selection: Selection = ALL,
        *,
        reverse: bool = False,
        limit_per_record: int | None = None,
        page: PageLimits | None = None,
        after: bytes | None = None,
    ) -> Page:
        check_query(records, selection, page, limit_per_record)
        with self._env.read() as txn:
            prefix = self._find(txn, namespace).prefix
            reader = _Reader(Rows(self._handles, txn), selection, reverse, self._clock.now_us())
            return fill_page(
                lambda record, after_key: reader.scan(record_key(prefix, record), after_key),
                namespace,
                records,
                selection,
                reverse=reverse,
                limit_per_record=limit_per_record,
                limits=page or DEFAULT_LIMITS,
                after=after,
                clock=self._clock,
            )

    def scan_records(
        self, namespace: str, *, after: bytes | None = None, page: PageLimits | None = None
    ) -> RecordPage:
        check_page(page)
        with self._env.read() as txn:
            prefix = self._find(txn, namespace).prefix
            rows = Rows(self._handles, txn)
            reader = _Reader(rows, ALL, False, self._clock.now_us())

            def scan(after_key: bytes | None) -> Iterator[tuple[bytes, bytes]]:
                for key, row in _records(rows, prefix, after_key):
                    if next(iter(reader.scan_row(row, None)), None) is not None:
                        yield key, record_id(key, parse_record(row)[1])

            return fill_record_page(scan, namespace, page or DEFAULT_LIMITS, after, self._clock)

    def stats(self, namespace: str) -> NamespaceStats:
        with self._env.read() as txn:
            prefix = self._find(txn, namespace).prefix
            rows = Rows(self._handles, txn)
            reader = _Reader(rows, ALL, False, self._clock.now_us())
            records = live = stored = size = 0
            for _, row in _records(rows, prefix, None):
                for key, cell in rows.span(row[:NUMBER_BYTES], b"", None):
                    stored += 1
                    size += len(key) + len(cell) + rows.chunk_bytes(cell)
                live_here = sum(1 for _ in reader.scan_row(row, None))
                live += live_here
                records += live_here > 0
            return NamespaceStats(records=records, live_items=live, stored_items=stored, stored_bytes=size)

    def sweep(self, *, limit: int = 10_000) -> int:
        now_us = self._clock.now_us()

        def write(txn: lmdb.Transaction) -> int:
            rows = Rows(self._handles, txn)
            reclaimed = Sweep(rows, now_us, limit).run()
            if reclaimed:
                rows.bump_generation()
            return reclaimed

        return self._env.write(write)

    def generation(self) -> int:
        with self._env.read() as txn:
            return Rows(self._handles, txn).generation()

    def close(self) -> None:
        self._env.close()

    def _find(self, txn: lmdb.Transaction, name: str) -> NamespaceRow:
        return find_namespace(self._find_all(txn, {name}), name)

    def _find_all(self, txn: lmdb.Transaction, names: Iterable[str]) -> dict[str, NamespaceRow]:
        """Those of the namespaces that are configured, decoded again only when they have changed."""
        found = {}
        for name in names:
            row = txn.get(name.encode() or b"\x00", db=self._env.database("namespaces"))
            if row is not None:
                if name not in self._decoded or self._decoded[name][0] != row:
                    self._decoded[name] = row, decode(row, NamespaceRow, "a namespace")
                found[name] = self._decoded[name][1]
        return found


class _Reader:
    """Reads one selection of records within one transaction."""

    def __init__(self, rows: Rows, selection: Selection, reverse: bool, now_us: int) -> None:
        self._rows = rows
        self._reverse = reverse
        self._now_us = now_us
        self._keys: list[bytes] | None = None
        self._start, self._end = b"", None
        if isinstance(selection, Keys):
            self._keys = sorted(set(selection.keys), reverse=reverse)
        else:
            self._start, self._end = bounds(selection)

    def scan(self, record: bytes, after_key: bytes | None) -> Iterable[Item]:
        row = self._rows.txn.get(record, db=self._rows.records)
        return () if row is None else self.scan_row(row, after_key)

    def scan_row(self, row: bytes, after_key: bytes | None) -> Iterator[Item]:
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


def _records(rows: Rows, prefix: bytes, after_key: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """Rows of `records` under a namespace's prefix."""
    cursor: Any = rows.txn.cursor(db=rows.records)
    if cursor.set_range(prefix if after_key is None else after_key + b"\x00"):
        for key, row in cursor:
            if not key.startswith(prefix):
                return
            yield key, row
