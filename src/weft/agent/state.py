"""Where a session stands, made from its events alone, and what it does next; without any I/O."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from weft.agent.events import (
    AnyEvent,
    Interrupted,
    ModelReplied,
    SavedFile,
    SessionEnded,
    SessionStarted,
    ToolFinished,
    Verified,
)
from weft.agent.models.protocol import Message, ToolCall
from weft.core.errors import Bug


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session ends at the latest."""

    steps: int = 50
    tokens: int = 2_000_000
    time_s: float = 3_600.0
    command_s: float = 600.0
    """Of one command."""


class AskModel(msgspec.Struct, frozen=True):
    step: int


class RunTools(msgspec.Struct, frozen=True):
    step: int
    calls: tuple[ToolCall, ...]


class Verify(msgspec.Struct, frozen=True):
    step: int
    command: str


class End(msgspec.Struct, frozen=True):
    ok: bool
    reason: str


NextAction = AskModel | RunTools | Verify | End


class State:
    """The fold of a session's events: the same events always give the same state."""

    def __init__(self, events: Iterable[AnyEvent] = ()) -> None:
        self.started: SessionStarted | None = None
        self.ended: SessionEnded | None = None
        self.messages: list[Message] = []
        self.step = 0
        self.tokens = 0
        self.pending: list[ToolCall] = []
        self.claims_done = False
        self.verified = False
        self.saved: tuple[SavedFile, ...] = ()
        self.last_text = ""
        for event in events:
            self.apply(event)

    def apply(self, event: AnyEvent) -> None:
        """Take one event in."""
        match event:
            case SessionStarted():
                self.started = event
                self.messages = [Message("system", event.instructions), Message("user", event.task)]
            case ModelReplied():
                self.step = event.step
                self.tokens += event.usage.input + event.usage.output
                self.messages.append(Message("assistant", event.text, event.calls))
                self.pending = list(event.calls)
                self.claims_done = not event.calls
                self.last_text = event.text or self.last_text
            case ToolFinished():
                self.pending = [call for call in self.pending if call.id != event.call_id]
                self.messages.append(Message("tool", event.output, call_id=event.call_id))
                self.saved = self.saved if event.saved is None else event.saved
            case Verified():
                self.verified, self.claims_done = event.ok, False
                self.saved = event.saved
                if not event.ok:
                    self.messages.append(Message("user", _not_verified(event)))
            case SessionEnded():
                self.ended = event
            case Interrupted():
                pass
            case _:
                pass

    def next_action(self, budgets: Budgets, elapsed_s: float) -> NextAction:
        """What the session has to do now."""
        if self.started is None:
            raise Bug("a session without a start was asked for its next action")
        if self.pending:
            return RunTools(self.step, tuple(self.pending))
        if self.verified:
            return End(True, "verified")
        if self.claims_done:
            if self.started.verify is None:
                return End(False, "done, but not verified: no command to verify with is known")
            return Verify(self.step, self.started.verify)
        if self.step >= budgets.steps:
            return End(False, f"the budget of {budgets.steps} steps is spent")
        if self.tokens >= budgets.tokens:
            return End(False, f"the budget of {budgets.tokens:,} tokens is spent")
        if elapsed_s >= budgets.time_s:
            return End(False, f"the budget of {budgets.time_s:.0f} s is spent")
        return AskModel(self.step + 1)


def _not_verified(event: Verified) -> str:
    return f"Not done yet: `{event.command}` failed with exit code {event.exit_code}.\n{event.output}"
