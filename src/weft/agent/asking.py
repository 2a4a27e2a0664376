"""One request to a model: which model, its stream, calls that start early, and what it cost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import msgspec

from weft.agent.calls import CallRunner
from weft.agent.early import ArrivingCalls
from weft.agent.events import ModelReplied
from weft.agent.interrupting import Interruption
from weft.agent.models.prices import Prices
from weft.agent.models.protocol import Delta, Model, Opaque, Options, Reply, ToolCall, collect
from weft.agent.routing import Choice, Router, StepFeatures
from weft.agent.secrets import redact
from weft.agent.state import State
from weft.agent.timing import Stopwatch
from weft.agent.tools.protocol import Toolbox


class OneModel:
    """The router of those who have none: always the same model."""

    def __init__(self, model: Model) -> None:
        self._choice = Choice(model, "")

    def choose(self, features: StepFeatures) -> Choice:
        return self._choice


class Asker:
    """Asks the model of a step for its reply, and begins with what the reply asks for as soon as it can."""

    def __init__(
        self,
        *,
        router: Router,
        toolbox: Toolbox,
        runner: CallRunner,
        stopwatch: Stopwatch,
        prices: Prices,
        interruption: Interruption,
        on_delta: Callable[[Delta], None] | None,
    ) -> None:
        self._router = router
        self._toolbox = toolbox
        self._runner = runner
        self._stopwatch = stopwatch
        self._prices = prices
        self._interruption = interruption
        self._on_delta = on_delta

    def ask(self, step: int, state: State) -> ModelReplied:
        """The model's reply as an event. Whatever breaks it off, nothing that began early is left; `Stop` as
        soon as a person asks for it."""
        features = state.features()
        choice = self._router.choose(features)
        arriving = ArrivingCalls(self._runner.may_start_early)
        first: list[float] = []

        def take(delta: Delta) -> None:
            self._interruption.check()
            if not first:
                first.append(span.so_far_s())
            if call := arriving.take(delta):
                self._runner.start_early(step, call)
            if self._on_delta:
                self._on_delta(delta)

        options = Options(cache_key=features.session)
        stream = choice.model.stream(tuple(state.messages), self._toolbox.specs, options)

        def close() -> None:
            # A generator cannot be closed while it runs in another thread; it is left at its next piece.
            with contextlib.suppress(ValueError):
                getattr(stream, "close", lambda: None)()

        try:
            with self._stopwatch.phase("model") as span, self._interruption.ending(close):
                reply = collect(stream, take)
        except BaseException:
            self._runner.forget_early()
            close()
            raise
        return self._replied(step, choice, reply, first[0] if first else None, span.so_far_s())

    def _replied(
        self, step: int, choice: Choice, reply: Reply, first_delta_s: float | None, duration_s: float
    ) -> ModelReplied:
        calls = _told_apart(reply.calls)
        return ModelReplied(
            step=step,
            text=reply.text,
            reasoning=reply.reasoning,
            calls=calls,
            usage=reply.usage,
            first_delta_s=first_delta_s,
            duration_s=duration_s,
            stop=reply.stop,
            opaque=_still_true(reply, calls),
            cost_usd=0.0 if choice.model.scripted else self._prices.cost(choice.model.name, reply.usage),
            model=choice.model.name,
            reason=choice.reason,
        )


def _told_apart(calls: tuple[ToolCall, ...]) -> tuple[ToolCall, ...]:
    """The calls with ids of their own, also from a model that uses one twice."""
    seen: set[str] = set()
    apart = []
    for call in calls:
        while call.id in seen:
            call = msgspec.structs.replace(call, id=f"{call.id}+")
        seen.add(call.id)
        apart.append(call)
    return tuple(apart)


def _still_true(reply: Reply, calls: tuple[ToolCall, ...]) -> Opaque | None:
    """The reply's opaque part, unless taking out secrets or renaming calls changes what it stands for: it is
    given back unchanged or not at all."""
    texts = (reply.text, reply.opaque.data if reply.opaque else "", *(call.arguments for call in calls))
    changed = calls != reply.calls or any(redact(text) != text for text in texts)
    return None if changed else reply.opaque
