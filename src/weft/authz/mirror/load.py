"""Load all rows of a store: one pass in the order of its forward index and one of its reverse index, so that
what belongs together comes together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from operator import attrgetter
from struct import Struct
from typing import TYPE_CHECKING, Any, Final

from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.rows import (
    FEW,
    NAMESPACE_SHIFT,
    SERIAL_MASK,
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
_KEY: Final = Struct(">QIHHI")
"""One object, two relations, and another object in parts: namespace, and high and low bits of the serial.
Forward that is the user, and the second relation the userset's; in reverse the other way round."""
_Numbers = list[int] | dict[int, int]
"""Of one namespace's objects, by serial."""
_Group = tuple[dict[int, Members], int, _Numbers, int]
"""Where members go, under which key, how they are found by serial, and what makes usersets of them."""


class Loader:
    """One load. Rows that change meanwhile may be loaded as they were or as they became, in either direction;
    what the change log says of them must be put in afterwards."""

    def __init__(self, store: NumberedStore, numbers: Numbers, tables: Tables) -> None:
        self._store = store
        self._name = numbers.name
        self._tables = tables
        self._rows = store.count()
        # Equal numbers are one object each: they are millions, and named often.
        self._numbers: dict[int, _Numbers] = _Found(self._numbers_of)
        self._usersets: dict[int, int] = {}
        self._user_tables: dict[tuple[int, int], dict[int, Members]] = _Found(self._user_table)
        self._object_tables: dict[tuple[int, int], dict[int, Members]] = _Found(self._object_table)
        self.count = 0
        """Of rows loaded, in the first pass."""
        self.passed = 0
        """Of rows gone through, in both passes."""

    def steps(self) -> Iterator[None]:
        """Load, and pause after each slice."""
        tails = self._load_kinds()
        try:
            yield from self._forward(tails)
            yield from self._reverse(tails)
        finally:
            self._numbers.clear()
            self._usersets.clear()

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
        maybe: dict[RelationRows, list[Maybe]] = {}
        for keys, found in self._slices("forward", tails):
            if tails:
                for key, tail in zip(keys, found, strict=True):
                    if tail != PLAIN:
                        self._keep_maybe(maybe, key, tail)
            self._load(_plain(keys, found), self._users_of)
            yield
        for rows, found_maybe in maybe.items():
            rows.maybe = _grouped(found_maybe, attrgetter("object"))
            rows.maybe_objects = _grouped(found_maybe, attrgetter("user"))
            yield

    def _reverse(self, tails: bool) -> Iterator[None]:
        for keys, found in self._slices("reverse", tails):
            self._load(_plain(keys, found), self._objects_of)
            yield

    def _load(self, keys: list[bytes], group_of: Callable[[int, int, int], _Group]) -> None:
        """Put sorted keys of plain rows in, group by group."""
        share = self._usersets.setdefault
        last = last_pair = last_namespace = 0
        table: dict[int, Members] = {}
        at, mark = 0, 0
        known: _Numbers = []
        members: list[int] = []
        for first, pair, namespace, high, low in _KEY.iter_unpack(b"".join(keys)):
            if first != last or pair != last_pair or namespace != last_namespace:
                if members:
                    _extend(table, at, members)
                    members = []
                last, last_pair, last_namespace = first, pair, namespace
                table, at, known, mark = group_of(first, pair, namespace)
            try:
                member = known[high << 32 | low if high else low]
            except IndexError:
                member = namespace << NAMESPACE_SHIFT | high << 32 | low
            members.append(share(mark | member, mark | member) if mark else member)
        if members:
            _extend(table, at, members)

    def _users_of(self, object_: int, pair: int, namespace: int) -> _Group:
        table = self._user_tables[object_ >> NAMESPACE_SHIFT, pair]
        return table, self._number(object_), self._numbers[namespace], (pair & 0xFFFF) << USERSET_SHIFT

    def _objects_of(self, user: int, pair: int, namespace: int) -> _Group:
        table = self._object_tables[namespace, pair & 0xFFFF]
        return table, self._number((pair >> 16) << USERSET_SHIFT | user), self._numbers[namespace], 0

    def _number(self, number: int) -> int:
        """The one object for an object's number or a userset's."""
        if number >> USERSET_SHIFT:
            return self._usersets.setdefault(number, number)
        try:
            return self._numbers[number >> NAMESPACE_SHIFT][number & SERIAL_MASK]
        except IndexError:
            return number

    def _numbers_of(self, namespace: int) -> _Numbers:
        """The numbers of a namespace's objects. One that is given after this is not in the list, but its rows
        come again by the log."""
        first, last = namespace << NAMESPACE_SHIFT, self._store.serials(namespace)
        return list(range(first, first + last + 1)) if last <= self._rows else _Scattered(first)

    def _keep_maybe(self, maybe: dict[RelationRows, list[Maybe]], key: bytes, data: bytes) -> None:
        tail = self._store.tail(data)
        assert tail is not None
        object_, user = int.from_bytes(key[:8], "big"), int.from_bytes(key[10:], "big")
        rows = self._rows_of(object_ >> NAMESPACE_SHIFT, int.from_bytes(key[8:10], "big"))
        row = Maybe(self._number(object_), self._number(user), *tail)
        maybe.setdefault(rows, []).append(row)

    def _user_table(self, key: tuple[int, int]) -> dict[int, Members]:
        namespace, pair = key
        rows = self._rows_of(namespace, pair >> 16)
        return rows.usersets if pair & 0xFFFF else rows.users

    def _object_table(self, key: tuple[int, int]) -> dict[int, Members]:
        return self._rows_of(*key).objects

    def _rows_of(self, namespace: int, relation: int) -> RelationRows:
        return self._tables[self._name(namespace), self._name(relation)]


class _Found(dict[Any, Any]):
    """What a function finds for a key, looked for once."""

    def __init__(self, find: Callable[[Any], Any]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, key: Any) -> Any:
        found = self[key] = self._find(key)
        return found


class _Scattered(dict[int, int]):
    """Numbers by serial where few of a namespace's objects are left in rows."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def __missing__(self, serial: int) -> int:
        number = self[serial] = self._first + serial
        return number


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


def _plain(keys: list[bytes], tails: list[bytes]) -> list[bytes]:
    """The keys of rows that always count; of all where tails were not asked for."""
    return [key for key, tail in zip(keys, tails, strict=True) if tail == PLAIN] if tails else keys


def _grouped(rows: list[Maybe], key_of: Callable[[Maybe], int]) -> dict[int, tuple[Maybe, ...]]:
    groups: dict[int, list[Maybe]] = {}
    for row in rows:
        groups.setdefault(key_of(row), []).append(row)
    return {key: tuple(group) for key, group in groups.items()}
