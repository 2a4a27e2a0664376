"""From a model's tool calls to events: parse, ask the policy, run, keep the changes."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from types import TracebackType
from typing import Final, Literal, Self

import msgspec

from weft.agent.checkpoints import Checkpoints
from weft.agent.commands import has_pipe
from weft.agent.events import AnyEvent, Decided, SavedFile, ToolFinished, Verified
from weft.agent.gate import Gate, NeedsPerson
from weft.agent.interrupting import Interruption
from weft.agent.models.protocol import ToolCall
from weft.agent.offering import NOTHING, Elsewhere, Offers, Remedy
from weft.agent.policy import Access, Resource
from weft.agent.sandbox import SandboxFailed
from weft.agent.timing import Stopwatch
from weft.agent.tools.protocol import Observation, Tool, Toolbox, ToolContext
from weft.agent.tools.reports import summarise
from weft.agent.tools.running import ended, run_in
from weft.core.errors import WeftError

_PARALLEL_CALLS: Final = 8
# A command that still lacks something after so many tries is one to be thought about.
_MAX_TRIES: Final = 4

# These cost money or a person's attention, or reach another server: they wait until the reply that asks for
# them is on record.
_NEVER_EARLY: Final = ("explore", "ask_user", "mcp__")


class _Ready(msgspec.Struct, frozen=True):
    """A call that may run."""

    call: ToolCall
    tool: Tool
    arguments: msgspec.Struct
    remedy: Remedy = NOTHING
    """What it may have beyond the session's sandbox."""


class _Tried(msgspec.Struct, frozen=True):
    """What came of running a call, and how long it ran."""

    seen: Observation
    duration_s: float


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
        offers: Offers,
        elsewhere: Elsewhere,
        interruption: Interruption,
    ) -> None:
        self._interruption = interruption
        self._offers = offers
        self._elsewhere = elsewhere
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
                        yield from self._carry_out(step, ready)

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

    def verify(self, step: int, command: str, notes: Sequence[str]) -> Iterator[Decided | Verified]:
        """Run what has to succeed, and again with what it lacked, as calls are; `Verified` comes last."""

        def attempt(remedy: Remedy) -> _Tried:
            with (
                self._stopwatch.phase("verification"),
                self._elsewhere.box(remedy) as box,
                self._interruption.ending_commands(box),
            ):
                result = run_in(box, command, self._context.deadline_s)
            seen = ended(command, result, "")
            text = summarise(result.output, result.exit_code)
            return _Tried(msgspec.structs.replace(seen, text=text), result.duration_s)

        tried = yield from self._with_what_it_lacks(step, "", "verification", attempt, NOTHING)
        assert tried.seen.command is not None
        yield Verified(
            step=step,
            command=command,
            ok=tried.seen.ok,
            output="\n".join([*notes, tried.seen.text]),
            exit_code=tried.seen.command.exit_code,
            duration_s=tried.duration_s,
            saved=self.save(),
        )

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
        remedy = NOTHING
        for access in accesses:
            decided = self._gate.decide(step, call.id, call.name, access, may_ask=may_ask)
            events.append(decided)
            if decided.effect == "deny":
                offered, more = self._foreseen(step, call, tool, arguments, access)
                events += offered
                if more is None:
                    text = "; ".join(f"{each.reason}" for each in (decided, *offered))
                    return [*events, _observed(step, call, "denied", f"denied, and not run: {text}")], None
                remedy = more
        return events, _Ready(call, tool, arguments, remedy)

    def _foreseen(
        self, step: int, call: ToolCall, tool: Tool, arguments: msgspec.Struct, access: Access
    ) -> tuple[list[Decided], Remedy | None]:
        """What a command that is denied in the sandbox, since it would lack something there, may have."""
        # What runs on would end with the sandbox that was opened for it.
        if access.action != "run" or tool.read_only or getattr(arguments, "background", False):
            return [], None
        command = access.resource.name
        lacked = self._offers.foreseen(command)
        return self._offers.ask(step, call.id, call.name, command, lacked, NOTHING)

    def _carry_out(self, step: int, ready: _Ready) -> Iterator[Decided | ToolFinished]:
        """Run a call, and again with what it lacked where the policy or a person lets it."""

        def attempt(remedy: Remedy) -> _Tried:
            return self._try(step, ready, remedy)

        tried = yield from self._with_what_it_lacks(
            step, ready.call.id, ready.call.name, attempt, ready.remedy
        )
        yield self._finished(step, ready, tried)

    def _with_what_it_lacks(
        self, step: int, call_id: str, tool: str, attempt: Callable[[Remedy], _Tried], remedy: Remedy
    ) -> Generator[Decided, None, _Tried]:
        """Attempts with ever more remedies, until one succeeds or there is nothing more to be had."""
        tried, notes = attempt(remedy), list[str]()
        for _ in range(_MAX_TRIES):
            command, lacked = tried.seen.command, tried.seen.lacked
            if command is None or not lacked or remedy.outside:
                break
            if tried.seen.ok and not has_pipe(command.command):
                break
            decided, more = self._offers.ask(step, call_id, tool, command.command, lacked, remedy)
            yield from decided
            if more is None:
                notes = [f"[{each.reason}]" for each in decided]
                break
            try:
                again = attempt(more)
            except WeftError as error:
                again = _Tried(Observation(str(error), ok=False), 0.0)
            if again.seen.command is None:
                notes = [f"[it could not run {more}: {again.seen.text}]"]
                break
            tried, remedy = again, more
        if remedy != NOTHING and tried.seen.command:
            notes.insert(0, f"[it ran {remedy}]")
        text = "\n".join([tried.seen.text, *notes])
        return _Tried(msgspec.structs.replace(tried.seen, text=text), tried.duration_s)

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
        return self._finished(step, ready, self._try(step, ready, NOTHING))

    def _try(self, step: int, ready: _Ready, remedy: Remedy) -> _Tried:
        context = msgspec.structs.replace(self._context, call=f"{step}.{ready.call.id}")
        with self._stopwatch.phase("tools") as span:
            try:
                with self._elsewhere.box(remedy) as box, self._interruption.ending_commands(box):
                    seen = ready.tool.run(ready.arguments, msgspec.structs.replace(context, box=box))
            except SandboxFailed:
                raise
            except WeftError as error:
                seen = Observation(str(error), ok=False)
        return _Tried(seen, span.so_far_s())

    def _finished(self, step: int, ready: _Ready, tried: _Tried) -> ToolFinished:
        seen = tried.seen
        return ToolFinished(
            step=step,
            call_id=ready.call.id,
            tool=ready.call.name,
            arguments=ready.call.arguments,
            outcome="ok" if seen.ok else "failed",
            output=seen.text,
            files=seen.files,
            command=seen.command,
            saved=None if ready.tool.read_only else self.save(),
            duration_s=tried.duration_s,
            child=seen.child,
            tokens=seen.tokens,
            cost_usd=seen.cost_usd,
        )


def _observed(step: int, call: ToolCall, outcome: Literal["invalid", "denied"], text: str) -> ToolFinished:
    return ToolFinished(
        step=step, call_id=call.id, tool=call.name, arguments=call.arguments, outcome=outcome, output=text
    )
