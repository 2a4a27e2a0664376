"""Lists: walk to everything that may belong, then check what the walk did not prove.

Proof is a path of unions alone, by tuples without condition and expiry: a check would find it too, unless
that is too deep for a check. So lists never disagree with checks. Walks take expired tuples along: what they
find is good at any instant, and the checks go by the request's.

A list is in the order of its store (`TupleStore.places`), whichever walk it comes from; so a cursor is good
for each of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from heapq import nsmallest
from itertools import chain
from typing import Any, Final, NamedTuple, TypeVar

from weft.authz.evaluate import Value
from weft.authz.plan import Kind, Plan, Userset
from weft.authz.reverse import Reached
from weft.authz.schema.model import ComputedUserset, Rewrite, Self, This, TupleToUserset, Union, children
from weft.authz.store import Read, Rows, Users
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, User

T = TypeVar("T")
Key = Any
"""What orders a list: a number of the mirror, or bytes from the store; all of one list are of one sort."""
_CHECKED_TOGETHER = 200
"""Candidates checked in one go, at most; a tenth of it at least, however few the page still lacks."""
_SELECTED: Final = 500
"""At least so many, where checks may refuse some."""
_SELECTED_FROM: Final = 5_000
"""Of so many or more, the first few are picked out faster than all are put in order."""


class Listed(NamedTuple):
    """Checked candidates in order."""

    values: list[tuple[str, Value]]
    """Those that are in, or may be, by id."""
    denied: list[str]
    last: bytes | None
    """Where to go on, if candidates are left to check."""


class Found(NamedTuple):
    """What a walk through the store found."""

    ids: Mapping[str, bool]
    """Each with whether it is proven."""
    facts: frozenset[Reached] = frozenset()
    """What else the walk proved of the user, where there is something left to check."""
    everybody: bool | None = False
    """`list_subjects` only: whether all users of the kind are in, None where that must be checked."""


class Candidates:
    """What a walk found, by keys that are in the order of the list."""

    def __init__(
        self,
        proven: Sequence[Collection[Key]],
        unproven: AbstractSet[Key],
        *,
        ids: Callable[[Sequence[Key]], list[str]],
        place_of: Callable[[Key], bytes],
        key_of: Callable[[bytes], Key],
        facts: frozenset[Reached] = frozenset(),
        everybody: bool | None = False,
        numbered: bool = False,
    ) -> None:
        if unproven and proven:
            whole: set[Key] = set()
            whole.update(*proven)
            proven, unproven = [whole], unproven - whole
        self._proven = proven
        """What needs no check, in parts that may overlap."""
        self.unproven = unproven
        self.ids = ids
        self.place_of = place_of
        self.key_of = key_of
        self.facts = facts
        self.everybody = everybody
        """Whether all users of the kind are in, named or not; None where that must be checked."""
        self.numbered = numbered
        """Whether keys are the mirror's numbers."""
        self._order: tuple[list[Key], bool] = [], False
        """The first ones in order, and whether that is all; one value, since threads share it."""

    def __len__(self) -> int:
        """How many there are, at most."""
        return sum(map(len, self._proven)) + len(self.unproven)

    @property
    def any_proven(self) -> bool:
        return any(self._proven)

    def following(self, after: bytes, count: int) -> list[Key]:
        """The next ones in order, `count` of them if there are as many; all behind the place `after`."""
        order, whole = self._order
        while True:
            at = bisect_right(order, self.key_of(after)) if after else 0
            found = order[at : at + count]
            if whole or len(found) == count:
                return found
            if not order and not after and len(self) >= _SELECTED_FROM:
                order = self._smallest(max(count, _SELECTED) if self.unproven else count)
            else:
                order, whole = sorted(set().union(self.unproven, *self._proven)), True
            self._order = order, whole

    def _smallest(self, count: int) -> list[Key]:
        """The first ones in order: `count` of them, or somewhat fewer where parts overlap."""
        parts = [part for part in (self.unproven, *self._proven) if part]
        if len(parts) > count:
            # As many keys as there are least ones up to `bound` come no later; what begins behind it, later.
            least = list(map(min, parts))
            bound = sorted(least)[count - 1]
            parts = [part for part, key in zip(parts, least, strict=True) if key <= bound]
        return sorted(set(nsmallest(count, chain.from_iterable(parts))))


def page_of(
    candidates: Candidates, values_of: Callable[[list[Key]], Sequence[Value]], after: bytes, limit: int
) -> Listed:
    """Up to `limit` candidates behind a place that are in the list, or may be."""
    listed: list[tuple[Key, Value]] = []
    denied: list[Key] = []
    unproven = candidates.unproven
    while True:
        wanted = limit + 1 - len(listed)
        if unproven:
            wanted = min(max(wanted, _CHECKED_TOGETHER // 10), _CHECKED_TOGETHER)
        chunk = candidates.following(after, wanted)
        asked = [key for key in chunk if key in unproven] if unproven else []
        values: dict[Key, Value] = dict(zip(asked, values_of(asked), strict=True)) if asked else {}
        for key in chunk:
            value = values.get(key, True)
            if not value:
                denied.append(key)
            elif len(listed) < limit:
                listed.append((key, value))
            else:
                last = listed[-1][0]
                return _listed(candidates, listed, [key for key in denied if key < last], last)
        if len(chunk) < wanted:
            return _listed(candidates, listed, denied, None)
        after = candidates.place_of(chunk[-1])


def any_of(candidates: Candidates, values_of: Callable[[list[Key]], Sequence[Value]]) -> Value:
    """Whether any candidate is in the list."""
    if candidates.any_proven:
        return True
    missing: frozenset[str] = frozenset()
    after = b""
    while True:
        listed = page_of(candidates, values_of, after, 1)
        for _, value in listed.values:
            if value is True:
                return True
            missing |= value or frozenset()
        if listed.last is None:
            return missing or False
        after = listed.last


def _listed(
    candidates: Candidates, listed: list[tuple[Key, Value]], denied: list[Key], last: Key | None
) -> Listed:
    ids = candidates.ids([key for key, _ in listed])
    values = [(id_, value) for id_, (_, value) in zip(ids, listed, strict=True)]
    return Listed(values, candidates.ids(denied), None if last is None else candidates.place_of(last))


def reachable_objects(plan: Plan, target: Userset, user: User) -> Generator[list[Read], list[Rows], Found]:
    """All objects that the user may be in the target relation with, and perhaps others."""
    found = yield from plan.reverse.walk(user, target, plan.admits)
    of_target = {at[0].id: proven for at, proven in found.items() if (at[0].namespace, at[1]) == target}
    return Found(of_target, frozenset[Reached]() if all(of_target.values()) else proven(found))


def named_users(
    plan: Plan, object_: ObjectRef, relation: str, kind: Kind
) -> Generator[list[Read], list[Rows], Found]:
    """All users of the kind that are named anywhere below `object#relation`.

    Whoever is not among them fares like the wildcard.
    """
    walk = _Named(plan, kind)
    walk.reach((object_, relation), True)
    while walk.asked:
        asked, walk.asked = walk.asked, {}
        for names, rows in zip(asked.values(), (yield list(asked)), strict=True):
            for row in filter(plan.admits, rows):
                walk.take(row, names)
    if WILDCARD not in walk.users:
        return Found(walk.users)
    return Found(walk.users, everybody=walk.users.pop(WILDCARD) or None)


def proven(found: Mapping[T, bool]) -> frozenset[T]:
    """What needs no check of all that a walk found."""
    return frozenset(what for what, proven in found.items() if proven)


class _Named:
    """The walk from `object#relation` to the users named below it; all it holds comes with whether it is
    proven that whoever is there is in the relation asked about."""

    def __init__(self, plan: Plan, kind: Kind) -> None:
        self._plan = plan
        self._kind = kind
        self._seen: dict[Reached, bool] = {}
        self.users: dict[str, bool] = {}
        self.asked: dict[Users, dict[str, bool]] = {}
        """Reads, each with the relations of the users found that come next; `_OWN` for these users."""

    def reach(self, at: Reached, proven: bool) -> None:
        """Go through a userset and those computed from the same object."""
        todo = [(at, proven)]
        while todo:
            at, proven = todo.pop()
            if self._seen.get(at, -1) >= proven:
                continue
            self._seen[at] = proven
            object_, relation = at
            if (object_.namespace, relation) == self._kind:
                self._add(object_.id, proven)
            found = self._plan.schema.find(object_.namespace, relation)
            for node, proves in leaves(found.rewrite, proven) if found else ():
                match node:
                    case This():
                        self._ask(Users(object_, relation), _OWN, proves)
                    case TupleToUserset(tupleset, computed, every):
                        self._ask(Users(object_, tupleset), computed, proves and not every)
                    case ComputedUserset(name):
                        todo.append(((object_, name), proves))
                    case Self() if self._kind == (object_.namespace, ""):
                        self._add(object_.id, proves)

    def take(self, row: RelationTuple, names: Mapping[str, bool]) -> None:
        """Go on from a tuple that was read."""
        user = row.user
        for name, proven in names.items():
            if name != _OWN:
                if user.id != WILDCARD:
                    self.reach((user.object, name), proven and row.unconditional)
                continue
            if (user.namespace, user.relation) == self._kind:
                self._add(user.id, proven and row.unconditional)
            if user.relation:
                self.reach((user.object, user.relation), proven and row.unconditional)

    def _add(self, id_: str, proven: bool) -> None:
        self.users[id_] = self.users.get(id_, False) or proven

    def _ask(self, read: Users, name: str, proven: bool) -> None:
        names = self.asked.setdefault(read, {})
        names[name] = names.get(name, False) or proven


_OWN = ""
"""Instead of an arrow's computed relation: the users of the tuples themselves."""


def leaves(rewrite: Rewrite, proves: bool) -> Iterator[tuple[Rewrite, bool]]:
    """All leaves of a rewrite; only those below unions alone prove who is in it."""
    for part in children(rewrite):
        yield from leaves(part, proves and isinstance(rewrite, Union))
    if not children(rewrite):
        yield rewrite, proves
