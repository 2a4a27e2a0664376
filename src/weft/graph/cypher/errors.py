"""What is wrong with a query, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from weft.core.errors import Invalid

_SHOWN = 100


class QueryError(Invalid):
    """A query does not parse or does not fit the graph; `line` and `column` count from 1."""

    def __init__(self, message: str, hint: str, text: str, at: int, length: int = 1) -> None:
        start = text.rfind("\n", 0, at) + 1
        self.line = text.count("\n", 0, at) + 1
        self.column = at - start + 1
        super().__init__(
            f"line {self.line}, column {self.column}: {message}",
            hint=hint,
            line=self.line,
            column=self.column,
        )
        self.excerpt = _excerpt(text[start:].split("\n", 1)[0], self.line, at - start, length)
        """The line in question with a caret under the place, for terminals."""


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The hint for a name that does not exist: the closest that does, else `otherwise`, else all."""
    choices = sorted(known)
    lower = {one.lower(): one for one in choices}
    close = get_close_matches(name.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{lower[close[0]]}`?"
    return otherwise or "there are " + (", ".join(f"`{one}`" for one in choices) or "none")


def shown(text: str) -> str:
    """A piece of the query as messages quote it: short, on one line."""
    return text if len(text) <= 40 and text.isprintable() else ascii(text[:40])[1:-1] + "…"


def _excerpt(line: str, number: int, column: int, length: int) -> str:
    start = max(0, column - _SHOWN // 2)
    part = line[start : start + _SHOWN].replace("\t", " ")
    carets = "^" * max(1, min(length, len(part) - (column - start)))
    margin = " " * len(str(number))
    return f"{number} | {part}\n{margin} | {' ' * (column - start)}{carets}"
