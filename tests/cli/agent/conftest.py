"""`weft agent` beside a workspace whose greeting is misspelt, and a model's server on loopback."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from weft.agent.models.scripted import ScriptedCall
from weft.testing.model_server import Answer, ModelServer, reply

VERIFY = "grep -q hello greeting.txt"
LOOK = reply("I look.", ScriptedCall("read_file", {"path": "greeting.txt"}))
MEND = reply(
    "I mend it.", ScriptedCall("edit_file", {"path": "greeting.txt", "search": "helo", "replace": "hello"})
)
DONE = reply("It is spelt right.")
MENDING = (LOOK, MEND, DONE)

Serve = Callable[..., ModelServer]


@pytest.fixture
def noun() -> str:
    return "agent"


@pytest.fixture
def mending() -> tuple[Answer, ...]:
    """What a model replies that mends the greeting."""
    return MENDING


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "greeter"
    folder.mkdir()
    (folder / "greeting.txt").write_text("helo\n")
    return folder


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a server with these answers, in the chat format."""
    with ExitStack() as running:
        yield lambda *answers: running.enter_context(ModelServer(list[Answer](answers), format="chat"))


@pytest.fixture
def do(weft: Any, workspace: Path, serve: Serve) -> Any:
    """Runs one task in the workspace with these answers of the model, or those that mend the greeting."""

    def run(*answers: Answer, options: tuple[object, ...] = (), task: str = "mend the greeting") -> Any:
        url = serve(*(answers or MENDING)).url
        return weft("run", task, workspace, "--model", url, "--verify", VERIFY, *options)

    return run
