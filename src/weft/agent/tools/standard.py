"""The tools that every session has."""

from __future__ import annotations

from weft.agent.tools.editing import ApplyPatch, EditFile, WriteFile
from weft.agent.tools.finding import Glob, Grep
from weft.agent.tools.protocol import Tool
from weft.agent.tools.reading import ListDir, ReadFile, ReadOutput
from weft.agent.tools.running import RunCommand, RunTests


def standard_tools(test_command: str | None) -> list[Tool]:
    """Reading, editing and running; `test_command` is what run_tests runs."""
    return [
        ReadFile(),
        ReadOutput(),
        ListDir(),
        Glob(),
        Grep(),
        EditFile(),
        ApplyPatch(),
        WriteFile(),
        RunCommand(),
        RunTests(test_command),
    ]
