"""A file in pieces that are found and shown as one: whole definitions, sections, paragraphs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from weft.agent.context.parse import Definition

# About a screen and a half: what is longer is found by its parts.
MAX_CHUNK_LINES: Final = 80
# A class up to this long is read as one.
_WHOLE_CLASS_LINES: Final = 40
_CALLABLE: Final = frozenset({"function", "method", "macro"})
_SMALL: Final = frozenset({"variable", "type"})


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Lines of one file, counted from 1, the last included; the definition that they are, if any."""

    start_line: int
    end_line: int
    name: str = ""
    kind: str = ""


def chunks_of(lines: Sequence[str], definitions: Sequence[Definition]) -> list[Chunk]:
    """Every line that is not blank, in exactly one chunk, in the order of the file."""
    found: list[Chunk] = []
    at = 1
    for definition in _outermost(definitions):
        start = max(definition.start_line, at)
        if definition.end_line < start:
            continue
        found += _plain(lines, at, start - 1)
        found += _pieces(lines, Chunk(start, definition.end_line, definition.qualified_name, definition.kind))
        at = definition.end_line + 1
    return found + list(_plain(lines, at, len(lines)))


def _outermost(definitions: Sequence[Definition]) -> Iterator[Definition]:
    """Functions, and what is as short as one; of longer things that contain functions, those functions."""
    end = 0
    for definition in sorted(definitions, key=lambda d: (d.start_line, -d.end_line)):
        length = definition.end_line - definition.start_line + 1
        whole = definition.kind in _CALLABLE or length <= _WHOLE_CLASS_LINES
        if whole and definition.kind not in _SMALL and definition.start_line > end:
            yield definition
            end = definition.end_line


def _pieces(lines: Sequence[str], chunk: Chunk) -> Iterator[Chunk]:
    for start, end in _windows(lines, chunk.start_line, chunk.end_line):
        yield Chunk(start, end, chunk.name, chunk.kind)


def _plain(lines: Sequence[str], start: int, end: int) -> Iterator[Chunk]:
    while start <= end and not lines[start - 1].strip():
        start += 1
    while end >= start and not lines[end - 1].strip():
        end -= 1
    for first, last in _windows(lines, start, end):
        yield Chunk(first, last)


def _windows(lines: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """Runs of at most `MAX_CHUNK_LINES`, cut at a blank line where there is one in the later half."""
    while end - start >= MAX_CHUNK_LINES:
        last = start + MAX_CHUNK_LINES - 1
        cut = next(
            (n for n in range(last, start + MAX_CHUNK_LINES // 2, -1) if not lines[n - 1].strip()), last
        )
        yield start, cut
        start = cut + 1
    if start <= end:
        yield start, end
