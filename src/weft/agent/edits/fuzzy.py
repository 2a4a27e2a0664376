"""The last step: lines that the edit keeps may differ a little, anchored by lines that do not.

Only kept lines may differ, and the file's wording stays: nothing that the file says is lost by a near miss.
Lines that go must agree but for indentation. The first and the last line and the neighbours of every
insertion are anchors and must agree but for blanks. The place must score above a threshold and beat the next
best by a margin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import accumulate
from typing import Final

from weft.agent.edits.lines import Block, Lines, is_blank
from weft.agent.edits.locate import Match, one_indentation, placed
from weft.agent.edits.model import Candidate
from weft.agent.edits.normalise import bare

THRESHOLD: Final = 0.85
LINE_THRESHOLD: Final = 0.7
MARGIN: Final = 0.1
MIN_LINES: Final = 3
_MAX_VOTES: Final = 200_000
_MAX_WINDOWS: Final = 1_000
_MAX_SHOWABLE: Final = 20
_PIECES: Final = 4
_MAX_WEIGHT: Final = 40
"""Of a line, in characters: a ruler as long as the page says no more than a line of code."""
_LEAST_SHOWN: Final = 0.3
_MAX_SCORED_CHARS: Final = 2_000


class Nearest:
    """The places of a text that are most like a search, best first."""

    def __init__(self, lines: Lines, search: Sequence[str]) -> None:
        self.lines = lines
        self.search = search
        self.wanted = [squeeze(s) for s in search if not is_blank(s)]
        self.solid = [i for i, text in enumerate(lines.bare) if text]
        self.keys = [_squeezed(text) for text in lines.bare if text]
        self.starts = self._starts()

    def match(self, edit: Sequence[Block]) -> Match | None:
        """The one place that is near enough, with every anchor in place."""
        if len(self.wanted) < MIN_LINES or not self.starts or len(self.starts) == _MAX_WINDOWS:
            return None
        (best, start), *rivals = self._ranked()
        if best < THRESHOLD or any(best - score < MARGIN for score, _ in rivals):
            return None
        theirs = self.keys[start : start + len(self.wanted)]
        anchors = _anchors(self.search, edit)
        for i, (ours, other) in enumerate(zip(self.wanted, theirs, strict=True)):
            if ours != other and (i in anchors or likeness(ours, other) < LINE_THRESHOLD):
                return None
        spots = self.solid[start : start + len(self.wanted)]
        texts = [text for text in self.search if not is_blank(text)]
        if any(bare(texts[i]) != self.lines.bare[spots[i]] for i in _going(self.search, edit)):
            return None
        found = placed(self.search, spots, "near match")
        return found if one_indentation(self.lines, self.search, found) else None

    def candidates(self) -> list[Candidate]:
        """The best places, with the lines that differ."""
        scored = sorted((-self._score(start), start) for start in self.starts[:_MAX_SHOWABLE])
        return [self._candidate(start, -score) for score, start in scored[:3] if -score > _LEAST_SHOWN]

    def _ranked(self) -> list[tuple[float, int]]:
        """The best window and the next, as (score, start); the next only if it is within the margin.

        A window is scored only if its bounds, the quicker one first, say that it may be one of them."""
        ranked: list[tuple[float, int]] = []
        bounds = sorted((-self._mean(start, _length_ratio), start) for start in self.starts)
        for bound, start in bounds:
            least = max(ranked[0][0] - MARGIN, ranked[1][0] if len(ranked) == 2 else 0) if ranked else 0
            if -bound < least:
                break
            if self._mean(start, _likeness_at_most) >= least:
                ranked = sorted([*ranked, (self._score(start), start)], key=lambda pair: -pair[0])[:2]
        return ranked

    def _starts(self) -> list[int]:
        """Where a window may begin: by the votes of the rarest lines that it shares with the search."""
        where: dict[str, list[int]] = {text: [] for text in self.wanted}
        for i, text in enumerate(self.keys):
            if text in where:
                where[text].append(i)
        votes: Counter[int] = Counter()
        last = len(self.keys) - len(self.wanted)
        spent = 0
        for k, text in sorted(enumerate(self.wanted), key=lambda pair: len(where[pair[1]])):
            spots = where[text]
            spent += len(spots)
            if spent > _MAX_VOTES:
                break
            votes.update(i - k for i in spots if 0 <= i - k <= last)
        if not votes and last >= 0:
            votes.update(self._by_words(last))
        return [at for at, _ in votes.most_common(_MAX_WINDOWS)]

    def _by_words(self, last: int) -> Counter[int]:
        """When no line of the search is in the text: where words of its longest line are, or pieces of it."""
        k = max(range(len(self.wanted)), key=lambda i: len(self.wanted[i]))
        longest = self.wanted[k]
        words, size = set(longest.split()), -(-len(longest) // _PIECES)
        shared = {i - k: len(words.intersection(text.split())) for i, text in enumerate(self.keys)}
        if not any(shared.values()):
            pieces = [longest[at : at + size] for at in range(0, len(longest), size)]
            shared = {i - k: sum(piece in text for piece in pieces) for i, text in enumerate(self.keys)}
        found = Counter({at: n for at, n in shared.items() if n and 0 <= at <= last})
        return Counter(dict(found.most_common(_MAX_SHOWABLE)))

    def _score(self, start: int) -> float:
        return self._mean(start, likeness)

    def _mean(self, start: int, rate: Callable[[str, str], float]) -> float:
        pairs = zip(self.wanted, self.keys[start : start + len(self.wanted)], strict=True)
        rated = [(rate(ours, theirs), min(len(ours), _MAX_WEIGHT) + 1) for ours, theirs in pairs]
        return sum(s * w for s, w in rated) / sum(w for _, w in rated)

    def _candidate(self, start: int, score: float) -> Candidate:
        texts = self.lines.texts
        spots = self.solid[start : start + len(self.wanted)]
        ours = [s for s in self.search if not is_blank(s)]
        differences = tuple(
            _difference(i + 1, texts[i], text)
            for i, text in zip(spots, ours, strict=True)
            if texts[i] != text
        )
        first, end = spots[0], spots[-1] + 1
        return Candidate(first + 1, end, "\n".join(texts[first:end]), round(score, 3), differences)


def squeeze(text: str) -> str:
    """What two lines share that differ in look-alikes and in the number of blanks."""
    return _squeezed(bare(text))


def _squeezed(text: str) -> str:
    return " ".join(text.split()) if "  " in text or "\t" in text else text


def likeness(ours: str, theirs: str) -> float:
    """How alike two lines are, 0 to 1."""
    if ours == theirs:
        return 1.0
    return _likeness(ours[:_MAX_SCORED_CHARS], theirs[:_MAX_SCORED_CHARS])


@lru_cache(maxsize=1_024)
def _likeness(ours: str, theirs: str) -> float:
    return SequenceMatcher(None, ours, theirs, autojunk=False).ratio()


def _length_ratio(ours: str, theirs: str) -> float:
    """A bound of the likeness that is quicker still: by their lengths."""
    if ours == theirs:
        return 1.0
    a, b = min(len(ours), _MAX_SCORED_CHARS), min(len(theirs), _MAX_SCORED_CHARS)
    return 2 * min(a, b) / (a + b)


def _likeness_at_most(ours: str, theirs: str) -> float:
    """A bound of the likeness that is quick to tell: how many characters they share, in whatever order."""
    if ours == theirs:
        return 1.0
    shared = (Counter(ours[:_MAX_SCORED_CHARS]) & Counter(theirs[:_MAX_SCORED_CHARS])).total()
    return 2 * shared / (min(len(ours), _MAX_SCORED_CHARS) + min(len(theirs), _MAX_SCORED_CHARS))


def _difference(number: int, theirs: str, ours: str) -> str:
    """What the file and the search have in a line, and the characters in which they differ."""
    head = _shared(theirs, ours)
    tail = _shared(theirs[head:][::-1], ours[head:][::-1])
    there, here = theirs[head : len(theirs) - tail], ours[head : len(ours) - tail]
    return (
        f"line {number}: file has {theirs!r}, search has {ours!r}; "
        f"at character {head + 1} file has {there!r}, search has {here!r}"
    )


def _shared(one: str, other: str) -> int:
    """How many characters two strings begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def _anchors(search: Sequence[str], edit: Sequence[Block]) -> set[int]:
    """Which solid search lines, counted without the blank ones, must agree but for blanks."""
    number = _solid_numbers(search)
    anchors = {0, number[len(search)] - 1}
    for block in edit:
        start, stop = number[block.old.start], number[block.old.stop]
        if block.new is not None and start == stop:
            anchors.update((start - 1, stop))
    return anchors


def _going(search: Sequence[str], edit: Sequence[Block]) -> set[int]:
    """Which solid search lines, counted without the blank ones, the edit takes away."""
    number = _solid_numbers(search)
    changed = (block.old for block in edit if block.new is not None)
    return {i for old in changed for i in range(number[old.start], number[old.stop])}


def _solid_numbers(search: Sequence[str]) -> list[int]:
    """How many solid lines stand before each line, and before the end."""
    return list(accumulate((not is_blank(text) for text in search), initial=0))
