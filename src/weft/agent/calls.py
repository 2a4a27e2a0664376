"""From a model's tool calls to events: parse, ask the policy, run, keep the changes."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Final, Literal

import msgspec

from weft.agent.checkpoints import Checkpoints
from weft.agent.events import AnyEvent, Decided, SavedFile, ToolFinished
from weft.agent.models.protocol import ToolCall
from weft.agent.policy import Access, Allow, Ask, Policy, Question, Resource
from weft.agent.sandbox import SandboxFailed
from weft.agent.timing import Stopwatch
from weft.agent.tools.protocol import Observation, Tool, Toolbox, ToolContext
from weft.core.errors import WeftError

Approve = Callable[[Question, str], bool]
"""Asked by a person's side: the question and the reason for asking; True allows."""

_PARALLEL_CALLS: Final = 8


class Gate:
    """Puts questions to the policy, and to a person where the policy says so."""

    def __init__(
        self, policy: Policy, *, session: str, user: str, approve: Approve | None, stopwatch: Stopwatch
    ) -> None:
        self._policy = policy
        self._session = session
        self._user = user
        self._approve = approve
        self._stopwatch = stopwatch

    def decide(self, step: int, call_id: str, tool: str, access: Access) -> Decided:
        """The final answer to one access, as an event."""
        question = Question(self._session, self._user, tool, access)
        with self._stopwatch.phase("policy"):
            decision = self._policy.decide(question)
        allowed, asked = isinstance(decision, Allow), isinstance(decision, Ask)
        reason = decision.reason
        if isinstance(decision, Ask):
            if self._approve is None:
                reason = f"needs a person's consent to {decision.reason}, and nobody is there to ask"
            else:
                allowed = self._approve(question, decision.reason)
                reason = f"a person {'agreed' if allowed else 'refused'} to {decision.reason}"
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


class _Ready(msgspec.Struct, frozen=True):
    """A call that may run."""

    call: ToolCall
    tool: Tool
    arguments: msgspec.Struct


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

    def run(self, step: int, calls: Sequence[ToolCall]) -> Iterator[AnyEvent]:
        """The events of the calls, in the order of the calls."""
        for reading, group in groupby(calls, key=lambda call: self._toolbox.is_read_only(call.name)):
            if reading:
                yield from self._side_by_side(step, list(group))
            else:
                for call in group:
                    events, ready = self._admit(step, call)
                    yield from events
                    if ready:
                        yield self._finish(step, ready)

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
            return self._checkpoints.save(self._context.box)

    def _side_by_side(self, step: int, calls: Sequence[ToolCall]) -> Iterator[AnyEvent]:
        admitted = [self._admit(step, call) for call in calls]
        with ThreadPoolExecutor(_PARALLEL_CALLS) as pool:
            running = [pool.submit(self._finish, step, ready) if ready else None for _, ready in admitted]
            for (events, _), future in zip(admitted, running, strict=True):
                yield from events
                if future:
                    yield future.result()

    def _admit(self, step: int, call: ToolCall) -> tuple[list[AnyEvent], _Ready | None]:
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
            decided = self._gate.decide(step, call.id, call.name, access)
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
        with self._stopwatch.phase("tools") as span:
            try:
                seen = ready.tool.run(ready.arguments, self._context)
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
        )


def _observed(step: int, call: ToolCall, outcome: Literal["invalid", "denied"], text: str) -> ToolFinished:
    return ToolFinished(
        step=step, call_id=call.id, tool=call.name, arguments=call.arguments, outcome=outcome, output=text
    )
