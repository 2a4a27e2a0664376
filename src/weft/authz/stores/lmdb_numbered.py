"""Rows and changes of the LMDB store as plain numbers, for a mirror of it in memory.

An object's number is its key read as one integer; a userset's has its relation's number 64 bits further up.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from weft.authz.store import Head, RevisionGone, indexed_id
from weft.authz.stores.lmdb_layout import (
    PLAIN,
    WILDCARD_SERIAL,
    Transaction,
    read_state,
)
from weft.authz.stores.lmdb_read import TOUCH, read_log
from weft.authz.tuples import WILDCARD, TupleCondition
from weft.core.codec import unpack_u64
from weft.core.errors import Corrupt
from weft.core.lmdb_env import LmdbEnv


class NumberedTail(NamedTuple):
    """What a row says beside whom it names."""

    condition: TupleCondition | None
    expires_at_us: int | None


class NumberedChange(NamedTuple):
    """One row that a commit wrote or removed."""

    touched: bool
    namespace: int
    relation: int
    object: int
    user: int
    tail: NumberedTail | None
    """None for a row that always counts."""


class NumberedCommit(NamedTuple):
    """What one revision changed."""

    revision: int
    wall_us: int
    changes: list[NumberedChange]


class NumberedShape(NamedTuple):
    """A kind of row that the store holds, by the numbers of its names."""

    namespace: int
    relation: int
    user_namespace: int
    user_relation: int
    wildcard: bool
    condition: int
    expires: bool


class NumberedStore:
    """The numbers behind one LMDB store's texts."""

    def __init__(self, env: LmdbEnv, databases: dict[str, Any]) -> None:
        self._env = env
        self._db = databases

    def last_commit(self) -> int:
        """A number that changes with every commit of any process."""
        return self._env.last_commit()

    def head(self) -> Head:
        with self._env.read() as txn:
            return read_state(txn, self._db["meta"]).head

    def wall_us(self, revision: int) -> int | None:
        """When a revision was committed; None for one that is forgotten or yet to come."""
        with self._env.read() as txn:
            state = read_state(txn, self._db["meta"])
            if revision == state.revision:
                return state.wall_us
            if not state.oldest <= revision < state.revision:
                return None
            return read_log(txn, self._db, revision)[0] if revision else 0

    def names(self) -> dict[int, str]:
        """All names of namespaces, relations and conditions, by number; the empty one is 0."""
        with self._env.read() as txn, txn.cursor(db=self._db["names"]) as cursor:
            names = {_int(key[1:]): value.decode() for key, value in cursor if key[:1] == b"#"}
        return {0: "", **names}

    def name(self, text: str) -> int | None:
        with self._env.read() as txn:
            number = txn.get(b"n" + text.encode(), db=self._db["names"])
        return None if number is None else _int(number)

    def object(self, namespace: str, id_: str) -> int | None:
        """The number of an object, or None when it was never written."""
        with self._env.read() as txn:
            prefix = txn.get(b"n" + namespace.encode(), db=self._db["names"])
            if prefix is None:
                return None
            if id_ == WILDCARD:
                return _int(prefix + WILDCARD_SERIAL)
            number = txn.get(b"i" + prefix + indexed_id(id_), db=self._db["objects"])
        return None if number is None else _int(number)

    def id_of(self, number: int) -> str:
        """The id of an object, without its namespace."""
        key = number.to_bytes(8, "big")
        with self._env.read() as txn:
            data = txn.get(b"#" + key, db=self._db["objects"])
        if data is None:
            if key[2:] == WILDCARD_SERIAL:
                return WILDCARD
            raise Corrupt(f"number `{key.hex()}` has no text", hint="restore the store from a backup")
        return bytes(data).decode()

    def shapes(self) -> list[NumberedShape]:
        """The kinds of rows that are live."""
        with self._env.read() as txn, txn.cursor(db=self._db["shapes"]) as cursor:
            return [_shape(bytes(key)) for key, _ in cursor]

    def rows(self, database: str, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Live rows of `forward` or `reverse` behind a key, as they are now: key; revision and tail."""
        found: list[tuple[bytes, bytes]] = []
        with self._env.read() as txn, txn.cursor(db=self._db[database]) as cursor:
            there = cursor.set_range(after + b"\0") if after else cursor.first()
            for pair in cursor.iternext() if there else ():
                found.append(pair)
                if len(found) == limit:
                    break
        return found

    def commits(self, after: int, limit: int) -> list[NumberedCommit]:
        """Up to `limit` commits behind a revision; `RevisionGone` when some of them are collected."""
        with self._env.read() as txn:
            state = read_state(txn, self._db["meta"])
            if after < state.oldest:
                raise RevisionGone(f"history before revision {state.oldest} is collected")
            last = min(state.revision, after + limit)
            return [self._commit(txn, revision) for revision in range(after + 1, last + 1)]

    def tail(self, tail: bytes, conditions: dict[int, str]) -> NumberedTail | None:
        """What a row's tail says; `conditions` are names by number."""
        if tail == PLAIN:
            return None
        expiry = unpack_u64(tail)
        condition = None
        if len(tail) > 8:
            number = _int(tail[8:10])
            if number not in conditions:
                conditions.update(self.names())
            condition = TupleCondition(conditions[number], tail[10:].decode())
        return NumberedTail(condition, expiry - 1 if expiry else None)

    def _commit(self, txn: Transaction, revision: int) -> NumberedCommit:
        wall_us, log = read_log(txn, self._db, revision)
        names: dict[int, str] = {}
        changes = [
            NumberedChange(
                operation == TOUCH,
                _int(key[:2]),
                _int(key[8:10]),
                _int(key[:8]),
                _int(key[10:20]),
                self.tail(tail, names),
            )
            for operation, key, tail in log
        ]
        return NumberedCommit(revision, wall_us, changes)


def _shape(key: bytes) -> NumberedShape:
    """See `shapes` in the layout."""
    return NumberedShape(
        _int(key[:2]),
        _int(key[2:4]),
        _int(key[6:8]),
        _int(key[4:6]),
        bool(key[8] & 2),
        _int(key[9:11]),
        bool(key[8] & 1),
    )


def _int(data: bytes) -> int:
    return int.from_bytes(data, "big")
