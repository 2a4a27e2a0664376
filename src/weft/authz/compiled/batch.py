"""Many checks at one point: users of one object are looked up in what it holds, found out once; other checks
share what is found out about their user."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, cast

from weft.authz.compiled.point import NO_WALK, Point
from weft.authz.compiled.walk import Proof, Walk
from weft.authz.mirror.rows import NAMESPACE_SHIFT, Members
from weft.authz.results import Check
from weft.authz.tuples import ObjectRef, User, canonical_json

_OBJECT: Final[Callable[[Check], str | ObjectRef]] = attrgetter("object")
_RELATION: Final[Callable[[Check], str]] = attrgetter("relation")
_USER: Final[Callable[[Check], str | User]] = attrgetter("user")
_CONTEXT: Final[Callable[[Check], Mapping[str, Any]]] = attrgetter("context")
_CONTEXTUAL: Final[Callable[[Check], Sequence[object]]] = attrgetter("contextual_tuples")
_FEW: Final = 4
"""Fewer users of an object than this are asked about one by one."""
_MERGED: Final = 4
"""Members are put into one set where that takes no more than so many for each check."""


def prove(point: Point, checks: Sequence[Check], context: Mapping[str, Any], now_us: int) -> list[Proof]:
    """What can be proven of each check."""
    if not checks:
        return []
    if any(map(_CONTEXTUAL, checks)) or any(map(_CONTEXT, checks)):
        return _prove_each(point, checks, context, now_us)
    if len(set(map(_OBJECT, checks))) == len(set(map(_RELATION, checks))) == 1:
        return _prove_users(point, checks, context, now_us)
    groups: dict[tuple[str | ObjectRef, str], list[int]] = {}
    for index, check in enumerate(checks):
        groups.setdefault((check.object, check.relation), []).append(index)
    if len(groups) * _FEW > len(checks):
        return _prove_each(point, checks, context, now_us)
    proofs: list[Proof] = [None] * len(checks)
    for indexes in groups.values():
        proven = _prove_users(point, [checks[index] for index in indexes], context, now_us)
        for index, proof in zip(indexes, proven, strict=True):
            proofs[index] = proof
    return proofs


def _prove_each(
    point: Point, checks: Sequence[Check], context: Mapping[str, Any], now_us: int
) -> list[Proof]:
    """One by one; what is found out about a user serves the user's other checks."""
    proofs: list[Proof] = []
    walks: dict[tuple[int, str], Walk] = {}
    objects, users = point.view.numbers.object_texts.get, point.view.numbers.user_texts.get
    for check in checks:
        proof = None
        if not check.contextual_tuples:
            object_, user = objects(check.object), users(check.user)  # type: ignore[arg-type]
            if object_ is None or user is None:
                object_, user = point.numbers(check.object, check.user) or (None, None)
            if object_ is not None and user is not None:
                program = point.program(check.relation, object_, user)
                if program is not None:
                    if program.plain and program.one(object_, user, NO_WALK):
                        proof = True
                    elif program.bare:
                        proof = False
                    else:
                        walk = _walk(point, walks, user, check, context, now_us)
                        proof = point.run(program, object_, user, walk)
        proofs.append(proof)
    return proofs


def _walk(
    point: Point,
    walks: dict[tuple[int, str], Walk],
    user: int,
    check: Check,
    context: Mapping[str, Any],
    now_us: int,
) -> Walk:
    """The walk of those checks that are about the same user in the same context."""
    own = {**context, **check.context} if check.context else context
    key = user, canonical_json({**own}) if check.context else ""
    walk = walks.get(key)
    if walk is None:
        walk = walks[key] = point.walk(own, now_us)
    return walk


def _prove_users(
    point: Point, checks: Sequence[Check], context: Mapping[str, Any], now_us: int
) -> list[Proof]:
    """Checks of one relation of one object."""
    object_, relation = checks[0].object, checks[0].relation
    numbers = point.view.numbers
    number = numbers.object_texts.get(object_)  # type: ignore[arg-type]
    users = list(map(numbers.user_texts.get, map(_USER, checks)))  # type: ignore[arg-type]
    if number is None or None in users:
        both = [point.numbers(object_, check.user) for check in checks]
        if None in both:
            return _prove_each(point, checks, context, now_us)
        number, users = both[0][0], [user for _, user in both]  # type: ignore[index, misc]
    known = cast(list[int], users)
    kind = min(known) >> NAMESPACE_SHIFT
    if max(known) >> NAMESPACE_SHIFT != kind:
        return _prove_each(point, checks, context, now_us)
    program = point.program(relation, number, known[0])
    held = None if program is None else program.users(number, point.max_depth)
    if held is None:
        return _prove_each(point, checks, context, now_us)
    everybody = kind << NAMESPACE_SHIFT
    if any(everybody in members for members in held):
        return [True] * len(checks)
    members: Members = held[0] if len(held) == 1 else ()
    if len(held) > 1:
        if sum(map(len, held)) > _MERGED * len(checks):
            return [any(user in members for members in held) for user in known]
        members = set().union(*held)
    return [user in members for user in known]
