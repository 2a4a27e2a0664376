"""`weft sandbox shell`, as a person at a terminal and through a pipe."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.sandbox
PROMPT = "(sandbox) "


class Terminal:
    """A terminal with `weft sandbox …` in it."""

    def __init__(self, workspace: Path, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        self.resize(30, 100)
        self._before = termios.tcgetattr(theirs)
        self._theirs = theirs
        self.process = subprocess.Popen(
            [sys.executable, "-m", "weft", "sandbox", *words],
            cwd=workspace,
            env=os.environ | {"TERM": "dumb"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def until(self, text: str) -> str:
        """What is shown up to the text."""
        shown = ""
        deadline = time.monotonic() + 30
        while text not in shown:
            left = deadline - time.monotonic()
            assert left > 0, shown
            assert select.select([self._ours], [], [], left)[0], shown
            shown += os.read(self._ours, 1 << 16).decode()
        return shown

    def ended(self) -> int:
        return self.process.wait(30)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self._theirs) == self._before

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@pytest.fixture
def terminal(workspace: Path) -> Iterator[Terminal]:
    made = Terminal(workspace, "shell", "--keep")
    yield made
    made.close()


def test_a_person_has_a_terminal_inside(terminal: Terminal, workspace: Path) -> None:
    terminal.until(PROMPT)
    terminal.type("stty size; tty; echo $(( 6 * 7 )) > c.txt\r")
    shown = terminal.until(PROMPT)
    assert "30 100\r\n" in shown
    assert "/dev/pts/0\r\n" in shown
    terminal.resize(40, 120)
    terminal.type("stty size\r")
    assert "40 120\r\n" in terminal.until("120\r\n")
    terminal.type("exit 5\r")
    terminal.until("1 file changed: kept")
    assert terminal.ended() == 5
    assert terminal.is_as_before()
    assert (workspace / "c.txt").read_text() == "42\n"


def test_jobs_are_interrupted_stopped_and_resumed(terminal: Terminal) -> None:
    job = """sh -c 'trap "echo resumed" CONT; echo ready; while :; do sleep 0.02; done'"""
    terminal.until(PROMPT)
    terminal.type(f"{job}\r")
    terminal.until("\nready\r\n")
    terminal.type("\x03")
    terminal.until(PROMPT)
    terminal.type(f"echo code $?; {job}\r")
    assert "code 130\r\n" in terminal.until("\nready\r\n")
    terminal.type("\x1a")
    assert "Stopped" in terminal.until(PROMPT)
    terminal.type("fg\r")
    terminal.until("\nresumed\r\n")
    terminal.type("\x03")
    terminal.until(PROMPT)
    terminal.type("exit $?\r")
    terminal.until("no file changed")
    assert terminal.ended() == 130


def test_output_of_run_cannot_command_a_terminal(workspace: Path) -> None:
    terminal = Terminal(workspace, "run", "--", "printf", r"\033[2Jhidden\nplain\n")
    shown = terminal.until("no file changed")
    assert "\\x1b[2Jhidden\r\nplain\r\n" in shown
    assert "\x1b" not in shown
    assert terminal.ended() == 0
    terminal.close()


def test_lines_from_a_pipe_are_run(weft: Any, workspace: Path) -> None:
    done = weft("shell", stdin="cat a.txt\necho got `wc -l < a.txt`; echo x > d.txt; exit 3\necho never\n")
    assert (done.code, done.out) == (3, "one\ntwo\ngot 2\n")
    assert done.err == "  added d.txt +1 -0\n1 file changed: thrown away; --keep writes them\n"
    assert not (workspace / "d.txt").exists()


def test_a_shell_ends_with_its_input_and_at_its_timeout(weft: Any, workspace: Path) -> None:
    assert weft("shell", stdin="").code == 0
    assert weft("shell --timeout 0.3", stdin="sleep 60\n").code == 124
