"""The source's side of a move: its record, and the log of what is written meanwhile. See `weft.kv.move`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import lmdb
import msgspec

from weft.core.codec import decode, encode
from weft.core.errors import Conflict, NotFound
from weft.core.lmdb_env import LmdbEnv
from weft.kv.lmdb_changes import drop_log
from weft.kv.lmdb_export import erase_rows
from weft.kv.lmdb_rows import MOVE_LOG, Move, NamespaceRow, Rows
from weft.kv.model import Delete, Mutation, Namespace, Put


class MovingNamespace:
    """A namespace on its way out of an LMDB store; a mover that another one has overtaken is refused."""

    def __init__(self, env: LmdbEnv, handles: dict[str, Any], name: str) -> None:
        self._env = env
        self._handles = handles
        self._name = name

    def row(self) -> NamespaceRow:
        with self._env.read() as txn:
            return self._row(txn)

    def take(self, mover: bytes, to: str | None) -> NamespaceRow:
        """Become the mover, beginning the move to `to` where none is under way. From now on writers log."""

        def write(txn: lmdb.Transaction) -> NamespaceRow:
            row = self._row(txn)
            if row.move is None and to is None:
                raise NotFound(f"namespace `{self._name}` is not being moved", hint="name one that is")
            if row.move is not None and to is not None and row.move.to != to:
                doing = "has moved" if row.move.switched else "is being moved"
                raise Conflict(
                    f"namespace `{self._name}` {doing} to `{row.move.to}`",
                    hint="move it from there" if row.move.switched else "finish that move, or --abort it",
                )
            move = row.move or Move(to or "", mover)
            return self._keep(txn, row, msgspec.structs.replace(move, mover=mover))

        return self._env.write(write)

    def save(self, move: Move) -> None:
        """Note how far the copy has come."""
        self._env.write(lambda txn: self._keep(txn, self._mine(txn, move.mover), move))

    def log(self, limit: int) -> list[tuple[bytes, list[Mutation]]]:
        """The oldest entries of the log, each with its key."""
        with self._env.read() as txn:
            pairs = self._log(txn, self._row(txn))
            return [pair for pair, _ in zip(pairs, range(limit), strict=False)]

    def trim(self, mover: bytes, keys: Sequence[bytes]) -> None:
        """Forget entries that have arrived."""

        def write(txn: lmdb.Transaction) -> None:
            self._mine(txn, mover)
            for key in keys:
                txn.delete(key, db=self._handles["meta"])

        self._env.write(write)

    def switch(self, mover: bytes, finish: Callable[[Rows, NamespaceRow, list[Mutation]], None]) -> None:
        """Let `finish` bring the rest over while no process can write, then send everybody there."""

        def write(txn: lmdb.Transaction) -> None:
            row = self._mine(txn, mover)
            assert row.move is not None
            log = list(self._log(txn, row))
            finish(Rows(self._handles, txn), row, [mutation for _, part in log for mutation in part])
            self._keep(txn, row, msgspec.structs.replace(row.move, switched=True))
            for key, _ in log:
                txn.delete(key, db=self._handles["meta"])
            drop_log(Rows(self._handles, txn), row.prefix)

        self._env.write(write)

    def erase(self, limit: int) -> int:
        """Take back the space of what has moved away."""

        def write(txn: lmdb.Transaction) -> int:
            row = self._row(txn)
            if row.move is None or not row.move.switched:
                return 0
            return erase_rows(Rows(self._handles, txn), row.prefix, limit).total

        return self._env.write(write)

    def abort(self, mover: bytes) -> None:
        """Forget the move and its log."""

        def write(txn: lmdb.Transaction) -> None:
            row = self._mine(txn, mover)
            for key, _ in list(self._log(txn, row)):
                txn.delete(key, db=self._handles["meta"])
            self._keep(txn, row, None)

        self._env.write(write)

    def _row(self, txn: lmdb.Transaction) -> NamespaceRow:
        row = txn.get(self._name.encode() or b"\x00", db=self._handles["namespaces"])
        if row is None:
            raise NotFound(f"namespace `{self._name}` is not configured", hint="name one that is")
        return decode(row, NamespaceRow, "a namespace")

    def _mine(self, txn: lmdb.Transaction, mover: bytes) -> NamespaceRow:
        row = self._row(txn)
        if row.move is None or row.move.mover != mover or row.move.switched:
            self._overtaken()
        return row

    def _overtaken(self) -> NoReturn:
        raise Conflict(
            f"another process took over the move of `{self._name}`", hint="let it finish, or run this again"
        )

    def _keep(self, txn: lmdb.Transaction, row: NamespaceRow, move: Move | None) -> NamespaceRow:
        row = msgspec.structs.replace(row, move=move)
        txn.put(self._name.encode(), encode(row), db=self._handles["namespaces"])
        Rows(self._handles, txn).bump_generation()
        return row

    def _log(self, txn: lmdb.Transaction, row: NamespaceRow) -> Iterator[tuple[bytes, list[Mutation]]]:
        cursor = txn.cursor(db=self._handles["meta"])
        prefix = MOVE_LOG + row.prefix
        if cursor.set_range(prefix):
            for key, entry in cursor:
                if not key.startswith(prefix):
                    return
                yield key, decode(entry, list[Put | Delete], "a move's log")


def logged(mutations: Sequence[Mutation], namespace: Namespace) -> list[Mutation]:
    """What a batch does to one namespace, for a place where its TTL is not configured yet."""
    return [
        _with_ttl(mutation, namespace.ttl_s) for mutation in mutations if mutation.namespace == namespace.name
    ]


def _with_ttl(mutation: Mutation, ttl_s: float | None) -> Mutation:
    if ttl_s is None or isinstance(mutation, Delete):
        return mutation
    items = [
        msgspec.structs.replace(item, ttl_s=ttl_s if item.ttl_s is None else min(item.ttl_s, ttl_s))
        for item in mutation.items
    ]
    return msgspec.structs.replace(mutation, items=items)
