"""The reference tuple store: plain dicts, one lock; correct, never fast."""

from __future__ import annotations

import random
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Self

import msgspec

from weft.authz.store import (
    RETENTION_S,
    Change,
    Commit,
    Head,
    IdempotencyConflict,
    Lookup,
    Objects,
    OrphanedTuples,
    Page,
    PreconditionFailed,
    Read,
    RevisionGone,
    Rows,
    SchemaChange,
    StoredSchema,
    TupleExists,
    Users,
    Write,
    canonical_key,
    describe_precondition,
    require_schema,
)
from weft.authz.tuples import ObjectRef, RelationTuple, TupleFilter
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, NotFound
from weft.core.randomness import system_random

Key = tuple[str, str, str, str, str, str]


class _Row(msgspec.Struct):
    item: RelationTuple
    created: int
    deleted: int | None = None

    def live(self, revision: int) -> bool:
        return self.created <= revision and (self.deleted is None or revision < self.deleted)


class MemoryStore:
    """See `TupleStore`. Everything is lost on close."""

    def __init__(
        self,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        retention_s: float = RETENTION_S,
    ) -> None:
        rng = rng or system_random()
        self._clock = clock
        self._retention_us = int(retention_s * 1e6)
        self._lock = threading.RLock()
        self._closed = False
        self._store_id = rng.randbytes(8)
        self._secret = rng.randbytes(16)
        self._heads = [Head(0, 0, 0)]
        self._first = 0
        """The revision of `_heads[0]`: the oldest that can be read."""
        self._commits: list[Commit] = []
        self._schemas: dict[int, StoredSchema] = {}
        self._rows: dict[Key, list[_Row]] = {}
        self._by_object: dict[tuple[str, str, str], dict[Key, None]] = defaultdict(dict)
        self._by_user: dict[tuple[str, str, str], dict[Key, None]] = defaultdict(dict)
        self._idempotent: dict[str, tuple[Write, Head, int]] = {}
        """By key: the write, its head, and when it was made."""

    @property
    def waits(self) -> bool:
        return False

    @property
    def store_id(self) -> bytes:
        return self._store_id

    @property
    def secret(self) -> bytes:
        return self._secret

    def head(self) -> Head:
        with self._open():
            return self._heads[-1]

    def oldest(self) -> int:
        with self._open():
            return self._first

    def head_at(self, revision: int) -> Head:
        with self._open():
            self._require(revision)
            return self._heads[revision - self._first]

    def revision_at(self, wall_us: int) -> int:
        with self._open():
            at = bisect_right(self._heads, wall_us, key=lambda head: head.wall_us) - 1
            return self._heads[max(at, 0)].revision

    def read_schema(self, schema_revision: int) -> StoredSchema:
        with self._open():
            if schema_revision not in self._schemas:
                raise NotFound(f"no schema was written at revision {schema_revision}")
            return self._schemas[schema_revision]

    def answer(self, reads: Sequence[Read], revision: int) -> list[Rows]:
        with self._open():
            self._require(revision)
            return [list(self._live(self._candidates(read), revision)) for read in reads]

    def scan(self, where: TupleFilter, revision: int, *, limit: int, after: bytes | None = None) -> Page:
        with self._open():
            self._require(revision)
            start = msgspec.msgpack.decode(after, type=Key) if after else None
            keys = sorted(key for key in self._rows if start is None or key > start)
            found: Rows = []
            for item in self._live(keys, revision):
                if not where.matches(item):
                    continue
                if len(found) == limit:
                    return Page(found, msgspec.msgpack.encode(found[-1].key))
                found.append(item)
            return Page(found, None)

    def export(self, revision: int, *, after: RelationTuple | None = None) -> Iterator[str]:
        with self._open():
            self._require(revision)
            rows = sorted(self._live(self._rows, revision), key=canonical_key)
        return (str(item) for item in rows if after is None or canonical_key(item) > canonical_key(after))

    def places(self, objects: Sequence[ObjectRef]) -> list[bytes | None]:
        return [object_.id.encode() for object_ in objects]

    def write(self, write: Write) -> Head:
        with self._open():
            if write.idempotency_key in self._idempotent:
                return self._replay(write)
            head = self._heads[-1]
            now_us = self._clock.now_us()
            self._check(write, head, now_us)
            changes = tuple(self._changes(write))
            if changes:
                head = self._commit(changes, None)
            if write.idempotency_key is not None:
                self._idempotent[write.idempotency_key] = (write, head, now_us)
            return head

    def write_schema(self, change: SchemaChange) -> Head:
        with self._open():
            head = self._heads[-1]
            if self._schemas.get(head.schema_revision) == change.schema:
                return head
            require_schema(change.schema_revision, head)
            now_us = self._clock.now_us()
            orphans = [
                item
                for item in self._live(self._rows, head.revision)
                if not item.expired(now_us) and not change.admits(item)
            ]
            if orphans:
                raise OrphanedTuples(orphans[:100])
            return self._commit((), change.schema)

    def changes(self, after: int, *, limit: int = 100) -> list[Commit]:
        with self._open():
            self._require(after)
            return self._commits[after - self._first :][:limit]

    def collect(self) -> int:
        with self._open():
            horizon_us = self._clock.now_us() - self._retention_us
            first = self.revision_at(horizon_us)
            del self._heads[: first - self._first], self._commits[: first - self._first]
            self._first = first
            self._idempotent = {key: used for key, used in self._idempotent.items() if used[2] >= horizon_us}
            return sum(self._trim(key, horizon_us) for key in list(self._rows))

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _open(self) -> threading.RLock:
        if self._closed:
            raise Invalid("the store is closed", hint="open it again")
        return self._lock

    def _require(self, revision: int) -> None:
        if revision < self._first:
            raise RevisionGone(
                f"revision {revision} is older than the retained history, which begins at {self._first}"
            )
        if revision > self._heads[-1].revision:
            raise Invalid(
                f"revision {revision} is ahead of the store, which is at {self._heads[-1].revision}"
            )

    def _candidates(self, read: Read) -> Sequence[Key]:
        match read:
            case Lookup(object_, relation, users):
                keys = [RelationTuple(object_, relation, user).key for user in users]
                return [key for key in keys if key in self._rows]
            case Users(object_, relation, usersets):
                found = self._by_object.get((object_.namespace, object_.id, relation), ())
                return [key for key in found if key[5] or not usersets]
            case Objects(user, namespace, relation):
                found = self._by_user.get((user.namespace, user.id, user.relation), ())
                return [key for key in found if key[0] == namespace and key[2] == relation]

    def _live(self, keys: Sequence[Key] | dict[Key, list[_Row]], revision: int) -> Iterator[RelationTuple]:
        return (row.item for key in keys for row in self._rows[key] if row.live(revision))

    def _current(self, key: Key) -> RelationTuple | None:
        return next(self._live([key] if key in self._rows else [], self._heads[-1].revision), None)

    def _replay(self, write: Write) -> Head:
        first, head, _ = self._idempotent[write.idempotency_key or ""]
        if msgspec.structs.replace(first, schema_revision=write.schema_revision) != write:
            raise IdempotencyConflict(
                f"idempotency key `{write.idempotency_key}` was used for another write",
                hint="use a fresh key",
            )
        return head

    def _check(self, write: Write, head: Head, now_us: int) -> None:
        require_schema(write.schema_revision, head)
        for wanted, filters in ((True, write.must_exist), (False, write.must_not_exist)):
            for where in filters:
                present = (item for item in self._live(self._rows, head.revision) if not item.expired(now_us))
                if any(map(where.matches, present)) is not wanted:
                    raise PreconditionFailed(describe_precondition(where, wanted))
        for item in write.create:
            current = self._current(item.key)
            if current and not current.expired(now_us):
                raise TupleExists(f"tuple `{current}` exists", hint="use touch to replace it")

    def _changes(self, write: Write) -> Iterator[Change]:
        for item in write.delete:
            if current := self._current(item.key):
                yield Change("delete", current)
        for item in (*write.create, *write.touch):
            if self._current(item.key) != item:
                yield Change("touch", item)

    def _commit(self, changes: tuple[Change, ...], schema: StoredSchema | None) -> Head:
        last = self._heads[-1]
        revision = last.revision + 1
        wall_us = max(self._clock.now_us(), last.wall_us + 1)
        head = Head(revision, wall_us, revision if schema else last.schema_revision)
        for change in changes:
            self._apply(change, revision)
        if schema:
            self._schemas[revision] = schema
        self._commits.append(Commit(revision, wall_us, changes, schema))
        self._heads.append(head)
        return head

    def _apply(self, change: Change, revision: int) -> None:
        item = change.item
        key = item.key
        rows = self._rows.setdefault(key, [])
        if rows and rows[-1].deleted is None:
            rows[-1].deleted = revision
        if change.operation == "touch":
            rows.append(_Row(item, revision))
            self._by_object[key[0], key[1], key[2]][key] = None
            self._by_user[key[3], key[4], key[5]][key] = None

    def _trim(self, key: Key, horizon_us: int) -> int:
        rows = self._rows[key]
        kept = [
            row
            for row in rows
            if (row.deleted is None and not row.item.expired(horizon_us))
            or (row.deleted is not None and row.deleted > self._first)
        ]
        if kept:
            self._rows[key] = kept
        else:
            del (
                self._rows[key],
                self._by_object[key[0], key[1], key[2]][key],
                self._by_user[key[3], key[4], key[5]][key],
            )
        return len(rows) - len(kept)
