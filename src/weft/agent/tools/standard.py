"""The tools that a session has."""

from __future__ import annotations

from collections.abc import Iterable

from weft.agent.context import CodeIndex
from weft.agent.tools.conversation import AskUser, AskUserTool, Todo
from weft.agent.tools.diagnostics import Diagnostics
from weft.agent.tools.editing import ApplyPatch, EditFile, WriteFile
from weft.agent.tools.finding import Glob, Grep
from weft.agent.tools.history import GitDiff, GitLog
from weft.agent.tools.knowledge import GraphQuery, GraphReader
from weft.agent.tools.moving import DeleteFile, MoveFile
from weft.agent.tools.protocol import Tool
from weft.agent.tools.reading import ListDir, ReadFile, ReadOutput
from weft.agent.tools.running import CommandOutput, RunCommand, RunningCommands, RunTests
from weft.agent.tools.searching import FindReferences, FindSymbol, SearchCode


def standard_tools(
    test_command: str | None,
    *,
    index: CodeIndex | None = None,
    ask_user: AskUser | None = None,
    graph: GraphReader | None = None,
    more: Iterable[Tool] = (),
) -> list[Tool]:
    """Fresh tools for one session. `test_command` is what run_tests runs; the tools that ask an index or a
    graph are there where one is given; `more` are others, such as those of MCP servers."""
    running = RunningCommands()
    tools: list[Tool] = [
        ReadFile(),
        ReadOutput(),
        ListDir(),
        Glob(),
        Grep(),
        EditFile(),
        ApplyPatch(),
        WriteFile(),
        DeleteFile(),
        MoveFile(),
        RunCommand(running),
        CommandOutput(running),
        RunTests(test_command),
        Diagnostics(),
        GitDiff(),
        GitLog(),
        Todo(),
        AskUserTool(ask_user),
    ]
    if index is not None:
        tools += [SearchCode(index), FindSymbol(index), FindReferences(index)]
    if graph is not None:
        tools.append(GraphQuery(graph))
    return [*tools, *more]
