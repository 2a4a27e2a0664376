"""The words of an edit: what is asked, what was done, and why it could not be done."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from weft.core.errors import Invalid


class SearchReplace(msgspec.Struct, frozen=True):
    """Replace the one place that reads `search` by `replace`."""

    search: str
    replace: str


class LineRange(msgspec.Struct, frozen=True):
    """Replace whole lines by their numbers, if the first and the last of them read as the author saw them."""

    start_line: int
    end_line: int
    """Inclusive, from 1."""
    first: str
    """The text of line `start_line`, so that stale numbers are noticed."""
    last: str
    """The text of line `end_line`."""
    replace: str


class WholeFile(msgspec.Struct, frozen=True):
    """Replace the whole text; a text that ends its lines with CRLF throughout, or has a BOM, keeps them."""

    content: str


Edit = SearchReplace | LineRange | WholeFile


class Hunk(msgspec.Struct, frozen=True):
    """One change that was made."""

    start_line: int
    """First line of the place, from 1, in the text as it was before this hunk."""
    old: str
    new: str
    steps: tuple[str, ...]
    """Which tolerances found the place, in order; `("exact",)` when none was needed."""


class Applied(msgspec.Struct, frozen=True):
    """The text after every edit, and what each did."""

    text: str
    hunks: tuple[Hunk, ...]


class Candidate(msgspec.Struct, frozen=True):
    """A place that the edit may have meant."""

    start_line: int
    end_line: int
    """Inclusive, from 1."""
    text: str
    similarity: float
    """0 to 1."""
    differences: tuple[str, ...] = ()
    """For each line that differs: `line N: file has ..., search has ...`."""


class EditError(Invalid):
    """The edit does not name exactly one place, or would change nothing."""

    code = "edit"

    def __init__(
        self, message: str, candidates: Sequence[Candidate] = (), *, hint: str = "", path: str | None = None
    ) -> None:
        super().__init__(message, hint=hint or "copy the text from the file as it is now", path=path)
        self.candidates = list(candidates)
        self.path = path

    def in_file(self, path: str) -> EditError:
        """The same error, naming the file."""
        return EditError(f"{path}: {self.message}", self.candidates, hint=self.hint, path=path)

    def report(self) -> str:
        """The message and the candidates as text for a model to act on."""
        parts = [str(self)]
        for candidate in self.candidates:
            parts.append(
                f"candidate at lines {candidate.start_line}-{candidate.end_line}, "
                f"{candidate.similarity:.0%} alike:\n{candidate.text}"
            )
            parts.extend(candidate.differences)
        return "\n".join(parts)
