"""Edits of one text: exactly the place that is meant, or an error that shows the candidates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from weft.agent.edits import exact, numbered
from weft.agent.edits.fuzzy import Nearest
from weft.agent.edits.lines import BOM, Block, Line, Lines, blocks, contents, is_blank, join
from weft.agent.edits.locate import Match, locate
from weft.agent.edits.model import Applied, Candidate, Edit, EditError, Hunk, LineRange, SearchReplace
from weft.agent.edits.normalise import without_numbers
from weft.agent.edits.rewrite import rewrite

_SHOWN_PLACES: Final = 5


def apply(text: str, edits: Edit | Sequence[Edit]) -> Applied:
    """The text after the edits, each applied to the result of the one before; `EditError` if any fails.

    A search must name one place. Tolerances are tried in a fixed order and recorded in `Hunk.steps`: exact;
    line endings; look-alike characters and trailing blanks; one shift of the indentation (the replacement is
    re-indented); blank lines; a near match of lines that the edit keeps. A range of lines must still begin
    and end as its author saw it. Everything outside the lines that change stays byte for byte, and so do line
    endings, BOM and final newline.
    """
    ordered = list(edits) if isinstance(edits, Sequence) else [edits]
    if not ordered:
        raise EditError("there is no edit", hint="give at least one search and replace")
    mark = BOM if text.startswith(BOM) else ""
    result, hunks = text.removeprefix(BOM), []
    for number, edit in enumerate(ordered, 1):
        try:
            result, hunk = _apply_one(result, edit)
        except EditError as error:
            if len(ordered) == 1:
                raise
            message = f"edit {number} of {len(ordered)}: {error.message}"
            raise EditError(message, error.candidates, hint=f"{error.hint}; none was applied") from error
        hunks.append(hunk)
    if mark + result == text:
        raise EditError("the edits together change nothing", hint="leave them out")
    return Applied(mark + result, tuple(hunks))


def _apply_one(text: str, edit: Edit) -> tuple[str, Hunk]:
    if isinstance(edit, SearchReplace):
        search, replace = edit.search.removeprefix(BOM), edit.replace.removeprefix(BOM)
        result, hunk = _search_and_replace(text, SearchReplace(search, replace))
    elif isinstance(edit, LineRange):
        result, hunk = numbered.put_lines(text, edit)
    else:
        result, hunk = numbered.put_all(text, edit)
    if result == text:
        raise EditError("the edit changes nothing", hint="leave it out, or check the replacement")
    return result, hunk


def _search_and_replace(text: str, edit: SearchReplace) -> tuple[str, Hunk]:
    if is_blank(edit.search):
        raise EditError("the search text is blank", hint="search for a line of the file that is not blank")
    if edit.search == edit.replace:
        raise EditError("search and replace are the same", hint="leave the edit out")
    spans = exact.find(text, edit.search)
    if len(spans) > 1:
        raise ambiguous(Lines(text), [_match_of(text, span, edit.search) for span in spans])
    return _at_span(text, spans[0], edit) if spans else _at_lines(Lines(text), edit)


def _at_span(text: str, span: exact.Span, edit: SearchReplace) -> tuple[str, Hunk]:
    if exact.indentation_is_open(text, span, edit.replace):
        raise EditError(
            "the search starts inside the indentation of its line, and the replacement has several lines",
            [_candidate(Lines(text), _match_of(text, span, edit.search))],
            hint="start the search and each line of the replacement at the beginning of the line",
        )
    start = exact.start_of_indentation(text, span)
    if not edit.replace and edit.search.endswith("\n") and start is not None:
        span = exact.Span(start, span.end, "indentation")  # what is left of it would move the next line
    new = exact.with_endings_of(text, span, edit.replace)
    hunk = Hunk(_line_of(text, span.start), text[span.start : span.end], new, (span.step,))
    return text[: span.start] + new + text[span.end :], hunk


def _at_lines(lines: Lines, edit: SearchReplace) -> tuple[str, Hunk]:
    search, replace = contents(edit.search), contents(edit.replace)
    if not edit.search.endswith("\n") and not replace:
        replace = [""]
    match, search, replace, steps = _find(lines, search, replace)
    if edit.replace and edit.search.endswith("\n") != edit.replace.endswith("\n"):
        raise EditError(
            "one of search and replace ends with a line break and the other does not",
            [_candidate(lines, match)],
            hint="end both with a line break, or neither",
        )
    return put(lines, match, rewritten(lines, search, blocks(search, replace), match), steps)


class _Found(NamedTuple):
    """A place, and search and replacement as they were found there."""

    match: Match
    search: list[str]
    replace: list[str]
    steps: tuple[str, ...]


def _find(lines: Lines, search: list[str], replace: list[str]) -> _Found:
    if found := locate(lines, search):
        match = only(lines, found)
        return _Found(match, search, replace, (match.step,))
    numbered = without_numbers(search, replace)
    if numbered and (unnumbered := _find_unnumbered(lines, *numbered)):
        return unnumbered
    match = nearest(lines, search, blocks(search, replace))
    return _Found(match, search, replace, (match.step,))


def _find_unnumbered(lines: Lines, search: list[str], replace: list[str], first: int) -> _Found | None:
    """The place without the line numbers that were copied; a line alone must stand at its number."""
    found = [m for m in locate(lines, search) if len(search) > 1 or m.lines.start == first - 1]
    match = only(lines, found) if found else Nearest(lines, search).match(blocks(search, replace))
    return match and _Found(match, search, replace, ("copied line numbers", match.step))


def only(lines: Lines, found: Sequence[Match]) -> Match:
    """The one match, or `EditError` that lists them."""
    if len(found) > 1:
        raise ambiguous(lines, found)
    return found[0]


def nearest(lines: Lines, search: Sequence[str], edit: Sequence[Block]) -> Match:
    """The one near match, or `EditError` that shows what comes close."""
    near = Nearest(lines, search)
    if match := near.match(edit):
        return match
    raise EditError("the search text is not in the file", near.candidates())


def rewritten(lines: Lines, search: Sequence[str], edit: Sequence[Block], match: Match) -> list[Line]:
    """What stands in the place after the edit, or `EditError` that shows the place."""
    try:
        return rewrite(lines, search, edit, match)
    except EditError as error:
        raise EditError(error.message, [_candidate(lines, match)], hint=error.hint) from error


def put(lines: Lines, match: Match, new: Sequence[Line], steps: tuple[str, ...]) -> tuple[str, Hunk]:
    """The text with `new` in place of the match, and the record of it."""
    start, stop = lines.span(match.lines)
    hunk = Hunk(match.lines.start + 1, lines.text[start:stop], join(new), steps)
    return lines.text[:start] + hunk.new + lines.text[stop:], hunk


def ambiguous(lines: Lines, found: Sequence[Match]) -> EditError:
    """The error for a search that names several places."""
    return EditError(
        f"the search text is in {len(found)} places",
        [_candidate(lines, match) for match in found[:_SHOWN_PLACES]],
        hint="add lines before or after it until it names one place",
    )


def _candidate(lines: Lines, match: Match) -> Candidate:
    shown = "\n".join(lines.texts[i] for i in match.lines)
    return Candidate(match.lines.start + 1, match.lines.stop, shown, 1.0)


def _match_of(text: str, span: exact.Span, search: str) -> Match:
    first = _line_of(text, span.start) - 1
    return Match(tuple(range(first, first + max(1, len(contents(search))))), span.step)


def _line_of(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1
