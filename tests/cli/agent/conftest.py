"""`weft agent` beside a workspace whose greeting is misspelt, a model's server, and a terminal."""

import fcntl
import os
import pty
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

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


@pytest.fixture
def at_terminal() -> Any:
    """Runs a command at a terminal of its own."""
    return Terminal


_WAIT_S = 20.0
_COLOURS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?2004[hl]")


class Terminal:
    """Runs `weft …` with its standard streams on a pseudo-terminal."""

    def __init__(self, words: Sequence[object], folder: Path, **environment: str) -> None:
        master, slave = pty.openpty()
        self._master = master
        self.raw = ""
        self._process = subprocess.Popen(
            [Path(sys.executable).with_name("weft"), *map(str, words)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=folder,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", **environment},
            start_new_session=True,
            preexec_fn=_own_terminal,
        )
        os.close(slave)

    def expect(self, text: str) -> None:
        """Wait until the text is on the screen."""
        self._read_until(lambda: text in self.seen, text)

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.type("\x03")

    def end(self) -> int:
        """Wait for the end; the exit status."""
        self._read_until(lambda: False, "its end", until_end=True)
        return self._process.wait(_WAIT_S)

    @property
    def seen(self) -> str:
        """What a person sees: without colours, and without what was erased again."""
        lines = _COLOURS.sub("", self.raw).replace("\r\n", "\n").split("\n")
        return "\n".join(line.rpartition("\r\x1b[K")[2] for line in lines)

    def _read_until(self, done: Callable[[], bool], what: str, until_end: bool = False) -> None:
        until_s = time.monotonic() + _WAIT_S
        while not done():
            ready, _, _ = select.select([self._master], [], [], max(0.0, until_s - time.monotonic()))
            assert ready, f"waited for {what!r}, and saw {self.seen!r}"
            try:
                piece = os.read(self._master, 1 << 16)
            except OSError:
                piece = b""
            if not piece:
                assert until_end, f"ended before {what!r}: {self.seen!r}"
                return
            self.raw += piece.decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._master)


def _own_terminal() -> None:
    """Make the pseudo-terminal the controlling one, so that Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
