"""The loop: ask the model, run its tool calls, verify what it calls done; every step is an event first.

    state = fold(events)
    until the state has ended:
        action = state.next_action(budgets)
        events += carry out action              # ask the model | run tools | verify | end

`State` decides and `Orchestrator` acts. Whatever happens is appended to the session before it counts, so a
session goes on from any event.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from weft.agent.calls import CallRunner
from weft.agent.events import AnyEvent, Interrupted, ModelReplied, SessionEnded, Verified
from weft.agent.models.protocol import Delta, Model, collect
from weft.agent.sandbox import Sandbox
from weft.agent.session import Session
from weft.agent.state import AskModel, Budgets, End, RunTools, State, Verify
from weft.agent.timing import Stopwatch
from weft.agent.tools.protocol import Toolbox
from weft.agent.tools.reports import summarise
from weft.agent.tools.running import run_in


class Stop(Exception):  # an interruption is no error
    """Raised where the loop can stop at once."""


class Orchestrator:
    """Drives one session in one sandbox to its end, or to an interruption."""

    def __init__(
        self,
        session: Session,
        *,
        model: Model,
        toolbox: Toolbox,
        runner: CallRunner,
        box: Sandbox,
        budgets: Budgets,
        stopwatch: Stopwatch,
        interrupt: threading.Event,
        on_delta: Callable[[Delta], None] | None = None,
    ) -> None:
        self._session = session
        self._model = model
        self._toolbox = toolbox
        self._runner = runner
        self._box = box
        self._budgets = budgets
        self._stopwatch = stopwatch
        self._interrupt = interrupt
        self._on_delta = on_delta
        self.state = State(session.events)

    def run(self) -> State:
        """Act until the session has ended; an interruption leaves it open, to be resumed."""
        try:
            while self.state.ended is None:
                self._check_interrupt()
                match self.state.next_action(self._budgets, self._stopwatch.elapsed_s()):
                    case AskModel(step):
                        self._ask_model(step)
                    case RunTools(step, calls):
                        for event in self._runner.run(step, calls):
                            self._happened(event)
                            self._check_interrupt()
                    case Verify(step, command):
                        self._verify(step, command)
                    case End(ok, reason):
                        self._end(ok, reason)
        except Stop:
            self._happened(Interrupted(reason="the person asked to stop"))
        return self.state

    def _happened(self, event: AnyEvent) -> None:
        self.state.apply(self._session.append(event))

    def _check_interrupt(self) -> None:
        if self._interrupt.is_set():
            raise Stop

    def _ask_model(self, step: int) -> None:
        first: list[float] = []

        def on_delta(delta: Delta) -> None:
            self._check_interrupt()
            first.append(span.so_far_s()) if not first else None
            if self._on_delta:
                self._on_delta(delta)

        with self._stopwatch.phase("model") as span:
            reply = collect(self._model.stream(tuple(self.state.messages), self._toolbox.specs), on_delta)
        self._happened(
            ModelReplied(
                step=step,
                text=reply.text,
                reasoning=reply.reasoning,
                calls=reply.calls,
                usage=reply.usage,
                first_delta_s=first[0] if first else None,
                duration_s=span.so_far_s(),
            )
        )

    def _verify(self, step: int, command: str) -> None:
        undone = self._runner.undo_refused(step)
        for decided in undone:
            self._happened(decided)
        with self._stopwatch.phase("verification"):
            result = run_in(self._box, command, self._budgets.command_s)
        notes = [f"`{decided.access.resource.name}` was put back: {decided.reason}" for decided in undone]
        self._happened(
            Verified(
                step=step,
                command=command,
                ok=result.exit_code == 0 and not result.timed_out,
                output="\n".join([*notes, summarise(result.output, result.exit_code)]),
                exit_code=result.exit_code,
                duration_s=result.duration_s,
                saved=self._runner.save(),
            )
        )

    def _end(self, ok: bool, reason: str) -> None:
        with self._stopwatch.phase("sandbox"):
            diff = self._box.diff()
        self._happened(SessionEnded(ok=ok, reason=reason, diff=diff, timings=self._stopwatch.seconds()))
