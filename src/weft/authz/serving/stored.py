"""Checks that go to the store, by way of the layers that spare it: result cache, lock table, hot sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weft.authz.evaluate import Question, Value
from weft.authz.request import Request
from weft.authz.serving.cache import Key, Result, ResultCache, key_of
from weft.authz.serving.flights import Flights
from weft.authz.serving.settings import Serving
from weft.core.telemetry import Recorder


class StoreChecks:
    """Values of checks at one snapshot. Those of a request with contextual tuples are nobody else's."""

    def __init__(self, serving: Serving, telemetry: Recorder) -> None:
        self._cache = ResultCache(telemetry) if serving.cache else None
        self._flights: Flights[tuple[Value, Result | None]] | None = (
            Flights(telemetry) if serving.flights else None
        )

    def values(
        self, request: Request, questions: Sequence[Question], context: Mapping[str, Any]
    ) -> list[Value]:
        """The value of each question, in order; what they share is evaluated once."""
        if not questions:
            return []
        if request.contextual or (self._cache is None and self._flights is None):
            return _evaluate(request, questions)[0]
        keys = [key_of(request.plan, question, request.head.revision, context) for question in questions]
        if len(questions) == 1 and self._flights is not None and keys[0] is not None:
            return [self._value(request, questions[0], keys[0], self._flights)]
        values: list[Value | None] = [self._known(request, key) for key in keys]
        left = [index for index, value in enumerate(values) if value is None]
        if left:
            found, results = _evaluate(request, [questions[index] for index in left])
            for index, value, result in zip(left, found, results, strict=True):
                values[index] = value
                self._keep(keys[index], result)
        return values  # type: ignore[return-value]

    def _value(
        self,
        request: Request,
        question: Question,
        key: Key,
        flights: Flights[tuple[Value, Result | None]],
    ) -> Value:
        known = self._known(request, key)
        if known is not None:
            return known

        def work() -> tuple[Value, Result | None]:
            [value], [result] = _evaluate(request, [question])
            self._keep(key, result)
            return value, result

        value, _ = flights.run(
            key, work, lambda found: found[1] is not None and found[1].holds(request.now_us)
        )
        return value

    def _known(self, request: Request, key: Key | None) -> bool | None:
        return None if self._cache is None or key is None else self._cache.get(key, request.now_us)

    def _keep(self, key: Key | None, result: Result | None) -> None:
        if self._cache is not None and key is not None and result is not None:
            self._cache.keep(key, result)


def _evaluate(request: Request, questions: Sequence[Question]) -> tuple[list[Value], list[Result | None]]:
    """The values, and which of them are results that others may go by: plain ones alone."""
    evaluation = request.evaluation()
    values = list(request.run(evaluation.check(questions)))
    since_us, until_us = evaluation.unchanged_us
    return values, [
        Result(value, since_us, until_us) if isinstance(value, bool) else None for value in values
    ]
