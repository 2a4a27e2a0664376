"""Search and replace as text: `<<<<<<< SEARCH`, `=======`, `>>>>>>> REPLACE` below the path of the file."""

from __future__ import annotations

import re
from typing import Final

from weft.agent.edits.lines import is_blank
from weft.agent.edits.model import EditError, SearchReplace
from weft.agent.edits.patch_format import FilePatch, patch_lines

_SEARCH: Final = re.compile(r"<{7} ?SEARCH\s*")
_DIVIDER: Final = re.compile(r"={7}\s*")
_REPLACE: Final = re.compile(r">{7} ?REPLACE\s*")
_FENCE: Final = re.compile(r"\s*(```|~~~).*")


def is_blocks(patch: str) -> bool:
    return any(_SEARCH.fullmatch(line) for line in patch_lines(patch))


def parse_blocks(patch: str) -> list[FilePatch]:
    """The files of the blocks, in order; a block whose search is blank adds its file. `EditError` naming the
    line that does not belong."""
    reader = _Reader(patch_lines(patch))
    found: list[tuple[str, SearchReplace]] = []
    while (block := reader.block(found[-1][0] if found else "")) is not None:
        found.append(block)
    files: dict[str, list[SearchReplace]] = {}
    for path, edit in found:
        files.setdefault(path, []).append(edit)
    return [_file(path, edits) for path, edits in files.items()]


def _file(path: str, edits: list[SearchReplace]) -> FilePatch:
    if len(edits) == 1 and is_blank(edits[0].search):
        return FilePatch("add", path, edits[0].replace)
    return FilePatch("update", path, edits=tuple(edits))


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0

    def block(self, path: str) -> tuple[str, SearchReplace] | None:
        """The next block; `path` is that of the one before, which holds until another is named."""
        while self.at < len(self.lines) and not _SEARCH.fullmatch(self.lines[self.at]):
            line = self.lines[self.at]
            if _DIVIDER.fullmatch(line) or _REPLACE.fullmatch(line):
                raise EditError(
                    f"line {self.at + 1} of the edit, `{line}`, is outside any block",
                    hint="begin each block with `<<<<<<< SEARCH`",
                )
            if not is_blank(line) and not _FENCE.fullmatch(line):
                path = line.strip().strip("`*").removesuffix(":").strip("`*")
            self.at += 1
        if self.at == len(self.lines):
            return None
        start = self.at + 1
        if not path:
            raise EditError(
                f"the block at line {start} of the edit names no file", hint="write its path above"
            )
        search = self._until(_DIVIDER, "=======", start)
        replace = self._until(_REPLACE, ">>>>>>> REPLACE", start)
        if any(_DIVIDER.fullmatch(line) for line in replace):
            raise EditError(
                f"the block at line {start} of the edit has more than one line `=======`",
                hint="write this edit as a unified diff or `*** Begin Patch`",
            )
        return path, SearchReplace(_text(search), _text(replace))

    def _until(self, end: re.Pattern[str], name: str, start: int) -> list[str]:
        """The lines up to the one that ends this part; the reader goes on behind it."""
        begin = self.at = self.at + 1
        while self.at < len(self.lines) and not end.fullmatch(self.lines[self.at]):
            if _SEARCH.fullmatch(self.lines[self.at]):
                break
            self.at += 1
        if self.at == len(self.lines) or not end.fullmatch(self.lines[self.at]):
            raise EditError(
                f"the block at line {start} of the edit has no `{name}`",
                hint="end it so; it may have been cut off",
            )
        part = self.lines[begin : self.at]
        if end is _REPLACE:
            self.at += 1
        return part


def _text(lines: list[str]) -> str:
    return "".join(line + "\n" for line in lines)
