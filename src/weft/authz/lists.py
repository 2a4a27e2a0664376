"""Lists: walk to everything that may belong, then check what the walk did not prove.

Proof is a path of unions alone, by tuples without condition and expiry: a check would find it too, unless
that is too deep for a check. So lists never disagree with checks. Walks take expired tuples along: what they
find is good at any instant, and the checks go by the request's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import NamedTuple, TypeVar

from weft.authz.evaluate import Evaluation, Question, Value
from weft.authz.plan import Kind, Plan, Userset
from weft.authz.reverse import Reached
from weft.authz.schema.model import ComputedUserset, Rewrite, Self, This, TupleToUserset, Union, children
from weft.authz.store import Read, Rows, Users
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, User

T = TypeVar("T")
_CHECKED_TOGETHER = 200
"""Candidates checked in one go, at most; a tenth of it at least, however few the page still lacks."""


class Listed(NamedTuple):
    """Checked candidates in order."""

    values: list[tuple[str, Value]]
    """Those that are in, or may be."""
    denied: list[str]
    more: bool
    """Whether candidates are left to check."""
    wildcard: Value = False
    """`list_subjects` only: the value of everyone who is not named."""


class Candidates(NamedTuple):
    """What a walk found."""

    ids: list[str]
    """Sorted."""
    proven: frozenset[str]
    """Those that are in without a check."""

    facts: frozenset[Reached] = frozenset()
    """`list_objects` only: what else the walk proved of the user."""


def reachable_objects(
    plan: Plan, target: Userset, user: User
) -> Generator[list[Read], list[Rows], Candidates]:
    """All objects that the user may be in the target relation with, and perhaps others."""
    found = yield from plan.reverse.walk(user, target, plan.admits)
    of_target = {at[0].id: proven for at, proven in found.items() if (at[0].namespace, at[1]) == target}
    facts = frozenset[Reached]() if all(of_target.values()) else _proven(found)
    return Candidates(sorted(of_target), _proven(of_target), facts)


def list_objects(
    evaluation: Evaluation, target: Userset, user: User, candidates: Candidates, after: str, limit: int
) -> Generator[list[Read], list[Rows], Listed]:
    """The candidates behind `after` that the user is, or may be, in the target relation with."""
    namespace, relation = target
    evaluation.assume(user, candidates.facts)
    return (
        yield from _checked(
            evaluation, candidates, after, limit, lambda id_: (user, ObjectRef(namespace, id_), relation)
        )
    )


def any_object(
    evaluation: Evaluation, target: Userset, user: User, candidates: Candidates
) -> Generator[list[Read], list[Rows], Value]:
    """Whether the user is in the target relation with any of the candidates."""
    if candidates.proven:
        return True
    missing: frozenset[str] = frozenset()
    after = ""
    while True:
        listed = yield from list_objects(evaluation, target, user, candidates, after, 1)
        for id_, value in listed.values:
            if value is True:
                return True
            missing |= value or frozenset()
            after = id_
        if not listed.more:
            return missing or False


def list_subjects(
    evaluation: Evaluation,
    object_: ObjectRef,
    relation: str,
    kind: Kind,
    candidates: Candidates,
    after: str,
    limit: int,
) -> Generator[list[Read], list[Rows], Listed]:
    """The candidates of the kind behind `after` that are, or may be, in the relation on the object."""
    wildcard: Value = False
    if not kind[1]:
        [wildcard] = yield from evaluation.check([(User(kind[0], WILDCARD), object_, relation)])
    listed = yield from _checked(
        evaluation, candidates, after, limit, lambda id_: (User(kind[0], id_, kind[1]), object_, relation)
    )
    return listed._replace(wildcard=wildcard)


def named_users(
    plan: Plan, object_: ObjectRef, relation: str, kind: Kind
) -> Generator[list[Read], list[Rows], Candidates]:
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
    walk.users.pop(WILDCARD, None)
    return Candidates(sorted(walk.users), _proven(walk.users))


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
            for node, proves in _leaves(found.rewrite, proven) if found else ():
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


def _checked(
    evaluation: Evaluation,
    candidates: Candidates,
    after: str,
    limit: int,
    question: Callable[[str], Question],
) -> Generator[list[Read], list[Rows], Listed]:
    listed: list[tuple[str, Value]] = []
    denied: list[str] = []
    ids, proven, _ = candidates
    at = bisect_right(ids, after)
    while at < len(ids):
        wanted = max(limit + 1 - len(listed), _CHECKED_TOGETHER // 10)
        chunk = ids[at : at + min(wanted, _CHECKED_TOGETHER)]
        at += len(chunk)
        unproven = [id_ for id_ in chunk if id_ not in proven]
        checked = yield from evaluation.check([question(id_) for id_ in unproven])
        values = dict(zip(unproven, checked, strict=True))
        for id_ in chunk:
            value = values.get(id_, True)
            if not value:
                denied.append(id_)
            elif len(listed) == limit:
                return Listed(listed, [name for name in denied if name < listed[-1][0]], True)
            else:
                listed.append((id_, value))
    return Listed(listed, denied, False)


def _proven(found: Mapping[T, bool]) -> frozenset[T]:
    """What needs no check of all that a walk found."""
    return frozenset(what for what, proven in found.items() if proven)


def _leaves(rewrite: Rewrite, proves: bool) -> Iterator[tuple[Rewrite, bool]]:
    """All leaves of a rewrite; only those below unions alone prove who is in it."""
    for part in children(rewrite):
        yield from _leaves(part, proves and isinstance(rewrite, Union))
    if not children(rewrite):
        yield rewrite, proves
