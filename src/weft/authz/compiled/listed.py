"""Candidates of a list at one point, by number: what can be proven of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.authz.compiled.point import Point
from weft.authz.compiled.walk import Proof
from weft.authz.mirror.rows import NAMESPACE_SHIFT, SERIAL_MASK, USERSET_SHIFT
from weft.authz.tuples import ObjectRef, User


def prove_objects(
    point: Point,
    objects: Sequence[int],
    relation: str,
    user: User,
    context: Mapping[str, Any],
    now_us: int,
) -> list[Proof]:
    """Whether one user is in a relation of each object of one namespace."""
    number = _number(point, user)
    program = None if number is None else point.program(relation, objects[0], number)
    if number is None or program is None:
        return [None] * len(objects)
    walk = None if program.bare else point.walk(context, now_us)
    return [point.run(program, object_, number, walk) for object_ in objects]


def prove_subjects(
    point: Point,
    object_: ObjectRef,
    relation: str,
    users: Sequence[int],
    user_relation: str,
    context: Mapping[str, Any],
    now_us: int,
) -> list[Proof]:
    """Whether each user of one kind is in the relation on the object; usersets by their objects' numbers."""
    numbers = point.view.numbers
    number, above = numbers.object_(object_), numbers.relation(user_relation)
    if number is None or above is None:
        return [None] * len(users)
    asked = [above << USERSET_SHIFT | user for user in users] if above else users
    program = point.program(relation, number, asked[0])
    if program is None:
        return [None] * len(users)
    held = program.users(number, point.max_depth)
    if held is not None:
        members = set().union(*held)
        everybody = asked[0] >> NAMESPACE_SHIFT << NAMESPACE_SHIFT
        return [True] * len(users) if everybody in members else [user in members for user in asked]
    return [
        point.run(program, number, user, None if program.bare else point.walk(context, now_us))
        for user in asked
    ]


def _number(point: Point, user: User) -> int | None:
    """A user's number; one that was never written has the number of nobody."""
    number = point.view.numbers.user(user)
    if number is None and not user.relation:
        namespace = point.view.numbers.namespace(user.namespace)
        return None if namespace is None else namespace << NAMESPACE_SHIFT | SERIAL_MASK
    return number
