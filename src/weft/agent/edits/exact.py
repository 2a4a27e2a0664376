"""The first step: the search text as it stands, anywhere in the text, or with other line endings."""

from __future__ import annotations

import re
from typing import NamedTuple

from weft.agent.edits.lines import Lines, contents, is_blank

_ENDING = re.compile(r"\r?\n")


class Span(NamedTuple):
    start: int
    end: int
    step: str


def find(text: str, search: str) -> list[Span]:
    """Every place, overlapping ones too, that reads `search`; else those that do but for line endings.

    A last line that lacks its ending counts as one more place; alone it is left to the matching by lines."""
    ending = "\r\n" if search.endswith("\r\n") else "\n"
    closed = text + ending if search.endswith("\n") and not text.endswith("\n") else text
    spans, at = [], closed.find(search)
    while at >= 0:
        spans.append(Span(at, at + len(search), "exact"))
        at = closed.find(search, at + 1)
    if (not spans or spans[-1].end > len(text)) and "\n" in search and "\r\n" in text + search:
        spans = _with_any_ending(closed, search)
    return [] if len(spans) == 1 and spans[0].end > len(text) else spans


def _with_any_ending(text: str, search: str) -> list[Span]:
    """Every place that differs in line endings only; none at all where one has endings of both kinds."""
    pattern = r"\r?\n".join(re.escape(part) for part in _ENDING.split(search))
    found = [Span(*match.span(1), "line endings") for match in re.finditer(f"(?=({pattern}))", text)]
    mixed = any(len(set(_ENDING.findall(text, *span[:2]))) > 1 for span in found)
    return [] if mixed else found


def with_endings_of(text: str, span: Span, replace: str) -> str:
    """The replacement, its line endings turned into those of the place where they are foreign to it."""
    place = text[span.start : span.end]
    if span.step == "exact" and set(_ENDING.findall(replace)) <= set(_ENDING.findall(place)):
        return replace
    ending = _ENDING.search(text, span.start)
    return _ENDING.sub(ending.group() if ending else Lines(text).common_ending, replace)


def start_of_indentation(text: str, span: Span) -> int | None:
    """Where the line of the place begins, if only (part of) its indentation stands before the place."""
    start = text.rfind("\n", 0, span.start) + 1
    return start if start < span.start and is_blank(text[start : span.start]) else None


def indentation_is_open(text: str, span: Span, replace: str) -> bool:
    """Whether the search is one line without (all of) its indentation and the replacement has several lines:
    then taking it as it stands and re-indenting it give different texts, and only the author knows which."""
    found = text[span.start : span.end]
    _, _, below = replace.partition("\n")
    return (
        start_of_indentation(text, span) is not None
        and len([line for line in contents(found) if not is_blank(line)]) == 1
        and (found.endswith("\n") or text[span.end : span.end + 2].lstrip("\r")[:1] in ("", "\n"))
        and not is_blank(below)
    )
