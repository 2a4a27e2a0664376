"""Where an edit belongs, line by line: the tolerances in their fixed order, up to the first that hits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from weft.agent.edits.indent import indentation, reindent
from weft.agent.edits.lines import Lines, is_blank
from weft.agent.edits.model import EditError
from weft.agent.edits.normalise import bare, key

STEPS = ("exact", "look-alikes and trailing blanks", "indentation", "blank lines")


class Match(NamedTuple):
    """One place: for each search line its line of the file, None for a blank line that drifted."""

    at: tuple[int | None, ...]
    step: str

    @property
    def lines(self) -> range:
        """The file lines from the first to the last that are matched."""
        placed = [i for i in self.at if i is not None]
        return range(placed[0], placed[-1] + 1)


def locate(lines: Lines, search: Sequence[str]) -> list[Match]:
    """Every place that the first successful step finds; empty when none does.

    What an earlier step finds, the last one finds too. So the file is looked through once, for the lines that
    are not blank, and each hit is then tried by the steps in their order.
    """
    wanted = [text for text in map(bare, search) if text]
    ahead = next((k for k, text in enumerate(search) if not is_blank(text)), 0)
    found: dict[str, list[Match]] = {step: [] for step in STEPS}
    for solid in _hits(lines, wanted):
        if match := _contiguous(lines, search, solid[0] - ahead) or _drifted(lines, search, solid):
            found[match.step].append(match)
    return next((matches for matches in found.values() if matches), [])


def _contiguous(lines: Lines, search: Sequence[str], start: int) -> Match | None:
    """The match of each search line with the next line of the file, by the first step that allows it."""
    there = slice(start, start + len(search))
    if start < 0 or there.stop > len(lines):
        return None
    at = tuple(range(there.start, there.stop))
    if lines.texts[there] == list(search):
        return Match(at, STEPS[0])
    keys = [key(text) for text in search]
    theirs = [key(text) for text in lines.texts[there]]
    if theirs == keys:
        return Match(at, STEPS[1])
    match = Match(at, STEPS[2])
    same = [text.lstrip() for text in theirs] == [text.lstrip() for text in keys]
    return match if same and one_indentation(lines, search, match) else None


def _drifted(lines: Lines, search: Sequence[str], solid: Sequence[int]) -> Match | None:
    match = placed(search, solid, STEPS[3])
    return match if one_indentation(lines, search, match) else None


def placed(search: Sequence[str], solid: Sequence[int], step: str) -> Match:
    """The match whose solid search lines stand at `solid`; a run of blank lines between two of them is
    matched line by line where the file has as many, and has drifted otherwise."""
    at: list[int | None] = []
    files = iter(solid)
    last: int | None = None
    run = 0
    for text in search:
        if is_blank(text):
            run += 1
            continue
        here = next(files)
        same = last is not None and here - last - 1 == run
        at.extend(range(here - run, here) if same else [None] * run)
        at.append(here)
        last, run = here, 0
    return Match((*at, *([None] * run)), step)


def one_indentation(lines: Lines, search: Sequence[str], match: Match) -> bool:
    """Whether one rule explains the indentation of every matched line."""
    try:
        return reindent(indent_pairs(lines, search, match), ()) is not None
    except EditError:  # several rules do, which is for the rewriting to settle
        return True


def indent_pairs(lines: Lines, search: Sequence[str], match: Match) -> Iterator[tuple[str, str]]:
    """The indentation of each solid search line and that of its file line."""
    for text, i in zip(search, match.at, strict=True):
        if i is not None and not is_blank(text):
            yield indentation(key(text)), indentation(key(lines.texts[i]))


def _hits(lines: Lines, wanted: Sequence[str]) -> Iterator[list[int]]:
    """The file lines of every place where the wanted lines follow one another, but for blank lines."""
    if not wanted:
        return
    pivot = max(range(len(wanted)), key=lambda k: len(wanted[k]))
    for i in lines.reading(wanted[pivot]):
        above = _walk(lines, wanted[:pivot][::-1], range(i - 1, -1, -1))
        below = _walk(lines, wanted[pivot + 1 :], range(i + 1, len(lines)))
        if above is not None and below is not None:
            yield [*reversed(above), i, *below]


def _walk(lines: Lines, wanted: Sequence[str], way: range) -> list[int] | None:
    """Where the wanted lines stand one after the other on the way; None where another comes between."""
    found: list[int] = []
    for i in way if wanted else ():
        if text := bare(lines.texts[i]):
            if text != wanted[len(found)]:
                return None
            found.append(i)
            if len(found) == len(wanted):
                break
    return found if len(found) == len(wanted) else None
