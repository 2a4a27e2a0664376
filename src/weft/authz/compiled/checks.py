"""Checks over the mirror: the decisions that compiled programs prove, and None for what they leave over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from weft.authz.compiled.build import Programs
from weft.authz.compiled.program import Program
from weft.authz.compiled.walk import Proof, Walk
from weft.authz.mirror.mirror import Mirror, View
from weft.authz.mirror.rows import NAMESPACE_SHIFT, SERIAL_MASK, USERSET_SHIFT
from weft.authz.moments import Moments
from weft.authz.plan import Plan
from weft.authz.results import Decision
from weft.authz.store import Head
from weft.authz.tuples import WILDCARD, ObjectRef, User, check_user, parse_object, parse_user
from weft.core.clock import Clock

_PAST_POINTS: Final = 4
"""As many as the mirror keeps views of the past."""
_NO_WALK: Final = cast(Walk, None)
"""For programs that ask nothing of it."""


class Point:
    """One revision's view, its programs, and the two decisions that nearly all checks at it end with."""

    __slots__ = ("_ready", "allowed", "denied", "head", "programs", "ready", "view")

    def __init__(self, head: Head, view: View, programs: Programs, moments: Moments) -> None:
        self.head = head
        self.view = view
        self.programs = programs
        self.ready: dict[tuple[str, int, int], Program | None] = programs.ready
        """Programs by relation, the number of the object's namespace and that of the user's kind."""
        zookie = moments.zookie(head)
        self.allowed = Decision(True, zookie)
        self.denied = Decision(False, zookie)

    def find(self, relation: str, object_: int, user: int) -> Program | None:
        """The program for numbers like these; `NotFound` where the schema has no such relation or user."""
        name, plan = self.view.numbers.name, self.programs.plan
        namespace = name(object_ >> NAMESPACE_SHIFT)
        kind = name(user >> NAMESPACE_SHIFT & 0xFFFF), name(user >> USERSET_SHIFT)
        plan.require_user(User(kind[0], "any", kind[1]))
        plan.schema.relation(namespace, relation)
        program = self.programs.find(namespace, relation, kind)
        self.ready[relation, object_ >> NAMESPACE_SHIFT, user >> NAMESPACE_SHIFT] = program
        return program


class CompiledChecks:
    """Checks of one store, as far as its mirror can prove them."""

    def __init__(
        self,
        mirror: Mirror,
        moments: Moments,
        plan_at: Callable[[Head], Plan],
        clock: Clock,
        max_depth: int,
    ) -> None:
        self._mirror = mirror
        self._moments = moments
        self._plan_at = plan_at
        self._clock = clock
        self._max_depth = max_depth
        self._objects = mirror.numbers.object_texts.get
        self._users = mirror.numbers.user_texts.get
        self._newest: Point | None = None
        self._past: dict[int, Point] = {}

    def check(
        self,
        head: Head,
        object_: str | ObjectRef,
        relation: str,
        user: str | User,
        context: Mapping[str, Any],
    ) -> Decision | None:
        """The decision at a head; None when it is not proven."""
        point = self._newest
        if point is None or (point.head is not head and point.head != head):
            point = self._point(head)
            if point is None:
                return None
        object_number = self._objects(object_)  # type: ignore[arg-type]
        user_number = self._users(user)  # type: ignore[arg-type]
        if object_number is None or user_number is None:
            numbers = self._numbers(point.programs.plan, object_, user)
            if numbers is None:
                return None
            object_number, user_number = numbers
        proof = self._ask(point, relation, object_number, user_number, context)
        if not point.view.intact:
            # The mirror went on meanwhile; what it was is a view of the past by now, which stays.
            point = self._point(head)
            if point is None:
                return None
            proof = self._ask(point, relation, object_number, user_number, context)
        if proof:
            return point.allowed
        return point.denied if proof is False else None

    def _ask(self, point: Point, relation: str, object_: int, user: int, context: Mapping[str, Any]) -> Proof:
        try:
            program = point.ready[relation, object_ >> NAMESPACE_SHIFT, user >> NAMESPACE_SHIFT]
        except KeyError:
            program = point.find(relation, object_, user)
        if program is None:
            return None
        try:
            if program.bare:
                return program.ask(object_, user, _NO_WALK)
            return program.ask(
                object_, user, Walk(point.programs.plan, self._clock, self._max_depth, context)
            )
        except RecursionError:
            return None
        except Exception:
            if point.view.intact:
                raise
            return None

    def _point(self, head: Head) -> Point | None:
        """The point at a head; None where the mirror has no view of it."""
        past = self._past.get(head.revision)
        if past is not None and past.view.intact and past.head == head:
            return past
        view = self._mirror.view(head.revision)
        if view is None:
            return None
        plan, newest = self._plan_at(head), self._newest
        if newest is not None and newest.programs.plan is plan and newest.programs.in_force(view):
            programs = newest.programs
        else:
            programs = Programs(plan, view)
        point = Point(head, view, programs, self._moments)
        if head.revision >= self._mirror.head_revision:
            self._newest = point
        else:
            self._past[head.revision] = point
            for revision in list(self._past)[:-_PAST_POINTS]:
                self._past.pop(revision, None)
        return point

    def _numbers(self, plan: Plan, object_: str | ObjectRef, user: str | User) -> tuple[int, int] | None:
        """The numbers of an object and a user. One that was never written has the number of nobody, unless
        both are such; then they may still be the same, and it is for the evaluator to say."""
        whom = parse_user(user) if isinstance(user, str) else check_user(user)
        ref = parse_object(object_) if isinstance(object_, str) else object_
        if ref.namespace not in plan.schema.by_name or ref.id == WILDCARD:
            return None
        numbers = self._mirror.numbers
        object_number, user_number = numbers.object_(object_), numbers.user(user)
        if object_number is None and user_number is None:
            return None
        if object_number is None:
            object_number = self._nobody(ref.namespace)
        elif user_number is None and not whom.relation:
            user_number = self._nobody(whom.namespace)
        if object_number is None or user_number is None:
            return None
        return object_number, user_number

    def _nobody(self, namespace: str) -> int | None:
        number = self._mirror.numbers.namespace(namespace)
        return None if number is None else number << NAMESPACE_SHIFT | SERIAL_MASK
