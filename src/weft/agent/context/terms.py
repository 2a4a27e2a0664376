"""Words of code and prose as an index compares them: identifiers split, endings of English taken off."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Final

_WORD: Final = re.compile(r"\w+")
_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Longer words are hashes and encoded data.
_MAX_WORD_CHARS: Final = 64
_STOP: Final = frozenset(
    re.findall(
        r"\w+",
        """a an and any are as at be been but by can could did do does for from get has have how i if in into
        is it its me my no not of on or our should so some that the their them then there these they this to
        was we were what when where which who why will with would you your""",
    )
)


def terms(text: str) -> list[str]:
    """The terms of a text, in order, repetitions included."""
    found: list[str] = []
    for word in _WORD.findall(text):
        found += of_word(word)
    return found


def query_terms(text: str) -> dict[str, str]:
    """The terms of a question, each with its word; without words that say nothing, if there are others."""
    words = _WORD.findall(text)
    told = [word for word in words if word.lower() not in _STOP] or words
    asked: dict[str, str] = {}
    for word in told:
        for term in of_word(word):
            asked.setdefault(term, word)
    return asked


@functools.lru_cache(maxsize=1 << 18)
def of_word(word: str) -> tuple[str, ...]:
    """`parseHTTPHeaders` as itself in lower case, then `pars`, `http`, `header`."""
    if len(word) > _MAX_WORD_CHARS:
        return ()
    found = _PART.findall(word) if word.isascii() else word.strip("_").split("_")
    parts = [part.lower() for part in found]
    stems = [stem(part) for part in parts if len(part) > 1 or len(parts) == 1]
    return (word.strip("_").lower(), *stems) if len(parts) > 1 else tuple(stems)


def stem(word: str) -> str:
    """The word without plural, `-ing`, `-ed` and a mute `e`: enough for names in code, and never far off."""
    if len(word) < 4 or not word.isascii():
        return word
    if word.endswith(("ies", "ied")) and len(word) > 4:
        return word[:-2]
    if word.endswith("s") and word[-2] not in "su" and not word.endswith("is"):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 2 and any(letter in "aeiouy" for letter in rest):
            doubled = rest[-1] == rest[-2] and rest[-1] not in "lsz"
            word = rest[:-1] if doubled else rest
            break
    if len(word) > 3 and word.endswith("e"):
        return word[:-1]
    return word[:-1] + "i" if len(word) > 3 and word[-1] == "y" and word[-2] not in "aeiou" else word


def name_terms(*names: str) -> Iterator[str]:
    """The terms of qualified names and paths."""
    for name in names:
        yield from terms(name)
