"""Tools that run something: run_command, command_output, run_tests."""

from __future__ import annotations

import itertools
import shlex
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from weft.agent.events import CommandUse
from weft.agent.policy import Access
from weft.agent.sandbox import Job, Promise, Result, Sandbox
from weft.agent.sandbox.denials import denials
from weft.agent.tools.output import Outputs
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import command_access
from weft.agent.tools.reports import summarise
from weft.core import limits
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import NotFound

# Caches of test runs are no part of a change.
ENVIRONMENT: Final = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "-p no:cacheprovider"}
_TIMED_OUT: Final = 124


class RunCommandArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, Meta(description="for /bin/sh, run in the root of the workspace", min_length=1)]
    timeout_s: Annotated[float, Meta(gt=0, le=limits.MAX_COMMAND_S)] = 120.0
    background: Annotated[bool, Meta(description="let it run on, as a server; see command_output")] = False


class _Running(msgspec.Struct, frozen=True):
    command: str
    job: Job
    began_s: float
    confined: bool


class RunningCommands:
    """The commands of a session that run on, by number."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._numbers = itertools.count(1)
        self._running: dict[int, _Running] = {}

    def start(self, box: Sandbox, command: str) -> int:
        """The number of a command that now runs."""
        job = box.start(command, environment=ENVIRONMENT)
        number = next(self._numbers)
        confined = Promise.FILES in box.promises
        self._running[number] = _Running(command, job, self._clock.monotonic_s(), confined)
        return number

    def command(self, number: int) -> str:
        """What runs under a number."""
        running = self._running.get(number)
        if running is None:
            have = ", ".join(map(str, self._running)) or "none"
            raise NotFound(f"no command `{number}` runs", hint=f"those that run are: {have}")
        return running.command

    def look(self, number: int, wait_s: float, stop: bool, outputs: Outputs) -> Observation:
        """What a command said since the last look; waits for its first word, its end, or the time."""
        command = self.command(number)
        running = self._running[number]
        until_s = self._clock.monotonic_s() + wait_s
        try:
            seen = running.job.stop() if stop else running.job.poll(wait_s)
            while not (stop or seen.data or seen.exit_code is not None):
                left_s = until_s - self._clock.monotonic_s()
                if left_s <= 0:
                    break
                seen = running.job.poll(left_s)
        except NotFound as error:
            del self._running[number]
            raise NotFound(
                f"command `{number}` was ended, as all are before a verification", hint="start it again"
            ) from error
        lost = f"[{seen.omitted_bytes:,} bytes lost]\n" if seen.omitted_bytes else ""
        text = lost + seen.data.decode("utf-8", "replace")
        if seen.exit_code is None:
            return Observation(f"{outputs.shown(text.rstrip())}\n[running as {number}]".lstrip())
        del self._running[number]
        result = Result(
            exit_code=seen.exit_code,
            output=text,
            timed_out=seen.exit_code == _TIMED_OUT and not stop,
            duration_s=self._clock.monotonic_s() - running.began_s,
            denied=denials(text) if running.confined else (),
        )
        observation = observed(command, result, outputs.shown(text))
        return msgspec.structs.replace(observation, ok=True) if stop else observation


class RunCommand:
    name = "run_command"
    description = "Run a shell command in the sandbox: no network, changes stay in the copy of the workspace."
    read_only = False
    arguments = RunCommandArguments

    def __init__(self, running: RunningCommands) -> None:
        self._running = running

    def accesses(self, arguments: RunCommandArguments) -> list[Access]:
        return [command_access(arguments.command)]

    def run(self, arguments: RunCommandArguments, context: ToolContext) -> Observation:
        if arguments.background:
            number = self._running.start(context.box, arguments.command)
            return self._running.look(number, 1.0, False, context.outputs)
        result = run_in(context.box, arguments.command, min(arguments.timeout_s, context.deadline_s))
        return ended(arguments.command, result, context.outputs.shown(result.output))


class CommandOutputArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    number: int
    wait_s: Annotated[float, Meta(ge=0, le=60, description="wait so long for something new")] = 1.0
    stop: bool = False


class CommandOutput:
    name = "command_output"
    description = "What a background command said since the last look, and whether it runs; or stop it."
    read_only = False
    arguments = CommandOutputArguments

    def __init__(self, running: RunningCommands) -> None:
        self._running = running

    def accesses(self, arguments: CommandOutputArguments) -> list[Access]:
        return [command_access(self._running.command(arguments.number))]

    def run(self, arguments: CommandOutputArguments, context: ToolContext) -> Observation:
        return self._running.look(arguments.number, arguments.wait_s, arguments.stop, context.outputs)


class RunTestsArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    paths: Annotated[list[str], Meta(description="test files, folders or ids; all tests if empty")] = []


class RunTests:
    name = "run_tests"
    description = "Run this repository's tests and list the failures."
    read_only = False
    arguments = RunTestsArguments

    def __init__(self, test_command: str | None) -> None:
        self._test_command = test_command

    def accesses(self, arguments: RunTestsArguments) -> list[Access]:
        return [command_access(self._command(arguments))]

    def run(self, arguments: RunTestsArguments, context: ToolContext) -> Observation:
        command = self._command(arguments)
        result = run_in(context.box, command, context.deadline_s)
        text = summarise(result.output, result.exit_code, context.outputs.shown)
        return ended(command, result, text)

    def _command(self, arguments: RunTestsArguments) -> str:
        if self._test_command is None:
            raise ToolError("no test command is known for this repository", hint="use run_command")
        return " ".join([self._test_command, *map(shlex.quote, arguments.paths)])


def run_in(box: Sandbox, command: str, timeout_s: float) -> Result:
    """Run a command the way the agent does, for tools and for verification."""
    return box.run(command, timeout_s=max(0.1, timeout_s), environment=ENVIRONMENT)


def observed(command: str, result: Result, text: str) -> Observation:
    """What a model sees of a command that was run."""
    denied = tuple(f"{denial.kind}: {denial.what}" for denial in result.denied)
    use = CommandUse(command, result.exit_code, result.duration_s, result.timed_out, denied)
    status = (
        f"[timed out after {result.duration_s:.0f} s]" if result.timed_out else f"[exit {result.exit_code}]"
    )
    lacked = [f"[the sandbox refused {what}]" for what in denied]
    ok = result.exit_code == 0 and not result.timed_out
    return Observation("\n".join([text.rstrip("\n"), *lacked, status]).lstrip("\n"), ok, command=use)


def ended(command: str, result: Result, text: str) -> Observation:
    """The same of one that has ended, and that could be run again with what it lacked."""
    return msgspec.structs.replace(observed(command, result, text), lacked=result.denied)
