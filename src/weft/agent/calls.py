"""From a model's tool calls to events: parse, ask the policy, run, keep the changes."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from weft.agent.checkpoints import Checkpoints
from weft.agent.events import AnyEvent, Decided, SavedFile, ToolFinished
from weft.agent.models.protocol import ToolCall
from weft.agent.policy import SESSION_APPROVAL_S, Access, Allow, Answer, Ask, Policy, Question, Resource
from weft.agent.sandbox import SandboxFailed
from weft.agent.timing import Stopwatch
from weft.agent.tools.protocol import Observation, Tool, Toolbox, ToolContext
from weft.core.errors import WeftError

Approve = Callable[[Question, str], Answer]
"""Asked by a person's side: the question and the reason for asking."""

_PARALLEL_CALLS: Final = 8

# These cost money or a person's attention, or reach another server: they wait until the reply that asks for
# them is on record.
_NEVER_EARLY: Final = ("explore", "ask_user", "mcp__")


class NeedsPerson(Exception):  # not an error: the call waits
    """Raised where only a person can give the answer and none may be asked yet."""


class Gate:
    """Puts questions to the policy, and to a person where the policy says so."""

    def __init__(
        self,
        policy: Policy,
        *,
        session: str,
        user: str,
        approve: Approve | None,
        stopwatch: Stopwatch,
        covered: Sequence[str] = (),
    ) -> None:
        """`covered` are the hidden paths that the sandbox was opened with."""
        self._covered = frozenset(covered)
        self._policy = policy
        self._session = session
        self._user = user
        self._approve = approve
        self._stopwatch = stopwatch

    def decide(self, step: int, call_id: str, tool: str, access: Access, *, may_ask: bool = True) -> Decided:
        """The final answer to one access, as an event; `NeedsPerson` where that takes a person who may not be
        asked."""
        question = Question(self._session, self._user, tool, access)
        with self._stopwatch.phase("policy"):
            decision = self._policy.decide(question)
        asked = isinstance(decision, Ask)
        allowed, reason = isinstance(decision, Allow), decision.reason
        if isinstance(decision, Ask):
            if not may_ask:
                raise NeedsPerson
            allowed, reason = self._ask(question, decision.reason)
        return Decided(
            step=step,
            call_id=call_id,
            tool=tool,
            access=access,
            effect="allow" if allowed else "deny",
            reason=reason,
            asked=asked,
        )

    def may_read(self, path: str) -> bool:
        """Whether a file that a tool came upon may be shown; leaves no event, for it shows nothing if not."""
        access = Access("read", Resource("file", path))
        with self._stopwatch.phase("policy"):
            return isinstance(self._policy.decide(Question(self._session, self._user, "", access)), Allow)

    def hidden(self) -> Sequence[str]:
        """The paths in the workspace that nothing in the sandbox may read."""
        with self._stopwatch.phase("policy"):
            return self._policy.hidden(self._session, self._user)

    def uncovered(self) -> list[str]:
        """The paths that were hidden since the sandbox opened, and that a command in it could still read."""
        return [path for path in self.hidden() if path not in self._covered]

    def _ask(self, question: Question, what: str) -> tuple[bool, str]:
        """Whether a person allows it, and why it is so."""
        if self._approve is None:
            return False, f"needs a person's consent to {what}, and nobody is there to ask"
        answer = self._approve(question, what)
        if answer is Answer.SESSION:
            self._policy.approve(question.session, question.access, SESSION_APPROVAL_S)
        return answer is not Answer.REFUSE, f"asked to {what}, a person said: {answer.value}"


class _Ready(msgspec.Struct, frozen=True):
    """A call that may run."""

    call: ToolCall
    tool: Tool
    arguments: msgspec.Struct


class _Running(msgspec.Struct, frozen=True):
    """A call that was let in and runs, or was not; its events are not recorded yet."""

    events: list[AnyEvent]
    finished: Future[ToolFinished] | None


class CallRunner:
    """Runs the calls of one reply in order; neighbours that only read run at the same time."""

    def __init__(
        self,
        toolbox: Toolbox,
        gate: Gate,
        context: ToolContext,
        checkpoints: Checkpoints,
        stopwatch: Stopwatch,
    ) -> None:
        self._toolbox = toolbox
        self._gate = gate
        self._context = context
        self._checkpoints = checkpoints
        self._stopwatch = stopwatch
        self._pool = ThreadPoolExecutor(_PARALLEL_CALLS, thread_name_prefix="weft-tool")
        self._early: dict[ToolCall, _Running] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            # Somebody wants to leave, and no call in another thread is to hold that up.
            self._context.box.close()
        self._pool.shutdown(cancel_futures=True)

    def may_start_early(self, name: str) -> bool:
        """Whether a call of this tool may run before the reply that asks for it has ended."""
        return self._toolbox.is_read_only(name) and not name.startswith(_NEVER_EARLY)

    def start_early(self, step: int, call: ToolCall) -> None:
        """Begin with a call while the reply goes on; `run` records it, or it was for nothing.

        A call that a person has to be asked about waits for `run`.
        """
        with contextlib.suppress(NeedsPerson):
            self._early[call] = self._start(step, call, may_ask=False)

    def run(self, step: int, calls: Sequence[ToolCall]) -> Iterator[AnyEvent]:
        """The events of the calls, in the order of the calls."""
        early, self._early = self._early, {}
        for reading, group in groupby(calls, key=lambda call: self._toolbox.is_read_only(call.name)):
            if reading:
                running = [early[call] if call in early else self._start(step, call) for call in group]
                for each in running:
                    yield from each.events
                    if each.finished:
                        yield each.finished.result()
            else:
                for call in group:
                    events, ready = self._admit(step, call)
                    yield from events
                    if ready:
                        yield self._finish(step, ready)

    def forget_early(self) -> None:
        """Drop what was begun for a reply that never came to its end."""
        self._early = {}

    def uncovered(self) -> list[str]:
        """The paths that were hidden since the sandbox opened."""
        return self._gate.uncovered()

    def undo_refused(self, step: int) -> list[Decided]:
        """Put back every changed file that the policy lets nobody write: commands are not asked file by file,
        and neither a verification nor a landing may rest on what they did there."""
        refused = []
        for change in self._context.box.changes():
            access = Access("write", Resource("file", change.path))
            decided = self._gate.decide(step, "", "verification", access)
            if decided.effect == "deny":
                with self._stopwatch.phase("sandbox"):
                    self._checkpoints.undo(self._context.box, change)
                refused.append(decided)
        return refused

    def save(self) -> tuple[SavedFile, ...]:
        """All changes so far, kept with the session."""
        with self._stopwatch.phase("sandbox"):
            return self._checkpoints.save(self._context.box.changes())

    def _start(self, step: int, call: ToolCall, may_ask: bool = True) -> _Running:
        """Let a call in, and begin with it in another thread."""
        events, ready = self._admit(step, call, may_ask)
        return _Running(events, self._pool.submit(self._finish, step, ready) if ready else None)

    def _admit(self, step: int, call: ToolCall, may_ask: bool = True) -> tuple[list[AnyEvent], _Ready | None]:
        """What was decided, and the call if it may run; otherwise the last event is its observation."""
        events: list[AnyEvent] = []
        try:
            tool, arguments = self._toolbox.parse(call)
            accesses = self._through_links(tool.accesses(arguments))
        except SandboxFailed:
            raise
        except WeftError as error:
            return [_observed(step, call, "invalid", str(error))], None
        for access in accesses:
            decided = self._gate.decide(step, call.id, call.name, access, may_ask=may_ask)
            events.append(decided)
            if decided.effect == "deny":
                text = f"denied, and not run: {decided.reason}"
                return [*events, _observed(step, call, "denied", text)], None
        return events, _Ready(call, tool, arguments)

    def _through_links(self, accesses: Sequence[Access]) -> list[Access]:
        """The accesses, and for a file that links lead elsewhere also the access to where they lead."""
        asked: list[Access] = []
        for access in accesses:
            asked.append(access)
            if access.resource.kind == "file":
                name = self._context.box.resolve(access.resource.name)
                if name != posixpath.normpath(access.resource.name):
                    asked.append(Access(access.action, Resource("file", name)))
        return asked

    def _finish(self, step: int, ready: _Ready) -> ToolFinished:
        context = msgspec.structs.replace(self._context, call=f"{step}.{ready.call.id}")
        with self._stopwatch.phase("tools") as span:
            try:
                seen = ready.tool.run(ready.arguments, context)
            except SandboxFailed:
                raise
            except WeftError as error:
                seen = Observation(str(error), ok=False)
        saved = None if ready.tool.read_only else self.save()
        return ToolFinished(
            step=step,
            call_id=ready.call.id,
            tool=ready.call.name,
            arguments=ready.call.arguments,
            outcome="ok" if seen.ok else "failed",
            output=seen.text,
            files=seen.files,
            command=seen.command,
            saved=saved,
            duration_s=span.so_far_s(),
            child=seen.child,
            tokens=seen.tokens,
            cost_usd=seen.cost_usd,
        )


def _observed(step: int, call: ToolCall, outcome: Literal["invalid", "denied"], text: str) -> ToolFinished:
    return ToolFinished(
        step=step, call_id=call.id, tool=call.name, arguments=call.arguments, outcome=outcome, output=text
    )
