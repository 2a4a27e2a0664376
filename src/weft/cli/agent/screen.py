"""A terminal that is written to from several threads: lines in colour, text as it streams, a line of status.

Whatever is written comes from models, files and people: it is shown and never obeyed.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterable
from typing import Final, NamedTuple

from weft.agent.secrets import redact
from weft.cli.terminal import escaped
from weft.core.clock import SYSTEM_CLOCK

_STYLES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_DIFF: Final = {"+": "green", "-": "red", "@": "cyan"}
_ERASE: Final = "\r\x1b[K"
_TICK_S: Final = 0.1
# Work that is over sooner needs no word on what it is.
_PATIENCE_S: Final = 0.3
_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_LAST_WORD: Final = re.compile(r"\S*\Z")


class Line(NamedTuple):
    """A line for people."""

    text: str
    style: str = ""


class Screen:
    """Standard output. `quiet` shows nothing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._lock = threading.RLock()
        self._inside_line = False
        self._held = ""
        self._doing: tuple[str, float] | None = None
        self._live = not quiet and sys.stdout.isatty() and sys.stderr.isatty()
        self._ended = threading.Event()
        self._ticker: threading.Thread | None = None

    def show(self, lines: Iterable[Line]) -> None:
        """Whole lines, below whatever is there."""
        with self._lock:
            self._end_line()
            for line in lines:
                for part in line.text.split("\n"):
                    self._write(self._styled(line.style, _safe(part)) + "\n")

    def say(self, text: str, style: str = "") -> None:
        """One line or several of the same style."""
        self.show([Line(text, style)])

    def stream(self, text: str) -> None:
        """A piece of a text that goes on. A word is shown once it is whole, as it might be a secret."""
        with self._lock:
            text = self._held + text
            self._held = _LAST_WORD.findall(text)[0]
            self._piece(text.removesuffix(self._held) if self._held else text)

    def doing(self, what: str) -> None:
        """Say what goes on, with its seconds, until something else does; nothing for an empty text."""
        with self._lock:
            self._erase()
            self._doing = (what, SYSTEM_CLOCK.monotonic_s()) if what else None
            if what and self._live and self._ticker is None:
                self._ticker = threading.Thread(target=self._tick, name="weft-status", daemon=True)
                self._ticker.start()

    def prompt(self, text: str) -> None:
        """A question; the answer is typed behind it."""
        with self._lock:
            self.doing("")
            self._end_line()
            self._write(self._styled("bold", _safe(text)) + " ")

    def answered(self, echoed: bool) -> None:
        """Whether the terminal itself ended the line of the prompt."""
        if not echoed:
            self.show([Line("")])

    def close(self) -> None:
        """End the line, and stop the status."""
        with self._lock:
            self.doing("")
            self._end_line()
            self._ended.set()
        if self._ticker:
            self._ticker.join()

    def _piece(self, text: str) -> None:
        if text:
            self._erase()
            self._write("\n".join(map(_safe, redact(text).split("\n"))))
            self._inside_line = not text.endswith("\n")

    def _end_line(self) -> None:
        held, self._held = self._held, ""
        self._piece(held)
        self._erase()
        if self._inside_line:
            self._write("\n")
            self._inside_line = False

    def _write(self, text: str) -> None:
        if not self._quiet:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _styled(self, style: str, text: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and text and self._colour else text

    def _erase(self) -> None:
        if self._live and self._doing and not self._inside_line:
            self._write(_ERASE)

    def _tick(self) -> None:
        frame = 0
        while not self._ended.wait(_TICK_S):
            with self._lock:
                if self._doing and not self._inside_line:
                    what, since_s = self._doing
                    lasted_s = SYSTEM_CLOCK.monotonic_s() - since_s
                    if lasted_s > _PATIENCE_S:
                        frame += 1
                        text = f"{_FRAMES[frame % len(_FRAMES)]} {_safe(what)} {lasted_s:.0f} s"
                        self._write(_ERASE + self._styled("dim", text[: _columns() - 1]))


def diff_lines(text: str) -> list[Line]:
    """A diff, each line in its colour."""
    return [Line(line, _DIFF.get(line[:1], "")) for line in text.splitlines()]


def _safe(line: str) -> str:
    return "\t".join(map(escaped, line.split("\t")))


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80
