"""A terminal of its own for a command: what a person types goes in, what they see comes out."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

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

    def _read_until(self, done: object, what: str, until_end: bool = False) -> None:
        until_s = time.monotonic() + _WAIT_S
        while not done():  # type: ignore[operator]
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
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
