"""What every patch format says, as data."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from weft.agent.edits.model import SearchReplace

CONTEXT: Final = " "
ADD: Final = "+"
REMOVE: Final = "-"


class PatchHunk(NamedTuple):
    """One change: marked lines, and every hint about where they stand."""

    lines: tuple[tuple[str, str], ...]
    """(mark, text without line ending)."""
    anchors: tuple[str, ...] = ()
    start: int | None = None
    """First old line, from 1, as a unified header says it."""
    new_start: int | None = None
    counts_fit: bool = False
    end_of_file: bool = False
    old_open: bool = False
    """The old text has no final line ending."""
    new_open: bool = False

    @property
    def old(self) -> list[str]:
        return [text for mark, text in self.lines if mark != ADD]

    @property
    def new(self) -> list[str]:
        return [text for mark, text in self.lines if mark != REMOVE]


class FilePatch(NamedTuple):
    kind: Literal["add", "update", "delete"]
    path: str
    text: str = ""
    """Of an added file."""
    hunks: tuple[PatchHunk, ...] = ()
    move_to: str | None = None
    edits: tuple[SearchReplace, ...] = ()
    """Of a format without hunks."""


def is_v4a(patch: str) -> bool:
    return any(line.strip() == "*** Begin Patch" for line in patch.splitlines())


def patch_lines(patch: str) -> list[str]:
    """The patch's lines; a line ending of the patch itself says nothing about the file's."""
    lines = [line.removesuffix("\r") for line in patch.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines
