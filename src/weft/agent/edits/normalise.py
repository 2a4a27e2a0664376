"""Characters that look alike: blanks, quotes and dashes that editors and models swap for one another."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from weft.agent.edits.model import EditError

_ALIKE: Final = {
    " ": "\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000",
    "'": "\u2018\u2019\u201a\u201b",
    '"': "\u201c\u201d\u201e\u201f",
    "-": "\u2010\u2011\u2012\u2013\u2014\u2015\u2212",
}
_USUAL: Final = {odd: usual for usual, odds in _ALIKE.items() for odd in odds}
_SWAPPED: Final = frozenset(_ALIKE) | frozenset(_USUAL)
_NUMBERED: Final = re.compile(r"^[ \t]*([0-9]{1,9})(\t|→|: ?|[ ]?\|[ ]?)")


def plain(text: str) -> str:
    """The text with look-alikes as plain ASCII, character for character."""
    if not text.isascii():
        for odd, usual in _USUAL.items():  # ten times as fast as `str.translate` on a long text
            if odd in text:
                text = text.replace(odd, usual)
    return text


def key(text: str) -> str:
    """What two lines share that differ in look-alikes and trailing blanks only."""
    return plain(text).rstrip()


def bare(text: str) -> str:
    """What two lines share that differ in indentation too."""
    return plain(text).strip()


def without_numbers(search: Sequence[str], replace: Sequence[str]) -> tuple[list[str], list[str], int] | None:
    """Search and replacement without line numbers that were copied along, and the first number; None if the
    search does not carry consecutive numbers, or only part of the replacement carries any."""
    found = [_NUMBERED.match(line) for line in search]
    numbers = [int(match[1]) for match in found if match]
    if not numbers or numbers != list(range(numbers[0], numbers[0] + len(found))):
        return None
    marks = {match[2].strip(" ") for match in found if match}
    carried = [_NUMBERED.match(line) for line in replace if line.strip()]
    own = [int(match[1]) for match in carried if match and match[2].strip(" ") in marks]
    stripped = [_NUMBERED.sub("", line, count=1) for line in search]
    if not own:
        return stripped, list(replace), numbers[0]
    if len(own) < len(carried) or own != sorted(own) or not numbers[0] <= own[0] <= numbers[-1] + 1:
        return None
    return stripped, [_NUMBERED.sub("", line, count=1) for line in replace], numbers[0]


def alphabet(pairs: Sequence[tuple[str, str]]) -> dict[str, set[str]]:
    """For each swappable character of the search, what the file has in its places; empty if nothing differs.

    `pairs` are lines of search and file, without indentation and trailing blanks."""
    if all(ours == theirs for ours, theirs in pairs):
        return {}
    seen: dict[str, set[str]] = {}
    for ours, theirs in pairs:
        if len(ours) == len(theirs):
            for a, b in zip(ours, theirs, strict=True):
                if a in _SWAPPED:
                    seen.setdefault(a, set()).add(b)
    return seen


def in_the_files_characters(old: str, place: str, new: str, seen: dict[str, set[str]]) -> str:
    """`new` written with the file's characters, where `place` is what the file has for `old`.

    What `old` and `new` share at their ends is taken from the file. In between, a character that the file
    always writes differently is written so; quotes that alternate follow the file's order; else `EditError`.
    """
    if not seen:
        return new
    head = tail = 0
    if len(old) == len(place):
        while head < min(len(old), len(new)) and old[head] == new[head]:
            head += 1
        while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
            tail += 1
    old_middle, place_middle = old[head : len(old) - tail], place[head : len(place) - tail]
    middle = _translate(old_middle, place_middle, new[head : len(new) - tail], seen)
    return place[:head] + middle + (place[len(place) - tail :] if tail else "")


def _translate(old: str, place: str, new: str, seen: dict[str, set[str]]) -> str:
    written = list(new)
    for char in set(new) & seen.keys():
        theirs = seen[char]
        spots = [i for i, c in enumerate(new) if c == char]
        if len(theirs) == 1:
            queue = list(theirs) * len(spots)
        elif char.isspace():
            continue
        else:
            queue = [b for a, b in zip(old, place, strict=False) if a == char]
            if len(queue) != len(spots) or char in queue:
                raise EditError(
                    f"the file writes `{char}` in more than one way here",
                    hint="use the file's own characters in search and replace",
                )
        for spot, replacement in zip(spots, queue, strict=True):
            written[spot] = replacement
    return "".join(written)
