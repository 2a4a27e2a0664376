"""The embedded tuple store: one directory, one writer at a time, any number of reader processes."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Self

from weft.authz.store import (
    RETENTION_S,
    Commit,
    Head,
    Page,
    Read,
    RevisionGone,
    Rows,
    SchemaChange,
    StoredSchema,
    Write,
)
from weft.authz.stores.lmdb_export import Export
from weft.authz.stores.lmdb_layout import (
    DATABASES,
    Cache,
    Interner,
    State,
    Transaction,
    read_state,
)
from weft.authz.stores.lmdb_numbered import NumberedStore
from weft.authz.stores.lmdb_read import View, read_commit, read_wall_us
from weft.authz.stores.lmdb_write import Writer
from weft.authz.tuples import ObjectRef, RelationTuple, TupleFilter
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.codec import decode, pack_u64, unpack_u64
from weft.core.errors import Invalid, NotFound
from weft.core.lmdb_env import LmdbEnv
from weft.core.randomness import system_random

_FORMAT: Final = "weft.authz"
_FORMAT_VERSION: Final = 1
_COLLECT_ROWS: Final = 10_000
"""Rows that one transaction of `collect` removes, so that writers wait for milliseconds only."""


class LmdbStore:
    """See `TupleStore`. Commits are synced to disk; concurrent writers share a sync."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        retention_s: float = RETENTION_S,
    ) -> None:
        self._env = LmdbEnv.open(
            path, format_name=_FORMAT, format_version=_FORMAT_VERSION, databases=DATABASES
        )
        self._db: dict[str, Any] = {name: self._env.database(name) for name in DATABASES}
        self._clock = clock
        self._retention_us = int(retention_s * 1e6)
        self._cache = Cache()
        self._seen = (-1, State(0, 0, 0, 0, 0), Head(0, 0, 0))
        """The number of a commit, and the state and head that it left; one value, since threads share it."""
        with self._env.read() as txn:
            identity = txn.get(b"identity", db=self._db["meta"])
        if identity is None:
            fresh = (rng or system_random()).randbytes(24)
            identity = self._env.write(lambda txn: self._found(txn, fresh))
        self._store_id, self._secret = bytes(identity[:8]), bytes(identity[8:])

    @property
    def waits(self) -> bool:
        return True

    @property
    def store_id(self) -> bytes:
        return self._store_id

    @property
    def secret(self) -> bytes:
        return self._secret

    def head(self) -> Head:
        commit, _, head = self._seen
        if commit == self._env.last_commit():
            return head
        with self._env.read() as txn:
            return self._state(txn).head

    def oldest(self) -> int:
        with self._snapshot() as (_, state):
            return state.oldest

    def head_at(self, revision: int) -> Head:
        with self._snapshot(revision) as (txn, state):
            if revision == state.revision:
                return state.head
            if revision == 0:
                return Head(0, 0, 0)
            wall_us = read_wall_us(txn, self._db, revision)
            with txn.cursor(db=self._db["schemas"]) as cursor:
                return Head(revision, wall_us, _last_at(cursor, revision))

    def revision_at(self, wall_us: int) -> int:
        with self._snapshot() as (txn, state), txn.cursor(db=self._db["times"]) as cursor:
            if wall_us >= state.wall_us:
                return state.revision
            at = _last_at(cursor, max(wall_us, 0))
            return max(state.oldest, unpack_u64(cursor.value()) if at else 0)

    def read_schema(self, schema_revision: int) -> StoredSchema:
        with self._snapshot() as (txn, _):
            data = txn.get(pack_u64(schema_revision), db=self._db["schemas"])
        if data is None:
            raise NotFound(f"no schema was written at revision {schema_revision}")
        return decode(data, StoredSchema, "a schema")

    def answer(self, reads: Sequence[Read], revision: int) -> list[Rows]:
        with self._env.read() as txn:
            view = self._view_in(txn, revision)
            answers = [view.read(read) for read in reads]
            view.close()
        return answers

    def scan(self, where: TupleFilter, revision: int, *, limit: int, after: bytes | None = None) -> Page:
        with self._view(revision) as view:
            items: Rows = []
            last = None
            for key, item in view.scan(where, after):
                if len(items) == limit:
                    return Page(items, last)
                items.append(item)
                last = key
            return Page(items, None)

    def export(self, revision: int, *, after: RelationTuple | None = None) -> Iterator[str]:
        return Export(lambda: self._view(revision)).lines(after)

    def places(self, objects: Sequence[ObjectRef]) -> list[bytes | None]:
        """By number: objects come in the order in which they were first written, those of one write by id."""
        with self._env.read() as txn:
            interner = Interner(txn, self._db, self._cache)
            return [interner.object(object_) for object_ in objects]

    def write(self, write: Write) -> Head:
        return self._write(lambda writer: writer.write(write))

    def write_schema(self, change: SchemaChange) -> Head:
        return self._write(lambda writer: writer.write_schema(change))

    def changes(self, after: int, *, limit: int = 100) -> list[Commit]:
        with self._snapshot(after) as (txn, state):
            interner = Interner(txn, self._db, self._cache)
            last = min(state.revision, after + limit)
            return [self._commit(txn, interner, revision) for revision in range(after + 1, last + 1)]

    def collect(self) -> int:
        horizon_us = self._clock.now_us() - self._retention_us
        horizon = self.revision_at(horizon_us)

        def run(txn: Transaction) -> tuple[int, bool]:
            return Writer(txn, self._db, horizon_us, self._cache).collect(horizon, _COLLECT_ROWS)

        removed, more = self._env.write(run)
        while more:
            step, more = self._env.write(run)
            removed += step
        return removed

    def numbered(self) -> NumberedStore:
        """The same rows and changes by number, for a mirror."""
        return NumberedStore(self._env, self._db)

    def close(self) -> None:
        self._env.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _write(self, do: Callable[[Writer], Head]) -> Head:
        def run(txn: Transaction) -> tuple[Head, Cache]:
            writer = Writer(txn, self._db, self._clock.now_us(), self._cache)
            return do(writer), writer.fresh

        head, fresh = self._env.write(run)
        self._cache.join(fresh)
        return head

    def _found(self, txn: Transaction, fresh: bytes) -> bytes:
        """Give the store its identity, unless another process just did."""
        meta = self._db["meta"]
        if txn.put(b"identity", fresh, overwrite=False, db=meta):
            txn.put(b"state", State(0, 0, 0, 0, 0).pack(), db=meta)
        return bytes(txn.get(b"identity", db=meta))

    @contextmanager
    def _snapshot(self, revision: int | None = None) -> Iterator[tuple[Transaction, State]]:
        """A short read transaction, in which the revision can be read."""
        with self._env.read() as txn:
            state = self._state(txn)
            if revision is not None:
                _require_readable(revision, state)
            yield txn, state

    @contextmanager
    def _view(self, revision: int) -> Iterator[View]:
        """The rows at a revision, in a short read transaction."""
        with self._env.read() as txn:
            view = self._view_in(txn, revision)
            try:
                yield view
            finally:
                view.close()

    def _view_in(self, txn: Transaction, revision: int) -> View:
        state = self._state(txn)
        _require_readable(revision, state)
        return View(txn, self._db, Interner(txn, self._db, self._cache), revision, state)

    def _state(self, txn: Transaction) -> State:
        """The state that a read transaction sees; read once for each commit."""
        commit, state, _ = self._seen
        if commit != txn.id():
            state = read_state(txn, self._db["meta"])
            self._seen = txn.id(), state, state.head
        return state

    def _commit(self, txn: Transaction, interner: Interner, revision: int) -> Commit:
        wall_us, changes = read_commit(txn, self._db, revision, interner)
        data = txn.get(pack_u64(revision), db=self._db["schemas"])
        schema = None if data is None else decode(data, StoredSchema, "a schema")
        return Commit(revision, wall_us, changes, schema)


def _require_readable(revision: int, state: State) -> None:
    if revision < state.oldest:
        raise RevisionGone(
            f"revision {revision} is older than the retained history, which begins at {state.oldest}"
        )
    if revision > state.revision:
        raise Invalid(f"revision {revision} is ahead of the store, which is at {state.revision}")


def _last_at(cursor: Any, number: int) -> int:
    """The greatest key at or below `number`, where the cursor then stands; 0 when there is none."""
    key = pack_u64(number)
    there = cursor.set_range(key)
    if there and cursor.key() == key:
        return number
    return unpack_u64(cursor.key()) if (cursor.prev() if there else cursor.last()) else 0
