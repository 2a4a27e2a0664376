"""Search and replace on one text: exactly one place, or an error that shows the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from weft.agent.edits import exact
from weft.agent.edits.fuzzy import Nearest
from weft.agent.edits.lines import Block, Line, blocks, contents, is_blank, join, split
from weft.agent.edits.locate import Match, locate
from weft.agent.edits.model import Applied, Candidate, EditError, Hunk, SearchReplace
from weft.agent.edits.normalise import without_numbers
from weft.agent.edits.rewrite import rewrite

_SHOWN_PLACES: Final = 5


def apply(text: str, edits: SearchReplace | Sequence[SearchReplace]) -> Applied:
    """The text after the edits, each applied to the result of the one before; `EditError` if any fails.

    A search must name one place. Tolerances are tried in a fixed order and recorded in `Hunk.steps`: exact;
    line endings; look-alike characters and trailing blanks; one shift of the indentation (the replacement is
    re-indented); blank lines; a near match of lines that the edit keeps. Everything outside the lines that
    change stays byte for byte, and so do line endings, BOM and final newline.
    """
    ordered = [edits] if isinstance(edits, SearchReplace) else list(edits)
    if not ordered:
        raise EditError("there is no edit", hint="give at least one search and replace")
    result, hunks = text, []
    for number, edit in enumerate(ordered, 1):
        try:
            result, hunk = _apply_one(result, edit)
        except EditError as error:
            if len(ordered) == 1:
                raise
            message = f"edit {number} of {len(ordered)}: {error.message}"
            raise EditError(message, error.candidates, hint=f"{error.hint}; none was applied") from error
        hunks.append(hunk)
    if result == text:
        raise EditError("the edits together change nothing", hint="leave them out")
    return Applied(result, tuple(hunks))


def _apply_one(text: str, edit: SearchReplace) -> tuple[str, Hunk]:
    if is_blank(edit.search.lstrip("\ufeff")):
        raise EditError("the search text is blank", hint="search for a line of the file that is not blank")
    if edit.search == edit.replace:
        raise EditError("search and replace are the same", hint="leave the edit out")
    spans = exact.find(text, edit.search)
    if len(spans) > 1:
        raise ambiguous(split(text), [_match_of(text, span, edit.search) for span in spans])
    result, hunk = _at_span(text, spans[0], edit) if spans else _at_lines(text, edit)
    if result == text:
        raise EditError("the edit changes nothing", hint="leave it out, or check the replacement")
    return result, hunk


def _at_span(text: str, span: exact.Span, edit: SearchReplace) -> tuple[str, Hunk]:
    if exact.indentation_is_open(text, span, edit.replace):
        raise EditError(
            "the search starts inside the indentation of its line, and the replacement has several lines",
            [_candidate(split(text), _match_of(text, span, edit.search))],
            hint="start the search and each line of the replacement at the beginning of the line",
        )
    new = exact.with_endings_of(text, span, edit.replace)
    hunk = Hunk(_line_of(text, span.start), text[span.start : span.end], new, (span.step,))
    return text[: span.start] + new + text[span.end :], hunk


def _at_lines(text: str, edit: SearchReplace) -> tuple[str, Hunk]:
    lines = split(text)
    search, replace = contents(edit.search), contents(edit.replace)
    if not edit.search.endswith("\n") and not replace:
        replace = [""]
    try:
        match, search, replace, steps = _find(lines, search, replace)
    except EditError as error:
        if error.candidates:
            raise
        raise EditError(error.message, Nearest(lines, search).candidates(), hint=error.hint) from error
    if edit.replace and edit.search.endswith("\n") != edit.replace.endswith("\n"):
        raise EditError(
            "one of search and replace ends with a line break and the other does not",
            [_candidate(lines, match)],
            hint="end both with a line break, or neither",
        )
    return put(lines, match, rewrite(lines, search, blocks(search, replace), match), steps)


def _find(
    lines: Sequence[Line], search: list[str], replace: list[str]
) -> tuple[Match, list[str], list[str], tuple[str, ...]]:
    bare = without_numbers(search, replace)
    found = locate(lines, search)
    steps: tuple[str, ...] = ()
    if not found and bare:
        search, replace, first = bare
        steps = ("copied line numbers",)
        found = [m for m in locate(lines, search) if len(search) > 1 or m.lines.start == first - 1]
    match = only(lines, found) if found else nearest(lines, search, blocks(search, replace))
    return match, search, replace, (*steps, match.step)


def only(lines: Sequence[Line], found: Sequence[Match]) -> Match:
    """The one match, or `EditError` that lists them."""
    if len(found) > 1:
        raise ambiguous(lines, found)
    return found[0]


def nearest(lines: Sequence[Line], search: Sequence[str], edit: Sequence[Block]) -> Match:
    """The one near match, or `EditError` that shows what comes close."""
    near = Nearest(lines, search)
    if match := near.match(edit):
        return match
    raise EditError("the search text is not in the file", near.candidates())


def put(lines: Sequence[Line], match: Match, new: Sequence[Line], steps: tuple[str, ...]) -> tuple[str, Hunk]:
    """The text with `new` in place of the match, and the record of it."""
    start, stop = match.lines.start, match.lines.stop
    hunk = Hunk(start + 1, join(lines[start:stop]), join(new), steps)
    return join(lines[:start]) + hunk.new + join(lines[stop:]), hunk


def ambiguous(lines: Sequence[Line], found: Sequence[Match]) -> EditError:
    """The error for a search that names several places."""
    return EditError(
        f"the search text is in {len(found)} places",
        [_candidate(lines, match) for match in found[:_SHOWN_PLACES]],
        hint="add lines before or after it until it names one place",
    )


def _candidate(lines: Sequence[Line], match: Match) -> Candidate:
    shown = "\n".join(lines[i].text for i in match.lines)
    return Candidate(match.lines.start + 1, match.lines.stop, shown, 1.0)


def _match_of(text: str, span: exact.Span, search: str) -> Match:
    first = _line_of(text, span.start) - 1
    return Match(tuple(range(first, first + max(1, len(contents(search))))), span.step)


def _line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
