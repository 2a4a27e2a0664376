"""The embedded default: one LMDB directory, any number of processes, durable when acknowledged."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Self

import lmdb
import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.codec import decode, encode
from weft.core.lmdb_env import LmdbEnv
from weft.kv.base import StoreBase
from weft.kv.checks import (
    check_limit,
    check_mutations,
    check_namespace,
    check_page,
    check_query,
    find_namespace,
)
from weft.kv.exporting import fill_export, place_after
from weft.kv.lmdb_batch import Batch
from weft.kv.lmdb_changes import configure_log, log_batch, log_records, read_changes
from weft.kv.lmdb_export import erase_rows, export_entries
from weft.kv.lmdb_moving import MovingNamespace, logged
from weft.kv.lmdb_read import Moment, Reader, record_rows
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
    Changes,
    Delete,
    Exported,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    Put,
    RecordPage,
    Selection,
)
from weft.kv.paging import DEFAULT_LIMITS, export_query, fill_page, fill_record_page, page_token, query_digest
from weft.kv.store import Capability, Moved

_MUTATIONS = (Put, Delete)
FORMAT_NAME = "weft.kv"
FORMAT_VERSION = 2


class LmdbStore(StoreBase):
    """A `KeyValueStore` in an LMDB directory."""

    capabilities = frozenset(Capability)

    def __init__(self, env: LmdbEnv, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(clock)
        self._env = env
        self._handles = {name: env.database(name) for name in DATABASES}
        self._decoded: dict[str, tuple[bytes, NamespaceRow]] = {}
        self._prefixes: tuple[int, dict[str, bytes]] = -1, {}
        """Of the namespaces that were read since a commit, by its number."""
        self._generation: tuple[int, int] = -1, -1
        """The number of a commit, and the generation that it made."""
        self._local = _Local()

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

    def configure(self, *namespaces: Namespace) -> None:
        for namespace in namespaces:
            check_namespace(namespace)

        def write(txn: lmdb.Transaction) -> None:
            rows = Rows(self._handles, txn)
            generation = rows.bump_generation()
            found = {row.config.name: row for row in rows.namespace_rows()}
            known = frozenset(found)
            for namespace in namespaces:
                last = max((row.id for row in found.values()), default=0)
                row = found.setdefault(namespace.name, NamespaceRow(last + 1, namespace))
                _check_here(row)
                row = msgspec.structs.replace(row, config=namespace)
                txn.put(namespace.name.encode(), encode(row), db=rows.namespaces)
                configure_log(rows, generation if namespace.name in known else 0, row)

        self._env.write(write)

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        now_us = self._clock.now_us()
        names = {mutation.namespace for mutation in mutations if isinstance(mutation, _MUTATIONS)}
        with self._env.read() as txn:
            namespaces = self._find_all(txn, names)
        check_mutations(mutations, {name: row.config for name, row in namespaces.items()}, now_us)
        batch = Batch(mutations, namespaces, now_us)

        def write(txn: lmdb.Transaction) -> None:
            rows = Rows(self._handles, txn)
            current = self._find_all(txn, names)
            as_checked = batch if current == namespaces else Batch(mutations, current, now_us)
            written = as_checked.apply(rows)
            for row in current.values():
                if row.move is not None:
                    rows.log_move(row.prefix, logged(mutations, row.config))
            log_batch(rows, rows.bump_generation(), written, current.values())

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
        moment = self._local.moment
        if moment is None:
            with self._moment() as moment:
                return self._get(
                    moment, namespace, records, selection, reverse, limit_per_record, page, after
                )
        return self._get(moment, namespace, records, selection, reverse, limit_per_record, page, after)

    def _get(
        self,
        moment: Moment,
        namespace: str,
        records: Sequence[bytes],
        selection: Selection,
        reverse: bool,
        limit_per_record: int | None,
        page: PageLimits | None,
        after: bytes | None,
    ) -> Page:
        prefix = self._prefix(moment, namespace)
        if selection is ALL and page is None and after is None and not reverse:
            found, last = moment.short_records(prefix, records, limit_per_record, DEFAULT_LIMITS)
            if last is None:
                return Page(found)
            query = query_digest(namespace, records, selection, reverse, limit_per_record)
            return Page(found, page_token(query, last))
        reader = Reader(moment, selection, reverse)
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
        with self._moment() as moment:
            prefix = self._prefix(moment, namespace)
            rows, reader = moment.rows, Reader(moment)

            def scan(after_key: bytes | None) -> Iterator[tuple[bytes, bytes]]:
                for key, row in record_rows(rows, prefix, after_key):
                    if next(iter(reader.scan_row(row, None)), None) is not None:
                        yield key, record_id(key, parse_record(row)[1])

            return fill_record_page(scan, namespace, page or DEFAULT_LIMITS, after, self._clock)

    def stats(self, namespace: str) -> NamespaceStats:
        with self._moment() as moment:
            prefix = self._prefix(moment, namespace)
            rows, reader = moment.rows, Reader(moment)
            records = live = stored = size = 0
            for _, row in record_rows(rows, prefix, None):
                for key, cell in rows.span(row[:NUMBER_BYTES], b"", None):
                    stored += 1
                    size += len(key) + len(cell) + rows.chunk_bytes(cell)
                live_here = sum(1 for _ in reader.scan_row(row, None))
                live += live_here
                records += live_here > 0
            return NamespaceStats(records=records, live_items=live, stored_items=stored, stored_bytes=size)

    def _found(self, txn: lmdb.Transaction, name: str) -> NamespaceRow:
        return find_namespace(self._find_all(txn, (name,)), name)

    def export(
        self,
        namespace: str,
        records: Sequence[bytes] | None = None,
        *,
        after: bytes | None = None,
        page: PageLimits | None = None,
    ) -> Exported:
        check_query(records or (), ALL, page, None)
        query = export_query(namespace, records)
        place = place_after(after, query)
        with self._env.read() as txn:
            rows, prefix = Rows(self._handles, txn), self._found(txn, namespace).prefix
            now_us = self._clock.now_us()
            entries = export_entries(rows, namespace, prefix, records, place, now_us)
            return fill_export(entries, query, page, self._clock)

    def erase(self, namespace: str, *, limit: int = 10_000) -> int:
        def write(txn: lmdb.Transaction) -> int:
            rows = Rows(self._handles, txn)
            row = self._found(txn, namespace)
            erased = erase_rows(rows, row.prefix, limit)
            if erased.total:
                log_records(rows, rows.bump_generation(), erased.records, row)
            return erased.total

        return self._env.write(write)

    def locations(self) -> dict[str, str]:
        """Where the namespaces are that have moved away."""
        with self._env.read() as txn:
            moves = {row.config.name: row.move for row in Rows(self._handles, txn).namespace_rows()}
        return {name: move.to for name, move in moves.items() if move is not None and move.switched}

    def moving(self, namespace: str) -> MovingNamespace:
        """The source's side of moving a namespace away; for `weft.kv.move`."""
        return MovingNamespace(self._env, self._handles, namespace)

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
        if self._local.moment is not None:
            return self._local.moment.rows.generation()
        known = self._generation
        if known[0] != self._env.last_commit():
            with self._env.read() as txn:
                self._generation = known = txn.id(), Rows(self._handles, txn).generation()
        return known[1]

    def changes(self, namespace: str, *, after: int, limit: int = 10_000) -> Changes:
        check_limit(limit)
        with self._moment() as moment:
            return read_changes(moment.rows, namespace, self._prefix(moment, namespace), after, limit)

    def snapshot(self) -> AbstractContextManager[object]:
        return self._moment()

    def close(self) -> None:
        self._env.close()

    @contextmanager
    def _moment(self) -> Iterator[Moment]:
        """This thread's moment, or a new one."""
        if self._local.moment is not None:
            yield self._local.moment
            return
        with self._env.read() as txn:
            self._local.moment = Moment(
                Rows(self._handles, txn), self._clock.now_us(), self._prefixes_at(txn.id())
            )
            try:
                yield self._local.moment
            finally:
                self._local.moment = None

    def _prefixes_at(self, commit: int) -> dict[str, bytes]:
        known = self._prefixes
        if known[0] != commit:
            self._prefixes = known = commit, {}
        return known[1]

    def _prefix(self, moment: Moment, name: str) -> bytes:
        """The prefix of a namespace's records; `NotFound` when it is not configured."""
        prefix = moment.prefixes.get(name)
        if prefix is None:
            prefix = find_namespace(self._find_all(moment.rows.txn, (name,)), name).prefix
            moment.prefixes[name] = prefix
        return prefix

    def _find_all(self, txn: lmdb.Transaction, names: Iterable[str]) -> dict[str, NamespaceRow]:
        """Those of the namespaces that are configured, decoded again only when they have changed."""
        found = {}
        for name in names:
            row = txn.get(name.encode() or b"\x00", db=self._handles["namespaces"])
            if row is not None:
                if name not in self._decoded or self._decoded[name][0] != row:
                    self._decoded[name] = row, decode(row, NamespaceRow, "a namespace")
                found[name] = self._decoded[name][1]
                _check_here(found[name])
        return found


def _check_here(row: NamespaceRow) -> None:
    if row.move is not None and row.move.switched:
        raise Moved(row.config.name, row.move.to)


class _Local(threading.local):
    """What the current thread reads."""

    moment: Moment | None = None
