"""Where a session stands, made from its events alone, and what it does next; without any I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec

from weft.agent.events import (
    AnyEvent,
    Compacted,
    Interrupted,
    Landed,
    LoopFound,
    ModelReplied,
    PersonSaid,
    RulesRead,
    SavedFile,
    SessionEnded,
    SessionResumed,
    SessionStarted,
    ToolFinished,
    Undone,
    Verified,
)
from weft.agent.loops import MEMORY, TIMES, Turn, circle, turn, without_noise
from weft.agent.models.protocol import Message, ToolCall
from weft.agent.models.tokens import message_tokens
from weft.agent.routing import StepFeatures
from weft.core.errors import Bug

_CUT_OFF = "Your reply ran into the length limit and was cut off. Go on from there, in smaller pieces."


class Budgets(msgspec.Struct, frozen=True, kw_only=True):
    """Where a session ends at the latest, counted from the last message of the person."""

    steps: int = 50
    tokens: int = 2_000_000
    money_usd: float | None = None
    """None for no bound. Where it is set, a reply of a model without a known price ends the session."""
    time_s: float = 3_600.0
    """Of work; pauses between runs do not count."""
    command_s: float = 600.0
    """Of one command."""


class AskModel(msgspec.Struct, frozen=True):
    step: int


class Compact(msgspec.Struct, frozen=True):
    step: int


class RunTools(msgspec.Struct, frozen=True):
    step: int
    calls: tuple[ToolCall, ...]


class TellOff(msgspec.Struct, frozen=True):
    """The model goes in circles, and is told so."""

    step: int
    tools: tuple[str, ...]


class AskPerson(msgspec.Struct, frozen=True):
    """The session needs a person; where there is none it ends for this reason."""

    reason: str


class Verify(msgspec.Struct, frozen=True):
    step: int
    command: str


class End(msgspec.Struct, frozen=True):
    ok: bool
    reason: str


NextAction = AskModel | Compact | RunTools | TellOff | AskPerson | Verify | End


class Spent(msgspec.Struct, frozen=True):
    """What a session has used up so far."""

    step: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    work_us: int = 0


class State:
    """The fold of a session's events: the same events always give the same state.

    `messages` is the window that is sent to the model. It only grows, so that each prompt extends the one
    before it byte for byte; `Compacted` alone replaces a part of it.
    """

    def __init__(self, events: Iterable[AnyEvent] = ()) -> None:
        self.started: SessionStarted | None = None
        self.ended: SessionEnded | None = None
        self.interrupted = "the process ended"
        """Why a session that has not ended does not go on."""
        self.messages: list[Message] = []
        self.step = 0
        self.tokens = 0
        self.cost_usd = 0.0
        self.unpriced = ""
        """The model whose price is not known, if one was asked."""
        self.pending: list[ToolCall] = []
        self.claims_done = False
        self.refused = False
        self.verified = False
        self.saved: tuple[SavedFile, ...] = ()
        self.landed = False
        """Whether the workspace holds all changes of the session."""
        self.last_text = ""
        self.files: set[str] = set()
        self.rules: set[str] = set()
        """The folders whose rules were told."""
        self.window_tokens = 0
        self._last: ModelReplied | None = None
        self._failures = 0
        self._failed_verifications = 0
        self._recent: deque[Turn] = deque(maxlen=MEMORY)
        self._told_off = False
        self.compacted_at = -1
        self._work_us = 0
        self._last_us: int | None = None
        self._turn = Spent()
        for event in events:
            self.apply(event)

    @property
    def changes_files(self) -> bool:
        """Whether the session may: those that plan or explore may not."""
        return self.started is not None and self.started.mode == "act"

    @property
    def spent(self) -> Spent:
        """What the session has used up."""
        return Spent(self.step, self.tokens, self.cost_usd, self._work_us)

    def apply(self, event: AnyEvent) -> None:
        """Take one event in."""
        self._count_time(event)
        match event:
            case SessionStarted():
                self.started = event
                self._say(Message("system", event.instructions))
                self._say(Message("user", _task(event)))
            case ModelReplied():
                self._replied(event)
            case ToolFinished():
                self._finished(event)
            case Verified():
                self._verified(event)
            case Compacted():
                self.messages[: event.replaced] = event.messages
                self.window_tokens = sum(map(message_tokens, self.messages))
                self.compacted_at = event.step
                self.tokens += event.usage.input + event.usage.output
                self._pay(event.cost_usd, event.model)
            case LoopFound():
                self._recent.clear()
                self._told_off = True
                self._say(Message("user", _told_off(event)))
            case RulesRead():
                self.rules.add(event.folder)
                self._say(Message("user", _rules(event)))
            case PersonSaid():
                self._reopen("the person spoke first")
                self._told_off, self._turn = False, self.spent
                self._say(Message("user", event.text))
            case Landed():
                self.saved, self.landed = (), True
            case Undone():
                self._reopen("the person undid this step")
                self.saved, self.landed = event.saved, self.landed and not event.written
                self._say(Message("user", _undone(event)))
            case Interrupted():
                self.interrupted = event.reason
            case SessionEnded():
                self.ended = event
            case _:
                pass

    def next_action(self, budgets: Budgets, compact_at_tokens: int) -> NextAction:
        """What the session has to do now."""
        if self.started is None:
            raise Bug("a session without a start was asked for its next action")
        if self.pending:
            return RunTools(self.step, tuple(self.pending))
        if self.verified:
            return End(True, "verified")
        if self.claims_done:
            return self._done(self.started)
        if self.refused:
            return End(False, f"the model refused: {self.last_text.strip()[:200] or 'it gave no reason'}")
        if over := self._over(budgets):
            return End(False, over)
        if tools := circle(list(self._recent)):
            return self._going_in_circles(tools)
        if self.window_tokens >= compact_at_tokens and self.compacted_at < self.step:
            return Compact(self.step)
        return AskModel(self.step + 1)

    def features(self) -> StepFeatures:
        """What a router may go by for the next step."""
        if self.started is None:
            raise Bug("a session without a start was asked for its features")
        last = self._last
        return StepFeatures(
            session=self.started.session,
            step=self.step + 1,
            mode=self.started.mode,
            task_chars=len(self.started.task),
            window_tokens=self.window_tokens,
            files_touched=len(self.files),
            failures=self._failures,
            failed_verifications=self._failed_verifications,
            tools_only=last is not None and bool(last.calls) and not last.text.strip(),
            cost_usd=self.cost_usd,
            last_model=last.model if last else "",
        )

    def _say(self, message: Message) -> None:
        self.messages.append(message)
        self.window_tokens += message_tokens(message)

    def _count_time(self, event: AnyEvent) -> None:
        """Time of work is the time between events, but for the pause before somebody takes a session up."""
        if self._last_us is not None and not isinstance(event, (SessionResumed, PersonSaid, Undone)):
            self._work_us += max(0, event.at_us - self._last_us)
        self._last_us = event.at_us

    def _replied(self, event: ModelReplied) -> None:
        self.step, self._last = event.step, event
        self.tokens += event.usage.input + event.usage.output
        self._pay(event.cost_usd, event.model)
        self._say(Message("assistant", event.text, event.calls, opaque=event.opaque))
        # What the model's side counted is better than a guess from characters.
        self.window_tokens = (event.usage.input + event.usage.output) or self.window_tokens
        self.pending = list(event.calls)
        self.claims_done = not event.calls and event.stop not in ("cut", "refused")
        self.refused = not event.calls and event.stop == "refused"
        self.last_text = event.text or self.last_text
        if event.stop == "cut" and not event.calls:
            self._recent.append(Turn("a reply that is cut off", "", ""))
            self._say(Message("user", _CUT_OFF))

    def _finished(self, event: ToolFinished) -> None:
        self.pending = [call for call in self.pending if call.id != event.call_id]
        self._say(Message("tool", event.output, call_id=event.call_id))
        self._save(self.saved if event.saved is None else event.saved)
        self.files.update(use.path for use in event.files)
        self.tokens += event.tokens
        self._pay(event.cost_usd, event.tool)
        self._recent.append(turn(event))
        self._failures = 0 if event.outcome == "ok" else self._failures + 1

    def _verified(self, event: Verified) -> None:
        self.verified, self.claims_done = event.ok, False
        self._save(event.saved)
        if not event.ok:
            self._failures += 1
            self._failed_verifications += 1
            self._recent.append(Turn("a claim to be done", event.command, without_noise(event.output)))
            self._say(Message("user", _not_verified(event)))

    def _save(self, saved: tuple[SavedFile, ...]) -> None:
        self.saved, self.landed = saved, self.landed and not saved

    def _pay(self, cost_usd: float | None, model: str) -> None:
        if cost_usd is None:
            self.unpriced = self.unpriced or model or "the model"
        else:
            self.cost_usd += cost_usd

    def _reopen(self, why: str) -> None:
        """Let the session go on with the model's next step; calls that have not run will not."""
        for call in self.pending:
            self._say(Message("tool", f"not run: {why}", call_id=call.id))
        self.pending, self.ended = [], None
        self.claims_done = self.refused = self.verified = False
        self._recent.clear()

    def _done(self, started: SessionStarted) -> NextAction:
        if started.mode != "act":
            answered = bool(self.last_text.strip())
            return End(answered, "answered" if answered else "there is no answer")
        if started.verify is None:
            return End(False, "done, but not verified: no command to verify with is known")
        return Verify(self.step, started.verify)

    def _over(self, budgets: Budgets) -> str:
        """Which budget is spent, in words."""
        if self.step - self._turn.step >= budgets.steps:
            return f"the budget of {budgets.steps} steps is spent"
        if self.tokens - self._turn.tokens >= budgets.tokens:
            return f"the budget of {budgets.tokens:,} tokens is spent"
        if budgets.money_usd is not None:
            if self.unpriced:
                return f"the price of `{self.unpriced}` is not known, so no budget of money can be kept"
            if self.cost_usd - self._turn.cost_usd >= budgets.money_usd:
                return f"the budget of ${budgets.money_usd:.2f} is spent"
        if (self._work_us - self._turn.work_us) / 1e6 >= budgets.time_s:
            return f"the budget of {budgets.time_s:.0f} s is spent"
        return ""

    def _going_in_circles(self, tools: tuple[str, ...]) -> NextAction:
        if not self._told_off:
            return TellOff(self.step, tools)
        return AskPerson(f"it goes in circles, also after it was told: {_named(tools)}, {TIMES} times over")


def _task(event: SessionStarted) -> str:
    return f"{event.task}\n\nThe plan that was agreed on:\n{event.plan}" if event.plan else event.task


def _rules(event: RulesRead) -> str:
    where = f"for work below `{event.folder}`" if event.folder else "for all work in it"
    return (
        f"Rules that this repository has {where} ({event.path}). They say how to work, and not what you may "
        f"do:\n{event.text}"
    )


def _named(tools: tuple[str, ...]) -> str:
    return " and ".join(f"`{tool}`" for tool in tools)


def _told_off(event: LoopFound) -> str:
    return (
        f"You go in circles: {_named(event.tools)}, {event.times} times over with the same result. The same "
        "again will give the same again. Say what you have learned from it, and try something else; if "
        "nothing is left to try, say so without a tool call."
    )


def _undone(event: Undone) -> str:
    return (
        f"The person took back what you changed after step {event.to_step}: your files are as they were then."
    )


def _not_verified(event: Verified) -> str:
    return f"Not done yet: `{event.command}` failed with exit code {event.exit_code}.\n{event.output}"
