"""Rows and changes of the LMDB store as plain numbers, for a mirror of it in memory.

An object's number is its key read as one integer; a userset's has its relation's number 64 bits further up.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from weft.authz.store import Head, RevisionGone, indexed_id
from weft.authz.stores.lmdb_layout import (
    PLAIN,
    WILDCARD_SERIAL,
    Transaction,
    read_state,
)
from weft.authz.stores.lmdb_read import TOUCH, read_log, read_wall_us
from weft.authz.tuples import WILDCARD, TupleCondition
from weft.core.codec import pack_u64, unpack_u64
from weft.core.errors import Corrupt
from weft.core.lmdb_env import LmdbEnv

_MAX_CONDITIONS: Final = 10_000


class NumberedTail(NamedTuple):
    """What a row says beside whom it names."""

    condition: TupleCondition | None
    expires_at_us: int | None


class NumberedChange(msgspec.Struct, frozen=True, gc=False):
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


class NumberedNews(NamedTuple):
    """What a mirror must do to follow."""

    commits: list[NumberedCommit]
    behind: bool
    """Whether there are more."""
    forgotten_us: int
    """Rows that expired until then are forgotten, or may be, without a commit."""


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
        self._conditions: dict[bytes, TupleCondition] = {}

    @property
    def folder(self) -> Path:
        """Where the store lies."""
        return self._env.path

    def last_commit(self) -> int:
        """A number that changes with every commit of any process."""
        return self._env.last_commit()

    def head(self) -> Head:
        with self._env.read() as txn:
            return read_state(txn, self._db["meta"]).head

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

    def ids_of(self, numbers: Sequence[int]) -> list[str]:
        """The ids of distinct objects, without their namespaces."""
        keys = [b"#" + number.to_bytes(8, "big") for number in numbers]
        with self._env.read() as txn, txn.cursor(db=self._db["objects"]) as cursor:
            ids = [bytes(data).decode() for _, data in cursor.getmulti(keys)]
        if len(ids) < len(keys):
            return [self.id_of(number) for number in numbers]
        return ids

    def shapes(self) -> list[NumberedShape]:
        """The kinds of rows that are live."""
        with self._env.read() as txn, txn.cursor(db=self._db["shapes"]) as cursor:
            return [_shape(bytes(key)) for key, _ in cursor]

    def rows(
        self, database: str, after: bytes, limit: int, *, tails: bool
    ) -> tuple[list[bytes], list[bytes]]:
        """Live rows of `forward` or `reverse` behind a key, as they are now: their keys, and their tails if
        these are asked for."""
        with self._env.read() as txn, txn.cursor(db=self._db[database]) as cursor:
            if not (cursor.set_range(after + b"\0") if after else cursor.first()):
                return [], []
            if not tails:
                return list(islice(cursor.iternext(values=False), limit)), []
            pairs = list(islice(cursor.iternext(), limit))
        return [key for key, _ in pairs], [row[8:] for _, row in pairs]

    def count(self) -> int:
        """How many rows are live."""
        with self._env.read() as txn:
            return int(txn.stat(self._db["forward"])["entries"])

    def serials(self, namespace: int) -> int:
        """The greatest serial among the objects of a namespace; 0 when there are none."""
        with self._env.read() as txn:
            data = txn.get(b"objects" + namespace.to_bytes(2, "big"), db=self._db["meta"])
        return unpack_u64(data) if data else 0

    def news(self, after: int, wall_us: int, *, most_bytes: int, large: bool) -> NumberedNews:
        """What was committed behind a revision that was made at `wall_us`: about as many commits as take
        `most_bytes` in the change log. A larger one comes alone, and only if `large`.

        `RevisionGone` when some of them are collected, or the store never had that revision: a restored copy
        counts on from where it was made.
        """
        with self._env.read() as txn:
            state = read_state(txn, self._db["meta"])
            if not state.oldest <= after <= state.revision or self._wall_us(txn, after) != wall_us:
                raise RevisionGone(f"the store does not have all changes since revision {after}")
            commits: list[NumberedCommit] = []
            while after < state.revision:
                most_bytes -= len(txn.get(pack_u64(after + 1), db=self._db["log"]) or b"")
                if most_bytes < 0 and (commits or not large):
                    break
                after += 1
                commits.append(self._commit(txn, after))
            return NumberedNews(commits, after < state.revision, self._wall_us(txn, state.oldest))

    def tail(self, tail: bytes) -> NumberedTail | None:
        """What a row's tail says."""
        if tail == PLAIN:
            return None
        expiry = unpack_u64(tail)
        return NumberedTail(
            self._condition(tail[8:]) if len(tail) > 8 else None, expiry - 1 if expiry else None
        )

    def _condition(self, data: bytes) -> TupleCondition:
        """Equal conditions are one object while they are remembered: rows repeat them."""
        condition = self._conditions.get(data)
        if condition is None:
            if len(self._conditions) >= _MAX_CONDITIONS:
                self._conditions.clear()
            with self._env.read() as txn:
                name = txn.get(b"#" + data[:2], db=self._db["names"])
            condition = self._conditions[data] = TupleCondition(name.decode(), data[2:].decode())
        return condition

    def _wall_us(self, txn: Transaction, revision: int) -> int:
        return read_wall_us(txn, self._db, revision) if revision else 0

    def _commit(self, txn: Transaction, revision: int) -> NumberedCommit:
        wall_us, log = read_log(txn, self._db, revision)
        changes = [
            NumberedChange(
                operation == TOUCH,
                _int(key[:2]),
                _int(key[8:10]),
                _int(key[:8]),
                _int(key[10:20]),
                self.tail(tail),
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
