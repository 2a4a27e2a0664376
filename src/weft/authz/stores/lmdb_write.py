"""Writes of the LMDB store, each inside one write transaction."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from weft.authz.store import (
    Head,
    IdempotencyConflict,
    OrphanedTuples,
    PreconditionFailed,
    SchemaChange,
    TupleExists,
    Write,
    describe_precondition,
    require_schema,
)
from weft.authz.stores.lmdb_layout import (
    FORWARD,
    PLAIN,
    REVERSE,
    WILDCARD_SERIAL,
    Cache,
    Interner,
    State,
    Transaction,
    read_state,
    reversed_key,
)
from weft.authz.stores.lmdb_read import DELETE, TOUCH, View, read_log
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, TupleCondition, TupleFilter, User
from weft.core.codec import encode, pack_u64, unpack_u64

_MAX_ORPHANS: Final = 100
_FLAGS: Final = (b"\0", b"\1", b"\2", b"\3")
"""Of a shape: 1 for an expiry, 2 for a wildcard."""


class _Step(msgspec.Struct, frozen=True, gc=False):
    """One change of a row, and the live row that it ends."""

    operation: int
    key: bytes
    tail: bytes
    row: bytes | None


class Writer:
    """One write transaction. `now_us` is the store's clock; history is kept by `collect`."""

    def __init__(self, txn: Transaction, databases: dict[str, Any], now_us: int, committed: Cache) -> None:
        self._txn = txn
        self._db = databases
        self._now_us = now_us
        self.fresh = Cache()
        """Numbers that hold once the transaction is committed."""
        self._interner = Interner(txn, databases, committed, self.fresh)
        self._state = read_state(txn, databases["meta"])

    def write(self, write: Write) -> Head:
        """See `TupleStore.write`."""
        digest = b"" if write.idempotency_key is None else _digest(write)
        if write.idempotency_key is not None and (head := self._replayed(write.idempotency_key, digest)):
            return head
        require_schema(write.schema_revision, self._state.head)
        for where in write.must_exist:
            self._require(where, True)
        for where in write.must_not_exist:
            self._require(where, False)
        for item in write.create:
            self._refuse_existing(item)
        steps = [*self._removals(write.delete), *self._touches(write.create), *self._touches(write.touch)]
        head = self._commit(steps) if steps else self._state.head
        if write.idempotency_key is not None:
            self._remember(write.idempotency_key, digest, head)
        return head

    def write_schema(self, change: SchemaChange) -> Head:
        """See `TupleStore.write_schema`."""
        state = self._state
        data = encode(change.schema)
        if (
            state.schema_revision
            and self._txn.get(pack_u64(state.schema_revision), db=self._db["schemas"]) == data
        ):
            return state.head
        require_schema(change.schema_revision, state.head)
        if orphans := self._orphans(change):
            raise OrphanedTuples(orphans)
        head = self._commit([], schema=True)
        self._txn.put(pack_u64(head.revision), data, db=self._db["schemas"])
        return head

    def collect(self, horizon: int, limit: int) -> tuple[int, bool]:
        """Forget history before the revision `horizon`, and what expired or was remembered before the clock's
        time; about `limit` rows, and whether there is more."""
        removed = 0
        revision = self._state.oldest
        while revision < horizon and removed < limit:
            revision += 1
            removed += self._forget(revision)
        if revision > self._state.oldest:
            self._put_state(self._state._replace(oldest=revision))
        removed += self._remove_expired(limit - removed)
        removed += self._forget_keys(limit - removed)
        return removed, removed >= limit

    # idempotency

    def _replayed(self, key: str, digest: bytes) -> Head | None:
        data = self._txn.get(b"k" + _key_digest(key), db=self._db["writes"])
        if data is None:
            return None
        if data[:16] != digest:
            raise IdempotencyConflict(
                f"idempotency key `{key}` was used for another write", hint="use a fresh key"
            )
        return Head(*(unpack_u64(data, at) for at in (16, 24, 32)))

    def _remember(self, key: str, digest: bytes, head: Head) -> None:
        name = _key_digest(key)
        self._txn.put(b"k" + name, digest + b"".join(map(pack_u64, head)), db=self._db["writes"])
        self._txn.put(b"t" + pack_u64(self._now_us) + name, b"", db=self._db["writes"])

    # preconditions

    def _require(self, where: TupleFilter, wanted: bool) -> None:
        if any(not item.expired(self._now_us) for item in self._matching(where)) is not wanted:
            raise PreconditionFailed(describe_precondition(where, wanted))

    def _matching(self, where: TupleFilter) -> Iterator[RelationTuple]:
        view = View(self._txn, self._db, self._interner, self._state.revision, self._state)
        return (item for _, item in view.scan(where, None))

    def _refuse_existing(self, item: RelationTuple) -> None:
        key = self._interner.key(item)
        row = None if key is None else self._txn.get(key, db=self._db["forward"])
        if key is not None and row is not None:
            current = self._interner.item(key, row[8:])
            if not current.expired(self._now_us):
                raise TupleExists(f"tuple `{current}` exists", hint="use touch to replace it")

    # rows

    def _removals(self, items: Iterable[RelationTuple]) -> Iterator[_Step]:
        for item in items:
            key = self._interner.key(item)
            row = None if key is None else self._txn.get(key, db=self._db["forward"])
            if key is not None and row is not None:
                yield _Step(DELETE, key, row[8:], row)

    def _touches(self, items: Sequence[RelationTuple]) -> list[_Step]:
        rows = self._interner.new_rows(items)
        with self._txn.cursor(db=self._db["forward"]) as cursor:
            there = dict(cursor.getmulti(sorted(key for key, _ in rows)))
        return [
            _Step(TOUCH, key, tail, row)
            for key, tail in rows
            if (row := there.get(key)) is None or row[8:] != tail
        ]

    def _commit(self, steps: list[_Step], *, schema: bool = False) -> Head:
        last = self._state
        revision = last.revision + 1
        wall_us = max(self._now_us, last.wall_us + 1)
        at = pack_u64(revision)
        ended = [step for step in steps if step.row is not None]
        shapes: Counter[bytes] = Counter()
        for step in ended:
            self._bury(step, at, shapes)
        self._bear([step for step in steps if step.operation == TOUCH], at, shapes)
        self._count_shapes(shapes)
        self._interner.put_serials()
        log = [(step.operation, step.key, step.tail) for step in steps]
        self._txn.put(at, encode((wall_us, log)), db=self._db["log"])
        self._txn.put(pack_u64(wall_us), at, db=self._db["times"])
        state = State(
            revision,
            wall_us,
            revision if schema else last.schema_revision,
            last.oldest,
            revision if ended else last.last_death,
        )
        self._put_state(state)
        return state.head

    def _bear(self, steps: list[_Step], at: bytes, shapes: Counter[bytes]) -> None:
        """Write new live rows, over those that they replace; in key order, which fills pages best."""
        born = sorted([(step.key, at + step.tail) for step in steps])
        with self._txn.cursor(db=self._db["forward"]) as cursor:
            cursor.putmulti(born)
        with self._txn.cursor(db=self._db["reverse"]) as cursor:
            cursor.putmulti(sorted([(key[12:] + key[10:12] + key[8:10] + key[:8], row) for key, row in born]))
        shapes.update([_shape(key, row[8:]) for key, row in born])
        for step in steps:
            if step.tail[:8] != PLAIN:
                self._txn.put(step.tail[:8] + step.key, b"", db=self._db["expiries"])

    def _bury(self, step: _Step, at: bytes, shapes: Counter[bytes]) -> None:
        """Keep the row that a step ends among the dead; a deletion takes it out of the live ones, too."""
        key, row = step.key, step.row
        assert row is not None
        self._txn.put(FORWARD + key + at, row, db=self._db["dead"])
        self._txn.put(REVERSE + reversed_key(key) + at, row, db=self._db["dead"])
        if step.operation == DELETE:
            self._remove_live(key)
        self._forget_row(key, row[8:], shapes)

    def _remove_live(self, key: bytes) -> None:
        self._txn.delete(key, db=self._db["forward"])
        self._txn.delete(reversed_key(key), db=self._db["reverse"])

    def _forget_row(self, key: bytes, tail: bytes, shapes: Counter[bytes]) -> None:
        shapes[_shape(key, tail)] -= 1
        if tail[:8] != PLAIN:
            self._txn.delete(tail[:8] + key, db=self._db["expiries"])

    def _count_shapes(self, shapes: Counter[bytes]) -> None:
        for shape, change in shapes.items():
            self._count(shape, change)

    def _count(self, shape: bytes, change: int) -> None:
        data = self._txn.get(shape, db=self._db["shapes"])
        count = (unpack_u64(data) if data else 0) + change
        if count:
            self._txn.put(shape, pack_u64(count), db=self._db["shapes"])
        elif data:
            self._txn.delete(shape, db=self._db["shapes"])

    def _put_state(self, state: State) -> None:
        self._state = state
        self._txn.put(b"state", state.pack(), db=self._db["meta"])

    # schemas

    def _orphans(self, change: SchemaChange) -> list[RelationTuple]:
        with self._txn.cursor(db=self._db["shapes"]) as cursor:
            suspect = {bytes(shape) for shape, _ in cursor if change.suspect(self._sample(shape))}
        if not suspect:
            return []
        found: list[RelationTuple] = []
        with self._txn.cursor(db=self._db["forward"]) as cursor:
            for key, data in cursor:
                if _shape(key, data[8:]) in suspect:
                    item = self._interner.item(key, data[8:])
                    if not item.expired(self._now_us) and not change.admits(item):
                        found.append(item)
                        if len(found) == _MAX_ORPHANS:
                            break
        return found

    def _sample(self, shape: bytes) -> RelationTuple:
        """A tuple of that shape."""
        name = self._interner.name_of
        condition = TupleCondition(name(shape[9:11])) if len(shape) > 10 else None
        return RelationTuple(
            ObjectRef(name(shape[:2]), "sample"),
            name(shape[2:4]),
            User(name(shape[6:8]), WILDCARD if shape[8] & 2 else "sample", name(shape[4:6])),
            condition,
            0 if shape[8] & 1 else None,
        )

    # history

    def _forget(self, revision: int) -> int:
        """Remove what only readers before the revision needed."""
        at = pack_u64(revision)
        wall_us, log = read_log(self._txn, self._db, revision)
        self._txn.put(at, encode((wall_us, ())), db=self._db["log"])
        if revision > 1:
            before_us, _ = read_log(self._txn, self._db, revision - 1)
            self._txn.delete(pack_u64(revision - 1), db=self._db["log"])
            self._txn.delete(pack_u64(before_us), db=self._db["times"])
        removed = 1
        for _, key, _ in log:
            if self._txn.delete(FORWARD + key + at, db=self._db["dead"]):
                self._txn.delete(REVERSE + reversed_key(key) + at, db=self._db["dead"])
                removed += 1
        return removed

    def _remove_expired(self, limit: int) -> int:
        keys: list[bytes] = []
        with self._txn.cursor(db=self._db["expiries"]) as cursor:
            for entry in cursor.iternext(values=False):
                if len(keys) >= limit or unpack_u64(entry) - 1 > self._now_us:
                    break
                keys.append(bytes(entry[8:]))
        shapes: Counter[bytes] = Counter()
        for key in keys:
            if (data := self._txn.get(key, db=self._db["forward"])) is not None:
                self._remove_live(key)
                self._forget_row(key, data[8:], shapes)
        self._count_shapes(shapes)
        return len(keys)

    def _forget_keys(self, limit: int) -> int:
        names: list[bytes] = []
        with self._txn.cursor(db=self._db["writes"]) as cursor:
            if cursor.set_range(b"t"):
                for entry in cursor.iternext(values=False):
                    if len(names) >= limit or unpack_u64(entry, 1) > self._now_us:
                        break
                    names.append(bytes(entry))
        for name in names:
            self._txn.delete(name, db=self._db["writes"])
            self._txn.delete(b"k" + name[9:], db=self._db["writes"])
        return len(names)


def _shape(key: bytes, tail: bytes) -> bytes:
    """What a schema looks at: namespaces, relations, wildcard, expiry, condition."""
    flags = (tail[:8] != PLAIN) + 2 * (key[14:] == WILDCARD_SERIAL)
    return key[:2] + key[8:14] + _FLAGS[flags] + tail[8:10]


def _digest(write: Write) -> bytes:
    """What a write asks for, in 16 bytes."""
    asked = msgspec.structs.replace(write, schema_revision=None)
    return hashlib.blake2b(encode(asked), digest_size=16).digest()


def _key_digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
