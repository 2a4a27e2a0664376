"""Load all rows of a store: one pass in the order of its forward index and one of its reverse index, so that
what belongs together comes together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Final

from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.rows import (
    FEW,
    NAMESPACE_SHIFT,
    USERSET_SHIFT,
    Kind,
    Maybe,
    Members,
    RelationRows,
    Tables,
    packed,
)
from weft.authz.stores.lmdb_layout import PLAIN

if TYPE_CHECKING:
    from weft.authz.stores.lmdb_numbered import NumberedStore

SLICE_ROWS: Final = 1_000
"""Handled at once, in a millisecond or two."""
_KEY: Final = Struct(">QIQ")
"""An object, two relations and an object: forward, the second relation is the userset's; in reverse, the
first."""


class Loader:
    """One load. Rows that change meanwhile may be loaded as they were or as they became, in either direction;
    what the change log says of them must be put in afterwards."""

    def __init__(self, store: NumberedStore, numbers: Numbers, tables: Tables) -> None:
        self._store = store
        self._name = numbers.name
        self._tables = tables
        self._shared: dict[int, int] = {}
        """Equal numbers as one object each."""
        self.count = 0
        """Of rows loaded, in the first pass."""
        self.passed = 0
        """Of rows gone through, in both passes."""

    def steps(self) -> Iterator[None]:
        """Load, and pause after each slice."""
        tails = self._load_kinds()
        yield from self._forward(tails)
        yield from self._reverse(tails)

    def _load_kinds(self) -> bool:
        """The kinds of rows; whether any has a condition or an expiry."""
        name = self._name
        shapes = self._store.shapes()
        for shape in shapes:
            kind = Kind(
                name(shape.user_namespace),
                name(shape.user_relation),
                shape.wildcard,
                name(shape.condition),
                shape.expires,
            )
            self._tables[name(shape.namespace), name(shape.relation)].kinds.add(kind)
        return any(shape.condition or shape.expires for shape in shapes)

    def _slices(self, database: str, tails: bool) -> Iterator[tuple[list[bytes], list[bytes]]]:
        after = b""
        while True:
            keys, found = self._store.rows(database, after, SLICE_ROWS, tails=tails)
            if not keys:
                return
            yield keys, found
            after = keys[-1]
            self.passed += len(keys)
            self.count += len(keys) if database == "forward" else 0

    def _forward(self, tails: bool) -> Iterator[None]:
        share = self._shared.setdefault
        tables = _Found(self._users_of)
        maybe: dict[RelationRows, list[Maybe]] = {}
        for keys, found in self._slices("forward", tails):
            if tails:
                for key, tail in zip(keys, found, strict=True):
                    if tail != PLAIN:
                        self._keep_maybe(maybe, key, tail)
                keys = [key for key, tail in zip(keys, found, strict=True) if tail == PLAIN]
            last = last_pair = userset = 0
            table: dict[int, Members] = {}
            members: list[int] = []
            for object_, pair, user in _KEY.iter_unpack(b"".join(keys)):
                if object_ != last or pair != last_pair:
                    if members:
                        _extend(table, last, members)
                        members = []
                    last, last_pair = share(object_, object_), pair
                    userset = (pair & 0xFFFF) << USERSET_SHIFT
                    table = tables[object_ >> NAMESPACE_SHIFT, pair]
                if userset:
                    user |= userset
                members.append(share(user, user))
            if members:
                _extend(table, last, members)
            yield
        for rows, found_maybe in maybe.items():
            rows.maybe = _grouped(found_maybe, attrgetter("object"))
            rows.maybe_objects = _grouped(found_maybe, attrgetter("user"))
            yield

    def _reverse(self, tails: bool) -> Iterator[None]:
        share = self._shared.setdefault
        tables = _Found(self._objects_of)
        for keys, found in self._slices("reverse", tails):
            if tails:
                keys = [key for key, tail in zip(keys, found, strict=True) if tail == PLAIN]
            last = last_pair = last_namespace = key = 0
            table: dict[int, Members] = {}
            members: list[int] = []
            for user, pair, object_ in _KEY.iter_unpack(b"".join(keys)):
                if user != last or pair != last_pair or object_ >> NAMESPACE_SHIFT != last_namespace:
                    if members:
                        _extend(table, key, members)
                        members = []
                    last, last_pair, last_namespace = user, pair, object_ >> NAMESPACE_SHIFT
                    key = user | (pair >> 16) << USERSET_SHIFT
                    key = share(key, key)
                    table = tables[last_namespace, pair]
                members.append(share(object_, object_))
            if members:
                _extend(table, key, members)
            yield

    def _keep_maybe(self, maybe: dict[RelationRows, list[Maybe]], key: bytes, data: bytes) -> None:
        share = self._shared.setdefault
        tail = self._store.tail(data)
        assert tail is not None
        object_, user = int.from_bytes(key[:8], "big"), int.from_bytes(key[10:], "big")
        rows = self._rows_of(object_ >> NAMESPACE_SHIFT, int.from_bytes(key[8:10], "big"))
        row = Maybe(share(object_, object_), share(user, user), *tail)
        maybe.setdefault(rows, []).append(row)

    def _users_of(self, namespace: int, pair: int) -> dict[int, Members]:
        rows = self._rows_of(namespace, pair >> 16)
        return rows.usersets if pair & 0xFFFF else rows.users

    def _objects_of(self, namespace: int, pair: int) -> dict[int, Members]:
        return self._rows_of(namespace, pair & 0xFFFF).objects

    def _rows_of(self, namespace: int, relation: int) -> RelationRows:
        return self._tables[self._name(namespace), self._name(relation)]


class _Found(dict[tuple[int, int], dict[int, Members]]):
    """Tables by the number of a namespace and those of two relations, looked for once."""

    def __init__(self, find: Callable[[int, int], dict[int, Members]]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, key: tuple[int, int]) -> dict[int, Members]:
        found = self[key] = self._find(*key)
        return found


def _extend(table: dict[int, Members], key: int, members: list[int]) -> None:
    """Put members beside those that an earlier slice found."""
    if key not in table:
        table[key] = tuple(members) if len(members) <= FEW else set(members)
        return
    there = table[key]
    if isinstance(there, set):
        there.update(members)
    else:
        table[key] = packed([*there, *members])


def _grouped(rows: list[Maybe], key_of: Callable[[Maybe], int]) -> dict[int, tuple[Maybe, ...]]:
    groups: dict[int, list[Maybe]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)
    return {key: tuple(group) for key, group in groups.items()}
