"""Checks over the mirror: the decisions that compiled programs prove, and None for what they leave over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from weft.authz.compiled.batch import prove
from weft.authz.compiled.build import Programs
from weft.authz.compiled.point import Point
from weft.authz.compiled.walk import Proof
from weft.authz.mirror.mirror import Mirror
from weft.authz.moments import Moments
from weft.authz.plan import Plan
from weft.authz.results import Check, Decision
from weft.authz.store import Head
from weft.authz.tuples import ObjectRef, User
from weft.core.clock import Clock
from weft.core.errors import Invalid, NotFound

if TYPE_CHECKING:
    from weft.authz.leopard.leopard import Leopard

_PAST_POINTS: Final = 4
"""As many as the mirror keeps views of the past."""


class CompiledChecks:
    """Checks of one store, as far as its mirror can prove them."""

    def __init__(
        self,
        mirror: Mirror,
        moments: Moments,
        plan_at: Callable[[Head], Plan],
        clock: Clock,
        max_depth: int,
        leopard: Leopard | None = None,
    ) -> None:
        self._mirror = mirror
        self._leopard = leopard
        self._moments = moments
        self._plan_at = plan_at
        self._clock = clock
        self._max_depth = max_depth
        self._newest: Point | None = None
        self._past: dict[int, Point] = {}

    def at_hand(self, head: Head) -> bool:
        """Whether the mirror stands at a head already."""
        point = self._newest
        return point is not None and point.head == head and point.view.intact

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
        try:
            proof = point.ask(object_, relation, user, context)
        except Exception:
            if point.view.intact:
                raise
        if not point.view.intact:
            # The mirror went on meanwhile; what it was is a view of the past by now.
            found = self._at(head, lambda point: [point.ask(object_, relation, user, context)])
            if found is None:
                return None
            point, [proof] = found
        if proof:
            return point.allowed
        return point.denied if proof is False else None

    def check_many(
        self, head: Head, checks: Sequence[Check], context: Mapping[str, Any], now_us: int
    ) -> list[Decision | None]:
        """The decision on each check at a head and an instant; None for those that are not proven."""
        try:
            found = self._at(head, lambda point: prove(point, checks, context, now_us))
        except (Invalid, NotFound):
            # Of several errors, the evaluator says which comes first.
            found = None
        if found is None:
            return [None] * len(checks)
        point, proofs = found
        allowed, denied = point.allowed, point.denied
        return [allowed if proof else denied if proof is False else None for proof in proofs]

    def proofs(self, head: Head, prove: Callable[[Point], list[Proof]]) -> list[Proof] | None:
        """What is proven at a head; None when nothing can be."""
        found = self._at(head, prove)
        return None if found is None else found[1]

    def _at(self, head: Head, prove: Callable[[Point], list[Proof]]) -> tuple[Point, list[Proof]] | None:
        for _ in range(2):
            point = self._newest
            if point is None or point.head != head or not point.view.intact:
                point = self._point(head)
                if point is None:
                    break
            try:
                proofs = prove(point)
            except Exception:
                if point.view.intact:
                    raise
                continue
            if point.view.intact:
                return point, proofs
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
        if newest is not None and newest.programs.plan is plan and newest.programs.carry_over(view):
            programs = newest.programs
        else:
            programs = Programs(plan, view)
        zookie = self._moments.zookie(head)
        point = Point(head, view, programs, zookie, self._clock, self._max_depth, self._leopard)
        if head.revision >= self._mirror.head_revision:
            self._newest = point
        else:
            self._past[head.revision] = point
            for revision in list(self._past)[:-_PAST_POINTS]:
                self._past.pop(revision, None)
        return point
