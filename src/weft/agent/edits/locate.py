"""Where an edit belongs, line by line: the tolerances in their fixed order, up to the first that hits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from weft.agent.edits.indent import indentation, reindent
from weft.agent.edits.lines import Line, is_blank
from weft.agent.edits.model import EditError
from weft.agent.edits.normalise import key


class Match(NamedTuple):
    """One place: for each search line its line of the file, None for a blank line that drifted."""

    at: tuple[int | None, ...]
    step: str

    @property
    def lines(self) -> range:
        """The file lines from the first to the last that are matched."""
        placed = [i for i in self.at if i is not None]
        return range(placed[0], placed[-1] + 1)


def locate(lines: Sequence[Line], search: Sequence[str]) -> list[Match]:
    """Every place that the first successful step finds; empty when none does."""
    texts = [line.text for line in lines]
    for step in (_exact, _normalised, _indented, _drifted):
        if found := step(texts, search):
            return found
    return []


def _exact(texts: list[str], search: Sequence[str]) -> list[Match]:
    return [_contiguous(i, search, "exact") for i in windows(texts, list(search))]


def _normalised(texts: list[str], search: Sequence[str]) -> list[Match]:
    hits = windows([key(t) for t in texts], [key(s) for s in search])
    return [_contiguous(i, search, "look-alikes and trailing blanks") for i in hits]


def _indented(texts: list[str], search: Sequence[str]) -> list[Match]:
    hits = windows([key(t).lstrip() for t in texts], [key(s).lstrip() for s in search])
    matches = (_contiguous(i, search, "indentation") for i in hits)
    return [match for match in matches if one_indentation(texts, search, match)]


def _drifted(texts: list[str], search: Sequence[str]) -> list[Match]:
    solid = [i for i, text in enumerate(texts) if not is_blank(text)]
    wanted = [s for s in search if not is_blank(s)]
    hits = windows([key(texts[i]).lstrip() for i in solid], [key(s).lstrip() for s in wanted])
    matches = (placed(texts, search, solid[i : i + len(wanted)], "blank lines") for i in hits)
    return [match for match in matches if one_indentation(texts, search, match)]


def _contiguous(start: int, search: Sequence[str], step: str) -> Match:
    return Match(tuple(range(start, start + len(search))), step)


def placed(texts: Sequence[str], search: Sequence[str], solid: Sequence[int], step: str) -> Match:
    """The match whose solid search lines stand at `solid`; a run of blank lines between two of them is
    matched line by line where the file has as many, and has drifted otherwise."""
    at: list[int | None] = []
    files = iter(solid)
    run = 0
    for text in search:
        if is_blank(text):
            run += 1
            continue
        here = next(files)
        before = next((i for i in reversed(at) if i is not None), None)
        same = before is not None and here - before - 1 == run
        at.extend(range(here - run, here) if same else [None] * run)
        at.append(here)
        run = 0
    return Match((*at, *([None] * run)), step)


def one_indentation(texts: Sequence[str], search: Sequence[str], match: Match) -> bool:
    """Whether one rule explains the indentation of every matched line."""
    try:
        return reindent(indent_pairs(texts, search, match), ()) is not None
    except EditError:  # several rules do, which is for the rewriting to settle
        return True


def indent_pairs(texts: Sequence[str], search: Sequence[str], match: Match) -> Iterator[tuple[str, str]]:
    """The indentation of each solid search line and that of its file line."""
    for text, i in zip(search, match.at, strict=True):
        if i is not None and not is_blank(text):
            yield indentation(key(text)), indentation(key(texts[i]))


def windows(keys: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Every index where `wanted` stands in `keys` in one piece."""
    if not wanted or len(wanted) > len(keys):
        return []
    pivot = max(range(len(wanted)), key=lambda i: len(wanted[i]))
    return [
        i - pivot
        for i in _positions(keys, wanted[pivot], pivot, len(keys) - len(wanted) + pivot + 1)
        if all(keys[i - pivot + k] == want for k, want in enumerate(wanted))
    ]


def _positions(keys: Sequence[str], wanted: str, start: int, stop: int) -> Iterator[int]:
    index: Callable[[str, int, int], int] = keys.index
    at = start
    while True:
        try:
            at = index(wanted, at, stop)
        except ValueError:
            return
        yield at
        at += 1
