"""One request's walk over the mirror: what it may not forget while programs run.

A program answers True, False or None, which is *not proven*: context is missing, a condition fails, a path
is too deep, or a question depends on itself through an intersection or an exclusion. True and False are what
the evaluator would say. None says nothing, so it may be remembered, and combined like any unknown of Kleene's
logic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weft.authz.mirror.rows import Maybe
from weft.authz.plan import Plan
from weft.core.clock import Clock
from weft.core.errors import Invalid, LimitExceeded

if TYPE_CHECKING:
    from weft.authz.leopard.index import Index

Proof = bool | None
"""True, False, or None: not proven."""


class Walk:
    """The questions of one request about one user. `level` counts the tuples on the way as the evaluator
    does."""

    __slots__ = ("_clock", "_context", "_now_us", "_plan", "index", "known", "level", "limit", "revision")

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        limit: int,
        context: Mapping[str, Any],
        now_us: int | None = None,
        index: Index | None = None,
        revision: int = 0,
    ) -> None:
        self.limit = limit
        self.level = 1
        self.known: dict[int, Proof] = {}
        """What programs found out about objects, by mark and object; None while one is at it."""
        self.index = index
        """Of groups, where there is one; it answers at `revision`."""
        self.revision = revision
        self._clock = clock
        self._plan = plan
        self._context = context
        self._now_us = now_us

    def standing(self, row: Maybe) -> Proof:
        """Whether a row with a condition or an expiry counts."""
        if row.expires_at_us is not None:
            if self._now_us is None:
                self._now_us = self._clock.now_us()
            if row.expires_at_us <= self._now_us:
                return False
        if row.condition is None:
            return True
        try:
            held = self._plan.conditions.evaluate(row.condition, self._context)
        except (Invalid, LimitExceeded):
            return None
        return held if held is True or held is False else None
