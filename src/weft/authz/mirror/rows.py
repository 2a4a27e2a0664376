"""The rows of one relation as dicts of numbers, in both directions.

An object's number has the number of its namespace in the bits from 48 up and its serial below, where 0 is the
wildcard; a userset's has the number of its relation from bit 64 up. So one int names any user of a tuple.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Literal, NamedTuple

import msgspec

from weft.authz.tuples import TupleCondition

Members = tuple[int, ...] | set[int]
"""A few numbers as a tuple, which is small; more as a set, which is quick. Readers change neither."""
FEW: Final = 8
"""As many members a tuple has at most."""
USERSET_SHIFT: Final = 64
"""Numbers of usersets are at least 1 << this."""
SERIAL_MASK: Final = (1 << 48) - 1
NAMESPACE_SHIFT: Final = 48


class Maybe(msgspec.Struct, frozen=True, gc=False):
    """A row that does not count in every context or at every instant."""

    object: int
    user: int
    condition: TupleCondition | None
    expires_at_us: int | None


Row = Literal[True] | Maybe | None
"""What stands between an object and a user: a plain row, one with a condition or an expiry, or nothing."""


class Kind(NamedTuple):
    """What a schema looks at, in the users of a relation's rows."""

    user_namespace: str
    user_relation: str
    wildcard: bool
    condition: str
    """Its name, or an empty text."""
    expires: bool


class RelationRows:
    """The rows of one relation of one namespace. Readers only read; see `Mirror` for when they may."""

    __slots__ = ("_lent", "kinds", "maybe", "maybe_objects", "objects", "users", "usersets")

    def __init__(self) -> None:
        self.users: dict[int, Members] = {}
        """Object to plain users and wildcards, by rows that always count."""
        self.usersets: dict[int, Members] = {}
        """Object to usersets, by rows that always count."""
        self.objects: dict[int, Members] = {}
        """User, wildcard or userset to objects: the reverse of both."""
        self.maybe: dict[int, tuple[Maybe, ...]] = {}
        """Object to its rows with a condition or an expiry."""
        self.maybe_objects: dict[int, tuple[Maybe, ...]] = {}
        """User, wildcard or userset to its rows with a condition or an expiry."""
        self.kinds: set[Kind] = set()
        """Of all rows since the mirror was loaded; it only grows."""
        self._lent: dict[int, set[int]] = {}

    def get(self, object_: int, user: int) -> Row:
        """The row between an object and a user."""
        if user in self.members(user).get(object_, ()):
            return True
        return next((row for row in self.maybe.get(object_, ()) if row.user == user), None)

    def put(self, object_: int, user: int, row: Row) -> Row:
        """Replace the row between an object and a user; the one that stood there.

        Putting a row twice is putting it once, also where the two directions did not agree before.
        """
        before = self.get(object_, user)
        plain = row is True
        self._put_member(self.members(user), object_, user, plain)
        self._put_member(self.objects, user, object_, plain)
        kept = None if row is True else row
        if kept or object_ in self.maybe:
            others = [other for other in self.maybe.get(object_, ()) if other.user != user]
            _put_maybe(self.maybe, object_, others, kept)
        if kept or user in self.maybe_objects:
            others = [other for other in self.maybe_objects.get(user, ()) if other.object != object_]
            _put_maybe(self.maybe_objects, user, others, kept)
        return before

    def members(self, user: int) -> dict[int, Members]:
        """The dict from objects to users of that sort."""
        return self.usersets if user >> USERSET_SHIFT else self.users

    def clear(self) -> None:
        """Free everything, whoever still holds the tables."""
        for table in (self.users, self.usersets, self.objects, self.maybe, self.maybe_objects):
            table.clear()

    def lend(self, members: Members) -> Members:
        """The members themselves, which are never changed from now on: replaced instead."""
        if isinstance(members, set):
            self._lent[id(members)] = members
        return members

    def _put_member(self, table: dict[int, Members], key: int, member: int, present: bool) -> None:
        members = table.get(key, ())
        if (member in members) is present:
            return
        if isinstance(members, set) and len(members) > FEW + 1 and id(members) not in self._lent:
            if present:
                members.add(member)
            else:
                members.discard(member)
            return
        self._lent.pop(id(members), None)
        changed = packed([*members, member] if present else [m for m in members if m != member])
        if changed:
            table[key] = changed
        else:
            del table[key]


class Tables(dict[tuple[str, str], RelationRows]):
    """The rows of all relations, by namespace and relation; one that is new has none."""

    def __missing__(self, key: tuple[str, str]) -> RelationRows:
        return self.setdefault(key, RelationRows())


def packed(members: Collection[int]) -> Members:
    """Distinct members in the form that suits their number."""
    return tuple(members) if len(members) <= FEW else set(members)


def _put_maybe(table: dict[int, tuple[Maybe, ...]], key: int, others: list[Maybe], row: Maybe | None) -> None:
    rows = (*others, row) if row else tuple(others)
    if rows:
        table[key] = rows
    else:
        table.pop(key, None)
