"""The last step: lines that the edit keeps may differ a little, anchored by lines that do not.

Only kept lines may differ, and the file's wording stays: nothing that the file says is lost by a near miss.
Lines that go must agree but for indentation. The first and the last line and the neighbours of every
insertion are anchors and must agree but for blanks. The place must score above a threshold and beat the next
best by a margin.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Final

from weft.agent.edits.lines import Block, Line, is_blank
from weft.agent.edits.locate import Match, one_indentation, placed
from weft.agent.edits.model import Candidate
from weft.agent.edits.normalise import key

THRESHOLD: Final = 0.85
LINE_THRESHOLD: Final = 0.7
MARGIN: Final = 0.1
MIN_LINES: Final = 3
_MAX_VOTES: Final = 200_000
_MAX_WINDOWS: Final = 20
_MAX_SCORED_CHARS: Final = 2_000


class Nearest:
    """The places of a text that are most like a search, best first."""

    def __init__(self, lines: Sequence[Line], search: Sequence[str]) -> None:
        self.texts = [line.text for line in lines]
        self.search = search
        self.wanted = [squeeze(s) for s in search if not is_blank(s)]
        self.solid = [i for i, text in enumerate(self.texts) if not is_blank(text)]
        self.keys = [squeeze(self.texts[i]) for i in self.solid]
        self.ranked = sorted(((self._score(at), -at) for at in self._starts()), reverse=True)

    def match(self, edit: Sequence[Block]) -> Match | None:
        """The one place that is near enough, with every anchor in place."""
        if len(self.wanted) < MIN_LINES or not self.ranked:
            return None
        best, start = self.ranked[0][0], -self.ranked[0][1]
        rival = self.ranked[1][0] if len(self.ranked) > 1 else 0.0
        if best < THRESHOLD or best - rival < MARGIN:
            return None
        theirs = self.keys[start : start + len(self.wanted)]
        anchors = _anchors(self.search, edit)
        for i, (ours, other) in enumerate(zip(self.wanted, theirs, strict=True)):
            if ours != other and (i in anchors or likeness(ours, other) < LINE_THRESHOLD):
                return None
        spots = dict(enumerate(self.solid[start : start + len(self.wanted)]))
        texts = [text for text in self.search if not is_blank(text)]
        if any(key(texts[i]).strip() != key(self.texts[spots[i]]).strip() for i in _going(self.search, edit)):
            return None
        found = placed(self.texts, self.search, self.solid[start : start + len(self.wanted)], "near match")
        return found if one_indentation(self.texts, self.search, found) else None

    def candidates(self, limit: int = 3) -> list[Candidate]:
        """The best places, with the lines that differ."""
        return [self._candidate(-at, score) for score, at in self.ranked[:limit] if score > 0.3]

    def _starts(self) -> list[int]:
        where: dict[str, list[int]] = defaultdict(list)
        for i, text in enumerate(self.keys):
            where[text].append(i)
        votes: Counter[int] = Counter()
        last = len(self.keys) - len(self.wanted)
        spent = 0
        for k, text in sorted(enumerate(self.wanted), key=lambda pair: len(where.get(pair[1], ()))):
            spots = where.get(text, [])
            spent += len(spots)
            if spent > _MAX_VOTES:
                break
            votes.update(i - k for i in spots if 0 <= i - k <= last)
        if not votes and last >= 0:
            votes.update(self._by_words(last))
        return [at for at, _ in votes.most_common(_MAX_WINDOWS)]

    def _by_words(self, last: int) -> Counter[int]:
        """When no line of the search is in the text: where its words are."""
        k = max(range(len(self.wanted)), key=lambda i: len(self.wanted[i]))
        words = set(self.wanted[k].split())
        shared = {i - k: len(words & set(text.split())) for i, text in enumerate(self.keys)}
        return Counter({at: n for at, n in shared.items() if n and 0 <= at <= last})

    def _score(self, start: int) -> float:
        pairs = zip(self.wanted, self.keys[start : start + len(self.wanted)], strict=True)
        scored = [(likeness(ours, theirs), len(ours) + 1) for ours, theirs in pairs]
        return sum(s * w for s, w in scored) / sum(w for _, w in scored)

    def _candidate(self, start: int, score: float) -> Candidate:
        spots = self.solid[start : start + len(self.wanted)]
        ours = [s for s in self.search if not is_blank(s)]
        differences = tuple(
            f"line {i + 1}: file has {self.texts[i]!r}, search has {text!r}"
            for i, text in zip(spots, ours, strict=True)
            if self.texts[i] != text
        )
        first, end = spots[0], spots[-1] + 1
        return Candidate(first + 1, end, "\n".join(self.texts[first:end]), round(score, 3), differences)


def squeeze(text: str) -> str:
    """What two lines share that differ in look-alikes and in the number of blanks."""
    return " ".join(key(text).split())


def likeness(ours: str, theirs: str) -> float:
    """How alike two lines are, 0 to 1."""
    if ours == theirs:
        return 1.0
    a, b = ours[:_MAX_SCORED_CHARS], theirs[:_MAX_SCORED_CHARS]
    return SequenceMatcher(None, a, b, autojunk=False).ratio()


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
