"""Tools that run something: run_command, run_tests."""

from __future__ import annotations

import shlex
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from weft.agent.events import CommandUse
from weft.agent.policy import Access
from weft.agent.sandbox import Result, Sandbox
from weft.agent.tools.output import clipped
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import command_access
from weft.agent.tools.reports import summarise
from weft.core import limits

# Caches of test runs are no part of a change.
ENVIRONMENT: Final = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_ADDOPTS": "-p no:cacheprovider"}


class RunCommandArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    command: Annotated[str, Meta(description="for /bin/sh, run in the root of the workspace", min_length=1)]
    timeout_s: Annotated[float, Meta(gt=0, le=limits.MAX_COMMAND_S, description="seconds")] = 120.0


class RunCommand:
    name = "run_command"
    description = "Run a shell command in the sandbox: no network, changes stay in the copy of the workspace."
    read_only = False
    arguments = RunCommandArguments

    def accesses(self, arguments: RunCommandArguments) -> list[Access]:
        return [command_access(arguments.command)]

    def run(self, arguments: RunCommandArguments, context: ToolContext) -> Observation:
        result = run_in(context.box, arguments.command, min(arguments.timeout_s, context.deadline_s))
        return observed(arguments.command, result, clipped(result.output))


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
        return observed(command, result, summarise(result.output, result.exit_code))

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
