"""Results of checks that went to the store, by the revision they are about (Zanzibar, section 3.2.5).

A key names everything that a result follows from: object, relation, user, revision, and the context as
canonical JSON, cut down to the names that conditions of the schema take; so `1`, `1.0` and `true` are three
contexts, and one that is no JSON has no key. Plain yes and no alone are kept: what depends on missing context
is another value, and what ends in an error, such as a path that is too deep, is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from weft.authz.evaluate import Question
from weft.authz.plan import Plan
from weft.authz.tuples import canonical_json
from weft.core.errors import Invalid, LimitExceeded
from weft.core.telemetry import AUTHZ_CACHE, Recorder

Key = tuple[Question, int, str]
"""The question, the revision, and the context that can matter."""
MAX_RESULTS: Final = 50_000
"""Of each of two generations: some 50 MB together."""


class Result(NamedTuple):
    """What a check came to, and the instants between which no tuple that it met expires."""

    value: bool
    since_us: int
    until_us: int

    def holds(self, now_us: int) -> bool:
        return self.since_us <= now_us < self.until_us


def key_of(plan: Plan, question: Question, revision: int, context: Mapping[str, Any]) -> Key | None:
    """The key of a check; None for one that has none."""
    relevant = {name: context[name] for name in plan.context_names if name in context}
    if not relevant:
        return question, revision, ""
    try:
        return question, revision, canonical_json(relevant)
    except (Invalid, LimitExceeded):
        return None


class ResultCache:
    """A bounded number of results: when one generation is full, it becomes the old one, which is forgotten
    when the next is full. Threads may share it."""

    def __init__(self, telemetry: Recorder, most: int = MAX_RESULTS) -> None:
        self._telemetry = telemetry
        self._most = most
        self._young: dict[Key, Result] = {}
        self._old: dict[Key, Result] = {}

    def get(self, key: Key, now_us: int) -> bool | None:
        """The value at an instant, if it is known."""
        result = self._young.get(key)
        if result is None:
            result = self._old.get(key)
            if result is not None:
                self.keep(key, result)
        found = result is not None and result.holds(now_us)
        self._telemetry.count(AUTHZ_CACHE, outcome="hit" if found else "miss")
        return result.value if found and result is not None else None

    def keep(self, key: Key, result: Result) -> None:
        if len(self._young) >= self._most:
            self._old, self._young = self._young, {}
        self._young[key] = result
