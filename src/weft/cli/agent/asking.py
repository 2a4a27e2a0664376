"""The person at the keyboard: asked where the policy asks, and where the agent has a question."""

from __future__ import annotations

import select
import sys
import termios
from collections.abc import Callable
from typing import Final

from weft.agent.policy import Answer, Question
from weft.cli.agent.screen import Line, Screen

_KEYS: Final = {
    "y": (Answer.ONCE, "once"),
    "s": (Answer.SESSION, "for the session"),
    "o": (Answer.OUTSIDE, "run it outside the sandbox"),
    "n": (Answer.REFUSE, "refuse"),
}
# What a command runs may change after it was approved.
_KEYS_TO_LEAVE: Final = {
    "y": (Answer.OUTSIDE, "once"),
    "s": (Answer.OUTSIDE_SESSION, "for the session, whatever its files then say"),
    "n": (Answer.REFUSE, "refuse"),
}
_POLL_S: Final = 0.05


class Person:
    """Answers by lines of standard input. The end of input refuses, and answers no question."""

    def __init__(self, screen: Screen, *, there: bool) -> None:
        """`there` says whether anybody can be asked."""
        self.there = there
        self._screen = screen
        self.stopped: Callable[[], bool] = lambda: False
        """Whether to leave the question unanswered, by `KeyboardInterrupt`."""

    def approve(self, question: Question, reason: str) -> Answer:
        """Ask for consent, until the answer is one of those offered."""
        _forget_typed_ahead()
        known = _KEYS_TO_LEAVE if question.access.action == "run_outside" else _KEYS
        keys = {key: found for key, found in known.items() if found[0] in question.answers}
        offered = ", ".join(f"[{key}] {words}" for key, (_, words) in keys.items())
        while True:
            line = self._ask(f"May it {reason}? {offered}:")
            if found := keys.get("n" if line is None else line.strip().lower()[:1]):
                return found[0]

    def answer(self, question: str, options: tuple[str, ...]) -> str | None:
        """What the person says to the agent's question; an option may be given by its number."""
        lines = [Line(f"the agent asks: {question}", "yellow")]
        lines += [Line(f"  {number}. {option}") for number, option in enumerate(options, 1)]
        self._screen.show(lines)
        line = self._ask("answer:")
        if line is None or not line.strip():
            return None
        chosen = line.strip()
        return options[int(chosen) - 1] if chosen in map(str, range(1, len(options) + 1)) else chosen

    def _ask(self, prompt: str) -> str | None:
        self._screen.prompt(prompt)
        line = self._read()
        self._screen.answered(echoed=sys.stdin.isatty() and line is not None)
        return line

    def _read(self) -> str | None:
        """The next line without its end; None at the end of input. From any thread."""
        while sys.stdin.isatty() and not select.select([sys.stdin], [], [], _POLL_S)[0]:
            if self.stopped():
                raise KeyboardInterrupt
        line = sys.stdin.readline()
        return line.rstrip("\r\n") if line else None


def _forget_typed_ahead() -> None:
    """What was typed before a question was there is no answer to it."""
    if sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
