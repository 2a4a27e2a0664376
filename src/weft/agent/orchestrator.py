"""The loop: ask the model, run its tool calls, verify what it calls done; every step is an event first.

    state = fold(events)
    until the state has ended:
        action = state.next_action(budgets)
        events += carry out action              # ask the model | run tools | verify | end ...

`State` decides and `Orchestrator` acts. Whatever happens is appended to the session before it counts, so a
session goes on from any event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from weft.agent.asking import Asker
from weft.agent.calls import CallRunner
from weft.agent.compaction import Keep
from weft.agent.events import (
    AnyEvent,
    Compacted,
    Interrupted,
    LoopFound,
    PersonSaid,
    SessionEnded,
)
from weft.agent.interrupting import Interruption, Stop
from weft.agent.loops import TIMES
from weft.agent.rules import Rules
from weft.agent.sandbox import Sandbox
from weft.agent.session import Session
from weft.agent.state import (
    AskModel,
    AskPerson,
    Budgets,
    Compact,
    End,
    RunTools,
    State,
    TellOff,
    Verify,
)
from weft.agent.timing import Stopwatch
from weft.agent.tools.conversation import AskUser
from weft.core.errors import LimitExceeded

Compactor = Callable[[State, Sequence[AnyEvent], int, Keep], Compacted]
"""Makes a window of at most so many tokens, from the state and from all events of the session; what it leaves
out it may keep behind a handle."""

# A reply and a round of tools still fit behind a window of this share.
_FULL: Final = 0.75
_AFTER_COMPACTION: Final = 0.3


class Orchestrator:
    """Drives one session in one sandbox to its end, or to an interruption."""

    def __init__(
        self,
        session: Session,
        *,
        asker: Asker,
        runner: CallRunner,
        box: Sandbox,
        rules: Rules,
        budgets: Budgets,
        stopwatch: Stopwatch,
        interruption: Interruption,
        ask_user: AskUser | None = None,
        compactor: Compactor,
        keep: Keep,
        context_tokens: int,
    ) -> None:
        """`context_tokens` is how much the model takes; the window is compacted before it is full."""
        self._session = session
        self._asker = asker
        self._runner = runner
        self._box = box
        self._rules = rules
        self._budgets = budgets
        self._stopwatch = stopwatch
        self._interruption = interruption
        self._ask_user = ask_user
        self._compactor = compactor
        self._keep = keep
        self._context_tokens = context_tokens
        self.state = State(session.events)

    def run(self) -> State:
        """Act until the session has ended; an interruption leaves it open, to be resumed."""
        compact_at = int(self._context_tokens * _FULL)
        try:
            while self.state.ended is None:
                self._interruption.check()
                self._check_covered()
                match self.state.next_action(self._budgets, compact_at):
                    case AskModel(step):
                        if not self._tell_rules():
                            self._ask_model(step)
                    case Compact(step):
                        self._compact(step)
                    case RunTools(step, calls):
                        for event in self._runner.run(step, calls):
                            self._happened(event)
                            self._interruption.check()
                    case TellOff(step, tools):
                        self._happened(LoopFound(step=step, tools=tools, times=TIMES))
                    case AskPerson(reason):
                        self._ask_person(reason)
                    case Verify(step, command):
                        self._verify(step, command)
                    case End(ok, reason):
                        self._end(ok, reason)
        except Stop as stop:
            self._happened(Interrupted(reason=str(stop)))
        return self.state

    def _happened(self, event: AnyEvent) -> None:
        self.state.apply(self._session.append(event))

    def _check_covered(self) -> None:
        if paths := self._runner.uncovered():
            raise Stop(f"`{paths[0]}` was hidden since the sandbox opened; resume to go on without it")

    def _tell_rules(self) -> bool:
        """Whether there were any that the model has not been told."""
        untold = self._rules.untold(self.state)
        for rules in untold:
            self._happened(rules)
        return bool(untold)

    def _ask_model(self, step: int) -> None:
        try:
            self._happened(self._asker.ask(step, self.state))
        except LimitExceeded:
            if self.state.compacted_at == step - 1:
                raise
            self._compact(step - 1)

    def _compact(self, step: int) -> None:
        budget = int(min(self._context_tokens, self.state.window_tokens) * _AFTER_COMPACTION)
        self._happened(self._compactor(self.state, self._session.events, budget, self._keep))

    def _ask_person(self, reason: str) -> None:
        """Go on with what a person says to it; where nobody says anything, it is the end."""
        said = (
            self._ask_user(f"The agent is stuck: {reason}. What shall it do?", ()) if self._ask_user else None
        )
        if said and said.strip():
            self._happened(PersonSaid(text=said))
        else:
            self._end(False, reason)

    def _verify(self, step: int, command: str) -> None:
        # What still runs could change what was verified.
        self._box.end_jobs()
        undone = self._runner.undo_refused(step)
        for decided in undone:
            self._happened(decided)
        notes = [f"`{decided.access.resource.name}` was put back: {decided.reason}" for decided in undone]
        for event in self._runner.verify(step, command, notes):
            self._happened(event)

    def _end(self, ok: bool, reason: str) -> None:
        diff = ""
        if self.state.changes_files:
            with self._stopwatch.phase("sandbox"):
                diff = self._box.diff()
        self._happened(SessionEnded(ok=ok, reason=reason, diff=diff, timings=self._stopwatch.seconds()))
