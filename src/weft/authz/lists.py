"""Lists: walk to everything that may belong, then check it; so lists never disagree with checks.

Walks take expired tuples along: what they find is good at any instant, and the checks go by the request's.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

from weft.authz.evaluate import Evaluation, Question, Value
from weft.authz.plan import Kind, Plan, Userset
from weft.authz.schema.model import ComputedUserset, Self, This, TupleToUserset, walk
from weft.authz.store import Read, Rows, Users
from weft.authz.tuples import WILDCARD, ObjectRef, User

_CHECKED_TOGETHER = 200
"""Candidates checked in one go: enough to share reads, few enough that a small page stays quick."""


class Listed(NamedTuple):
    """Checked candidates in order."""

    values: list[tuple[str, Value]]
    """Those that are in, or may be."""
    denied: list[str]
    more: bool
    """Whether candidates are left to check."""
    wildcard: Value = False
    """`list_subjects` only: the value of everyone who is not named."""


def reachable_objects(
    plan: Plan, target: Userset, user: User
) -> Generator[list[Read], list[Rows], list[str]]:
    """The sorted ids of all objects that the user may be in the target relation with, and of others."""
    found = yield from plan.reverse.walk(user, target, plan.admits)
    return sorted(found)


def list_objects(
    evaluation: Evaluation, target: Userset, user: User, candidates: Sequence[str], after: str, limit: int
) -> Generator[list[Read], list[Rows], Listed]:
    """The candidates behind `after` that the user is, or may be, in the target relation with."""
    namespace, relation = target
    return (
        yield from _checked(
            evaluation, candidates, after, limit, lambda id_: (user, ObjectRef(namespace, id_), relation)
        )
    )


def list_subjects(
    evaluation: Evaluation,
    object_: ObjectRef,
    relation: str,
    kind: Kind,
    candidates: Sequence[str],
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
) -> Generator[list[Read], list[Rows], list[str]]:
    """The sorted ids of all users of the kind that are named anywhere below `object#relation`.

    Whoever is not among them fares like the wildcard.
    """
    found: set[str] = set()
    seen: set[tuple[ObjectRef, str]] = set()
    fresh = [(object_, relation)]
    while True:
        asked: dict[Users, set[str]] = {}
        while fresh:
            at = fresh.pop()
            if at in seen:
                continue
            seen.add(at)
            if (at[0].namespace, at[1]) == kind or (kind == (at[0].namespace, "") and _has_self(plan, at)):
                found.add(at[0].id)
            fresh.extend((at[0], name) for name in _computed(plan, at))
            for read, name in _reads(plan, at):
                asked.setdefault(read, set()).add(name)
        if not asked:
            return sorted(found - {WILDCARD})
        for names, rows in zip(asked.values(), (yield list(asked)), strict=True):
            for row in filter(plan.admits, rows):
                user = row.user
                if (user.namespace, user.relation) == kind and _OWN in names:
                    found.add(user.id)
                if user.relation and _OWN in names:
                    fresh.append((user.object, user.relation))
                if user.id != WILDCARD:
                    fresh.extend((user.object, name) for name in names if name != _OWN)


_OWN = ""
"""Instead of an arrow's computed relation: the users of the tuples themselves."""


def _checked(
    evaluation: Evaluation,
    candidates: Sequence[str],
    after: str,
    limit: int,
    question: Callable[[str], Question],
) -> Generator[list[Read], list[Rows], Listed]:
    listed: list[tuple[str, Value]] = []
    denied: list[str] = []
    for start in range(bisect_right(candidates, after), len(candidates), _CHECKED_TOGETHER):
        chunk = candidates[start : start + _CHECKED_TOGETHER]
        values = yield from evaluation.check([question(id_) for id_ in chunk])
        for id_, value in zip(chunk, values, strict=True):
            if not value:
                denied.append(id_)
            elif len(listed) == limit:
                return Listed(listed, [name for name in denied if name < listed[-1][0]], True)
            else:
                listed.append((id_, value))
    return Listed(listed, denied, False)


def _nodes(plan: Plan, at: tuple[ObjectRef, str]) -> Iterator[object]:
    relation = plan.schema.find(at[0].namespace, at[1])
    return walk(relation.rewrite) if relation else iter(())


def _has_self(plan: Plan, at: tuple[ObjectRef, str]) -> bool:
    return any(isinstance(node, Self) for node in _nodes(plan, at))


def _computed(plan: Plan, at: tuple[ObjectRef, str]) -> Iterator[str]:
    return (node.relation for node in _nodes(plan, at) if isinstance(node, ComputedUserset))


def _reads(plan: Plan, at: tuple[ObjectRef, str]) -> Iterator[tuple[Users, str]]:
    for node in _nodes(plan, at):
        if isinstance(node, This):
            yield Users(at[0], at[1]), _OWN
        elif isinstance(node, TupleToUserset):
            yield Users(at[0], node.tupleset), node.computed
