"""A small repository with a history, a sandbox around it, and the standard tools to use in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.agent.context import CodeIndex
from weft.agent.models import ToolCall
from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.tools import Observation, Toolbox, ToolContext, standard_tools
from weft.testing.agent import failing_repository

Use = Callable[..., Observation]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return failing_repository(tmp_path / "repository")


@pytest.fixture
def box(repository: Path) -> Iterator[Sandbox]:
    with Sandbox.open(repository, provider=Unconfined()) as opened:
        yield opened


@pytest.fixture
def may_read() -> Callable[[str], bool]:
    """Nothing is hidden but what is called so."""
    return lambda path: "hidden" not in path


@pytest.fixture
def use(box: Sandbox, repository: Path, may_read: Callable[[str], bool]) -> Use:
    tools = standard_tools("echo tests of", index=CodeIndex.open(repository), ask_user=lambda q, o: None)
    return user(Toolbox(tools), ToolContext(box, "echo tests of", 30.0, may_read))


def user(toolbox: Toolbox, context: ToolContext) -> Use:
    """Runs a tool by name with arguments, as a model's call is run, but for the policy."""

    def run(name: str, /, **arguments: Any) -> Observation:
        tool, parsed = toolbox.parse(ToolCall("1", name, msgspec.json.encode(arguments).decode()))
        tool.accesses(parsed)
        return tool.run(parsed, context)

    return run
