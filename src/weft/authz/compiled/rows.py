"""Closures over the rows of one relation: whom they name, and where they lead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Final

from weft.authz.compiled.program import Ask, Follow, Program, Run, Test
from weft.authz.compiled.walk import Proof, Walk
from weft.authz.mirror.past import PastRows
from weft.authz.mirror.rows import (
    NAMESPACE_SHIFT,
    SERIAL_MASK,
    USERSET_SHIFT,
    Maybe,
    Members,
    RelationRows,
)

Rows = RelationRows | PastRows
Get = Callable[[int], Members | None]
Targets = Callable[[int], Program | None]
"""The program for the user of a row, by its number; None where nobody ever is."""
OBJECT_MASK: Final = (1 << USERSET_SHIFT) - 1
_FEW_ROWS: Final = 16
"""More rows of an object than this, and those of the user are looked at if they are fewer."""


def test_of(rows: Rows, kind: int, *, wildcard: bool, maybe: bool) -> Test:
    """Whether rows name a user of a kind (the number of its namespace, above it that of its relation), or by
    a wildcard all of them."""
    plain = _plain_test(rows, kind, wildcard)
    return _maybe_test(plain, rows, kind, wildcard) if maybe else plain


def _plain_test(rows: Rows, kind: int, wildcard: bool) -> Test:
    users_of: Get = rows.usersets.get if kind >> 16 else rows.users.get
    objects_of: Get = rows.objects.get
    everybody = kind << NAMESPACE_SHIFT

    def one(object_: int, user: int, walk: Walk) -> Proof:
        members = users_of(object_)
        return members is not None and user in members

    def any_(objects: Set[int], user: int, walk: Walk) -> Proof:
        mine = objects_of(user)
        return mine is not None and not objects.isdisjoint(mine)

    def all_(objects: Iterable[int]) -> list[Members]:
        return [members for object_ in objects if (members := users_of(object_)) is not None]

    if not wildcard:
        return Test(one, any_, all_)

    def one_or_all(object_: int, user: int, walk: Walk) -> Proof:
        members = users_of(object_)
        return members is not None and (user in members or everybody in members)

    def any_or_all(objects: Set[int], user: int, walk: Walk) -> Proof:
        mine, public = objects_of(user), objects_of(everybody)
        return (mine is not None and not objects.isdisjoint(mine)) or (
            public is not None and not objects.isdisjoint(public)
        )

    return Test(one_or_all, any_or_all, all_)


def _maybe_test(plain: Test, rows: Rows, kind: int, wildcard: bool) -> Test:
    rows_of, rows_for = rows.maybe.get, rows.maybe_objects.get
    everybody = kind << NAMESPACE_SHIFT

    def naming(object_: int, user: int) -> Iterable[Maybe]:
        """The rows of the object that name the user, from the shorter side."""
        here = rows_of(object_)
        if here is None:
            return ()
        if len(here) > _FEW_ROWS:
            there = (*(rows_for(user) or ()), *((rows_for(everybody) or ()) if wildcard else ()))
            if len(there) < len(here):
                return [row for row in there if row.object == object_]
        return [row for row in here if row.user == user or (wildcard and row.user == everybody)]

    def one(object_: int, user: int, walk: Walk) -> Proof:
        if plain.one(object_, user, walk):
            return True
        proven = True
        for row in naming(object_, user):
            standing = walk.standing(row)
            if standing:
                return True
            proven = proven and standing is not None
        return False if proven else None

    def any_(objects: Set[int], user: int, walk: Walk) -> Proof:
        if plain.any(objects, user, walk):
            return True
        proven = True
        for object_ in objects:
            found = one(object_, user, walk)
            if found:
                return True
            proven = proven and found is not None
        return False if proven else None

    return Test(one, any_, None)


def self_test(relation: int) -> Test:
    """Whether the user is the object itself; or, for a relation's number, its own userset."""
    mark = relation << USERSET_SHIFT

    def one(object_: int, user: int, walk: Walk) -> Proof:
        return user == mark | object_

    def any_(objects: Set[int], user: int, walk: Walk) -> Proof:
        return user & OBJECT_MASK in objects and user >> USERSET_SHIFT == relation

    return Test(one, any_, None)


def follow_users(rows: Rows, namespace: int | None, *, wildcards: bool) -> Follow:
    """To the plain users that rows name, as objects; those of one namespace where a number is given."""
    users_of: Get = rows.users.get
    if namespace is None and not wildcards:

        def follow_all(objects: Set[int]) -> set[int]:
            led: set[int] = set()
            for object_ in objects:
                members = users_of(object_)
                if members is not None:
                    led.update(members)
            return led

        return follow_all

    def follow(objects: Set[int]) -> set[int]:
        return {
            user
            for object_ in objects
            for user in users_of(object_) or ()
            if user & SERIAL_MASK and namespace in (None, user >> NAMESPACE_SHIFT)
        }

    return follow


def follow_usersets(rows: Rows, kind: int | None) -> Follow:
    """To the objects of the usersets that rows name; of usersets of one kind where one is given."""
    usersets_of: Get = rows.usersets.get
    if kind is None:

        def follow_all(objects: Set[int]) -> set[int]:
            if len(objects) == 1:
                [object_] = objects
                members = usersets_of(object_)
                return set() if members is None else {userset & OBJECT_MASK for userset in members}
            return {
                userset & OBJECT_MASK
                for object_ in objects
                if (members := usersets_of(object_)) is not None
                for userset in members
            }

        return follow_all

    def follow(objects: Set[int]) -> set[int]:
        return {
            userset & OBJECT_MASK
            for object_ in objects
            for userset in usersets_of(object_) or ()
            if userset >> NAMESPACE_SHIFT == kind
        }

    return follow


def run_along(next_of: Get, follow: Follow, members: list[Rows], everybody: int | None) -> Run:
    """Reachability where rows lead to objects of the same program and to nothing else. There the user is in
    an object that `members` name it in, or `everybody` (the number of a wildcard)."""
    objects_of: list[Get] = [rows.objects.get for rows in members]

    def run(objects: set[int], user: int, level: int, limit: int) -> Proof:
        mine = [held for get in objects_of if (held := get(user)) is not None]
        if everybody is not None:
            mine += [held for get in objects_of if (held := get(everybody)) is not None]
        if len(objects) == 1:
            # Most chains are threads: no sets, and a cycle ends at the limit.
            [object_] = objects
            while True:
                led = next_of(object_)
                if led is None:
                    return False
                if len(led) > 1:
                    objects = {object_}
                    break
                if level >= limit:
                    return None
                level += 1
                [object_] = led
                object_ &= OBJECT_MASK
                for held in mine:
                    if object_ in held:
                        return True
        seen = set(objects)
        while True:
            objects = follow(objects)
            objects -= seen
            if not objects:
                return False
            if level >= limit:
                return None
            level += 1
            for held in mine:
                if not objects.isdisjoint(held):
                    return True
            seen |= objects

    return run


def leaf_through(rows: Rows, targets: Targets, *, usersets: bool) -> Ask:
    """By way of a row that may not count, to what its user's program says. `usersets` alone are followed
    where the relation's own tuples are meant; all but wildcards where it is a tupleset."""
    rows_of = rows.maybe.get

    def ask(object_: int, user: int, walk: Walk) -> Proof:
        proven = True
        for row in rows_of(object_) or ():
            if not (row.user >> USERSET_SHIFT if usersets else row.user & SERIAL_MASK):
                continue
            target = targets(row.user)
            standing = None if target is None else walk.standing(row)
            if target is None or standing is False:
                continue
            found = _beyond(target, row.user & OBJECT_MASK, user, walk)
            if found and standing:
                return True
            proven = proven and found is False
        return False if proven else None

    return ask


def _beyond(target: Program, object_: int, user: int, walk: Walk) -> Proof:
    """What a program says about an object one tuple further on."""
    if walk.level >= walk.limit:
        return None
    walk.level += 1
    found = target.ask(object_, user, walk)
    walk.level -= 1
    return found


def leaf_every(rows: Rows, targets: Targets) -> Ask:
    """The tupleset names some object, and the user is in the target of each."""
    users_of, usersets_of, rows_of = rows.users.get, rows.usersets.get, rows.maybe.get

    def ask(object_: int, user: int, walk: Walk) -> Proof:
        named = {*(users_of(object_) or ()), *(usersets_of(object_) or ())}
        proven = True
        for row in rows_of(object_) or ():
            standing = walk.standing(row)
            if standing:
                named.add(row.user)
            proven = proven and standing is not None
        named = {userset for userset in named if userset & SERIAL_MASK}
        for one in named:
            target = targets(one)
            found = False if target is None else _beyond(target, one & OBJECT_MASK, user, walk)
            if found is False:
                return False
            proven = proven and found is not None
        if not proven:
            return None
        return bool(named)

    return ask


def leaf_all(parts: list[Program]) -> Ask:
    """An intersection."""

    def ask(object_: int, user: int, walk: Walk) -> Proof:
        proven = True
        for part in parts:
            found = part.ask(object_, user, walk)
            if found is False:
                return False
            proven = proven and found is not None
        return True if proven else None

    return ask


def leaf_but(base: Program, subtract: Program) -> Ask:
    """An exclusion."""

    def ask(object_: int, user: int, walk: Walk) -> Proof:
        found = base.ask(object_, user, walk)
        if found is False:
            return False
        excluded = subtract.ask(object_, user, walk)
        if excluded:
            return False
        return True if found and excluded is False else None

    return ask
