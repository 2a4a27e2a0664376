"""Unified diffs, from `diff -u` or git, also with wrong line numbers and wrong counts."""

from __future__ import annotations

import re
from typing import Final

from weft.agent.edits.model import EditError
from weft.agent.edits.patch_format import ADD, CONTEXT, REMOVE, FilePatch, PatchHunk, patch_lines

_HEADER: Final = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
_NO_ENDING: Final = "\\ No newline"
_NULL: Final = "/dev/null"


def parse_unified(patch: str) -> list[FilePatch]:
    """The files of a unified diff; `EditError` when there is none."""
    reader = _Reader(patch_lines(patch))
    files = reader.files()
    if not files:
        raise EditError(
            "the patch is neither a unified diff nor `*** Begin Patch`",
            hint="write `--- a/PATH`, `+++ b/PATH` and `@@` hunks",
        )
    return files


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0

    def files(self) -> list[FilePatch]:
        files = []
        renamed: dict[str, str] = {}
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.startswith(("rename from ", "rename to ")):
                renamed[line.split(" ", 2)[1]] = line.split(" ", 2)[2]
                if len(renamed) == 2 and not self._hunks_follow():
                    files.append(FilePatch("update", renamed["from"], move_to=renamed["to"]))
                    renamed = {}
            if self._at_file():
                files.append(self._file(renamed))
                renamed = {}
            else:
                self.at += 1
        return files

    def _hunks_follow(self) -> bool:
        """Whether the rename just read comes with changes: a `---` line before the next file begins."""
        for i in range(self.at + 1, len(self.lines)):
            if self.lines[i].startswith("diff "):
                return False
            if self.lines[i].startswith("--- "):
                return True
        return False

    def _at_file(self, at: int | None = None) -> bool:
        i = self.at if at is None else at
        pair = self.lines[i : i + 2]
        return len(pair) == 2 and pair[0].startswith("--- ") and pair[1].startswith("+++ ")

    def _file(self, renamed: dict[str, str]) -> FilePatch:
        old, new = (_path(line) for line in self.lines[self.at : self.at + 2])
        self.at += 2
        hunks = []
        while self.at < len(self.lines) and self.lines[self.at].startswith("@@"):
            hunks.append(self._hunk())
        if old == _NULL:
            return FilePatch("add", new, _text(hunks))
        if new == _NULL:
            return FilePatch("delete", old, hunks=tuple(hunks))
        if not hunks:
            raise EditError(
                f"{new}: the diff has no hunk", hint="write a `@@ -START,COUNT +START,COUNT @@` hunk"
            )
        moved = renamed.get("to") or (new if new != old else None)
        return FilePatch("update", renamed.get("from") or old, hunks=tuple(hunks), move_to=moved)

    def _hunk(self) -> PatchHunk:
        header = _HEADER.match(self.lines[self.at])
        self.at += 1
        start, fits, raw = None, False, None
        new_start = None
        if header:
            start, new_start = int(header[1]), int(header[3])
            raw = self._counted(int(header[2] or 1), int(header[4] or 1))
            fits = raw is not None
        raw = self._until_next() if raw is None else raw
        return _hunk(raw, start, new_start, fits)

    def _counted(self, old: int, new: int) -> list[str] | None:
        """The lines of the hunk by its counts; None, with nothing read, when the counts do not fit."""
        i = self.at
        while i < len(self.lines) and (old > 0 or new > 0 or self.lines[i].startswith("\\")):
            mark = self.lines[i][:1] or CONTEXT
            old -= mark in (CONTEXT, REMOVE)
            new -= mark in (CONTEXT, ADD)
            i += 1
        ended = i >= len(self.lines) or self.lines[i].startswith(("@@", "diff ")) or self._at_file(i)
        if old or new or not ended:
            return None
        raw, self.at = self.lines[self.at : i], i
        return raw

    def _until_next(self) -> list[str]:
        raw = []
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.startswith(("@@", "diff --git ")) or self._at_file():
                break
            raw.append(line)
            self.at += 1
        while raw and not raw[-1]:
            raw.pop()
        return raw


def _hunk(raw: list[str], start: int | None, new_start: int | None, fits: bool) -> PatchHunk:
    lines: list[tuple[str, str]] = []
    old_open = new_open = False
    for line in raw:
        if line.startswith(_NO_ENDING):
            mark = lines[-1][0] if lines else CONTEXT
            old_open = old_open or mark in (CONTEXT, REMOVE)
            new_open = new_open or mark in (CONTEXT, ADD)
        elif not line or line[0] in (CONTEXT, ADD, REMOVE):
            lines.append((line[:1] or CONTEXT, line[1:]))
        else:
            raise EditError(
                f"the line `{line}` of a hunk does not begin with a blank, `+` or `-`",
                hint="begin each line of a hunk with one of them",
            )
    if not lines:
        raise EditError("a hunk of the patch has no lines", hint="leave it out")
    return PatchHunk(tuple(lines), (), start, new_start, fits, old_open=old_open, new_open=new_open)


def _text(hunks: list[PatchHunk]) -> str:
    text = "".join(line + "\n" for hunk in hunks for line in hunk.new)
    return text.removesuffix("\n") if hunks and hunks[-1].new_open else text


def _path(line: str) -> str:
    path = line[4:].split("\t")[0].strip()
    if path.startswith('"') and path.endswith('"'):
        path = path[1:-1]
    return path if path == _NULL else re.sub(r"^[ab]/", "", path)
