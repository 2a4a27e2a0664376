"""Reads of the LMDB store, each inside one short transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from typing import Any, Final, Literal

import msgspec

from weft.authz.store import Change, Lookup, Objects, Read, Rows, Users
from weft.authz.stores.lmdb_layout import (
    FORWARD,
    KEY_BYTES,
    NO_RELATION,
    PLAIN,
    REVERSE,
    Interner,
    State,
    Transaction,
    forward_key,
)
from weft.authz.tuples import ObjectRef, RelationTuple, TupleFilter
from weft.core.codec import decode, pack_u64
from weft.core.errors import Corrupt

TOUCH: Final = 1
DELETE: Final = 0
_AFTER_VERSIONS: Final = b"\xff" * 9
"""Behind a key: after all dead rows of that key, whose revisions follow it, and before every other key."""
LogEntry = tuple[int, bytes, bytes]
"""What the change log holds: operation, forward key, tail of the row."""
Found = tuple[bytes, bytes]
"""A key of one direction, and the row's tail."""


class View:
    """The rows live at one revision, within one read transaction."""

    def __init__(
        self,
        txn: Transaction,
        databases: dict[str, Any],
        interner: Interner,
        revision: int,
        state: State,
    ) -> None:
        self._txn = txn
        self._db = databases
        self._interner = interner
        self._at = pack_u64(revision)
        self._past = revision < state.last_death
        """Whether rows that died since must be looked for."""
        self._cursors: dict[str, Any] = {}

    def close(self) -> None:
        for cursor in self._cursors.values():
            cursor.close()

    def read(self, read: Read) -> Rows:
        intern = self._interner
        match read:
            case Lookup(object_, relation, users):
                number, name = intern.object(object_), intern.name(relation)
                if number is None or name is None:
                    return []
                return [
                    RelationTuple(object_, relation, user) if tail == PLAIN else intern.item(key, tail)
                    for user in users
                    if (key := intern.key_of(number + name, user)) is not None
                    for tail in self._versions(key)
                ]
            case Users(object_, relation, usersets):
                number, name = intern.object(object_), intern.name(relation)
                if number is None or name is None:
                    return []
                rows = self.rows(FORWARD, number + name, number + name + NO_RELATION if usersets else b"")
                return [
                    RelationTuple(object_, relation, intern.user_of(key[10:]))
                    if tail == PLAIN
                    else intern.item(key, tail)
                    for key, tail in rows
                ]
            case Objects(user, namespace, relation):
                parts = (
                    intern.object(user.object),
                    intern.name(user.relation),
                    intern.name(relation),
                    intern.name(namespace),
                )
                if None in parts:
                    return []
                rows = self.rows(REVERSE, b"".join(parts))  # type: ignore[arg-type]
                return [
                    RelationTuple(intern.object_of(key[12:]), relation, user)
                    if tail == PLAIN
                    else intern.item(forward_key(key), tail)
                    for key, tail in rows
                ]

    def _versions(self, key: bytes) -> list[bytes]:
        """The tail of the one row that is live under a key, if one is."""
        row = self._txn.get(key, db=self._db["forward"])
        if row is not None and row[:8] <= self._at:
            return [row[8:]]
        return [tail for _, tail in self._dead(FORWARD, key, b"")] if self._past else []

    def scan(self, where: TupleFilter, after: bytes | None) -> Iterator[tuple[bytes, RelationTuple]]:
        """What matches, in the order of the index that fits best, each with a key to go on after it."""
        start = b""
        if after is not None:
            direction, start = after[:1], after[1:]
            prefix = self._prefix(where, direction)
        else:
            direction = FORWARD if where.object_id is not None or where.user_id is None else REVERSE
            prefix = self._prefix(where, direction)
        if prefix is None:
            return
        for key, tail in self.rows(direction, prefix, start):
            item = self._interner.item(key if direction == FORWARD else forward_key(key), tail)
            if where.matches(item):
                yield direction + key, item

    def namespaces(self) -> list[tuple[str, bytes]]:
        """The namespaces that have tuples, by name, each with its number."""
        with self._txn.cursor(db=self._db["names"]) as names:
            known = sorted((name[1:].decode(), bytes(number)) for name, number in names if name[:1] == b"n")
        return [(name, number) for name, number in known if any(True for _ in self.rows(FORWARD, number))]

    def objects(self, namespace: bytes, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The objects of a namespace in the order of their ids: index key, from `start` on, and number."""
        with self._txn.cursor(db=self._db["objects"]) as cursor:
            if cursor.set_range(b"i" + start):
                for key, number in cursor:
                    if not key.startswith(namespace, 1) or key[:1] != b"i":
                        return
                    yield key[1:], number

    def lines(self, number: bytes, rows: Iterable[Found]) -> list[str]:
        """The text of rows of one object."""
        intern = self._interner
        name_of, object_of = intern.name_of, intern.object_of
        object_ = f"{object_of(number)}#"
        lines = []
        for key, tail in rows:
            if tail != PLAIN:
                lines.append(str(intern.item(key, tail)))
                continue
            line = f"{object_}{name_of(key[8:10])}@{object_of(key[12:])}"
            lines.append(line if key[10:12] == NO_RELATION else f"{line}#{name_of(key[10:12])}")
        return lines

    def rows(self, direction: bytes, prefix: bytes, after: bytes = b"") -> Iterator[Found]:
        """Live rows whose keys begin with a prefix, behind a key."""
        start = after + _AFTER_VERSIONS if after else b""
        live = self._live("forward" if direction == FORWARD else "reverse", prefix, start)
        if not self._past:
            return live
        return merge(live, self._dead(direction, prefix, start), key=_first)

    def _prefix(self, where: TupleFilter, direction: bytes) -> bytes | None:
        """What all keys of the answer begin with; None when there are none."""
        intern = self._interner
        if direction == REVERSE:
            if where.user_namespace is None or where.user_id is None:
                return b""
            number = intern.object(ObjectRef(where.user_namespace, where.user_id))
            relation = b"" if where.user_relation is None else intern.name(where.user_relation)
        elif where.namespace is None:
            return b""
        elif where.object_id is None:
            return intern.name(where.namespace)
        else:
            number = intern.object(ObjectRef(where.namespace, where.object_id))
            relation = b"" if where.relation is None else intern.name(where.relation)
        return None if number is None or relation is None else number + relation

    def _live(self, database: str, prefix: bytes, start: bytes) -> Iterator[Found]:
        if len(prefix) == KEY_BYTES:
            row = self._txn.get(prefix, db=self._db[database])
            if row is not None and row[:8] <= self._at:
                yield prefix, row[8:]
            return
        cursor = self._cursor(database)
        found = cursor.set_range(max(prefix, start)) if prefix or start else cursor.first()
        for key, row in cursor.iternext() if found else ():
            if not key.startswith(prefix):
                return
            if row[:8] <= self._at:
                yield key, row[8:]

    def _dead(self, direction: bytes, prefix: bytes, start: bytes) -> Iterator[Found]:
        cursor = self._cursor("dead" + direction.decode())
        bound = direction + prefix
        if not cursor.set_range(max(bound, direction + start)):
            return
        for key, row in cursor.iternext():
            if not key.startswith(bound):
                return
            if row[:8] <= self._at < key[1 + KEY_BYTES :]:
                yield key[1 : 1 + KEY_BYTES], row[8:]

    def _cursor(self, name: str) -> Any:
        cursor = self._cursors.get(name)
        if cursor is None:
            database = "dead" if name.startswith("dead") else name
            cursor = self._cursors[name] = self._txn.cursor(db=self._db[database])
        return cursor


def _first(found: Found) -> bytes:
    return found[0]


def read_commit(
    txn: Transaction, databases: dict[str, Any], revision: int, interner: Interner
) -> tuple[int, tuple[Change, ...]]:
    """The wall time of a commit, and its changes."""
    wall_us, log = read_log(txn, databases, revision)
    operations: dict[int, Literal["touch", "delete"]] = {TOUCH: "touch", DELETE: "delete"}
    return wall_us, tuple(Change(operations[op], interner.item(key, tail)) for op, key, tail in log)


def read_log(txn: Transaction, databases: dict[str, Any], revision: int) -> tuple[int, list[LogEntry]]:
    data = _log_data(txn, databases, revision)
    return decode(data, tuple[int, list[LogEntry]], "the change log")


def read_wall_us(txn: Transaction, databases: dict[str, Any], revision: int) -> int:
    """When a revision was committed; without a look at what may be thousands of changes."""
    data = _log_data(txn, databases, revision)
    return decode(data, tuple[int, msgspec.Raw], "the change log")[0]


def _log_data(txn: Transaction, databases: dict[str, Any], revision: int) -> bytes:
    data = txn.get(pack_u64(revision), db=databases["log"])
    if data is None:
        raise Corrupt(f"revision {revision} is not in the change log", hint="restore the store from a backup")
    return bytes(data)
