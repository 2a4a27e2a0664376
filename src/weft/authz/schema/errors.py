"""What is wrong with a schema, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weft.authz.schema.model import Span
from weft.core.errors import Invalid


class Problem(NamedTuple):
    """One thing wrong with a schema; `at` is None in a model that no text stands behind."""

    message: str
    hint: str = ""
    at: Span | None = None


class SchemaError(Invalid):
    """A schema does not parse or does not make sense; `line` and `column` count from 1, 0 where unknown."""

    code = "invalid_schema"

    def __init__(self, problems: Sequence[Problem], source: str = "") -> None:
        first = problems[0]
        self.line, self.column, _ = first.at or Span(0, 0)
        place = f"line {self.line}, column {self.column}: " if first.at else ""
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(place + first.message + more, hint=first.hint, line=self.line, column=self.column)
        self.problems = tuple(problems)
        """All that was found, the first in the text first."""
        self.excerpt = excerpt(source, first.at) if first.at else ""
        """The line in question with a caret under the place, for terminals."""


def excerpt(source: str, at: Span) -> str:
    """The line of a span with carets under it; long lines are cut to the part around it."""
    lines = source.split("\n")
    line = lines[at.line - 1].rstrip("\r") if at.line <= len(lines) else ""
    start = max(0, at.column - 60)
    shown = line[start : start + 100].replace("\t", " ")
    carets = "^" * max(1, min(at.length, len(shown) - (at.column - 1 - start)))
    number = str(at.line)
    return f"{number} | {shown}\n{' ' * len(number)} | {' ' * (at.column - 1 - start)}{carets}"
