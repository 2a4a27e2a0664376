"""Edits that quote little or nothing: lines by their numbers, and whole files."""

from __future__ import annotations

from weft.agent.edits.lines import BOM, Line, Lines, contents, join
from weft.agent.edits.model import Candidate, EditError, Hunk, LineRange, WholeFile
from weft.agent.edits.normalise import key

_SHOWN_PLACES = 3


def put_lines(text: str, edit: LineRange) -> tuple[str, Hunk]:
    """The text with the lines replaced; `EditError` where the numbers are stale, showing what is there."""
    lines = Lines(text)
    stretch = range(edit.start_line - 1, edit.end_line)
    if not 0 <= stretch.start < stretch.stop <= len(lines):
        raise EditError(
            f"there are no lines {edit.start_line} to {edit.end_line}",
            hint=f"name lines from 1 to {len(lines)}",
        )
    for number, quoted in ((edit.start_line, edit.first), (edit.end_line, edit.last)):
        if key(quoted.rstrip("\r\n")) != key(lines.texts[number - 1]):
            raise EditError(
                f"line {number} is not `{quoted}`",
                [_shown(lines, stretch), *_elsewhere(lines, edit)],
                hint="read the file again: the line numbers are out of date",
            )
    ending = next((line.ending for line in lines.slice(stretch) if line.ending), lines.common_ending)
    new = [Line(line, ending) for line in contents(edit.replace)]
    if new and not lines.line(stretch.stop - 1).ending:
        new[-1] = Line(new[-1].text, "")
    start, stop = lines.span(stretch)
    hunk = Hunk(edit.start_line, text[start:stop], join(new), ("exact",))
    return text[:start] + hunk.new + text[stop:], hunk


def put_all(text: str, edit: WholeFile) -> tuple[str, Hunk]:
    """The new content, in the line endings of the text where these are of one kind and foreign to it."""
    content = edit.content.removeprefix(BOM)
    crlf, lf = text.count("\r\n"), text.count("\n")
    if 0 < crlf == lf and "\r\n" not in content:
        return _all(text, content.replace("\n", "\r\n"), "line endings")
    if 0 == crlf < lf and 0 < content.count("\r\n") == content.count("\n"):
        return _all(text, content.replace("\r\n", "\n"), "line endings")
    return _all(text, content, "exact")


def _all(text: str, content: str, step: str) -> tuple[str, Hunk]:
    return content, Hunk(1, text, content, (step,))


def _elsewhere(lines: Lines, edit: LineRange) -> list[Candidate]:
    """Other places that begin and end as quoted, as many lines apart."""
    length = edit.end_line - edit.start_line
    first, last = key(edit.first.rstrip("\r\n")), key(edit.last.rstrip("\r\n"))
    keys = [key(text) for text in lines.texts]
    pairs = zip(keys, keys[length:], strict=False)
    starts = [i for i, pair in enumerate(pairs) if pair == (first, last)]
    return [_shown(lines, range(i, i + length + 1)) for i in starts[:_SHOWN_PLACES]]


def _shown(lines: Lines, stretch: range) -> Candidate:
    text = "\n".join(lines.texts[stretch.start : stretch.stop])
    return Candidate(stretch.start + 1, stretch.stop, text, 1.0)
