"""How long does one edit take, by how it is quoted and by the size of its file?"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from _report import Report, latencies_s, scale_from_arguments

from weft.agent.edits import EditError, SearchReplace, apply, apply_patch
from weft.core.randomness import derived_random

SOURCES = Path(__file__).parents[1] / "src"
SIZES = {"1 KB": 1_000, "30 KB": 30_000, "1 MB": 1_000_000}
EDITS = {"1 KB": 500, "30 KB": 200, "1 MB": 20}
LINES = 5
"""Of a search; models quote about that many."""


class Case(NamedTuple):
    text: str
    old: list[str]
    """The lines of the place, with endings."""
    new: list[str]

    @property
    def edit(self) -> SearchReplace:
        return SearchReplace("".join(self.old), "".join(self.new))

    def spoilt(self, spoil: Callable[[str, int], str]) -> Case:
        """The same, each line of the edit spoilt, given its number."""
        old = [spoil(line, number) for number, line in enumerate(self.old)]
        new = [spoil(line, number) for number, line in enumerate(self.new)]
        return Case(self.text, old, new)


def quoted(text: str, at: int) -> Case:
    """The lines as they are; the last of them changes."""
    old = text.splitlines(keepends=True)[at : at + LINES]
    return Case(text, old, [*old[:-1], old[-1].rstrip("\n") + "  # changed\n"])


def shifted(line: str, number: int) -> str:
    return "    " + line if line.strip() else line


def slipped(line: str, number: int) -> str:
    return line.rstrip("\n") + "s\n" if number == 1 else line


def dangling(line: str, number: int) -> str:
    return line.rstrip("\n") + "  \n" if number < LINES - 1 else line


def patch(case: Case) -> str:
    """The edit as a unified diff with wrong line numbers."""
    kept = "".join(f" {line}" for line in case.old[:-1])
    return f"--- a/f\n+++ b/f\n@@ -1,9 +7,9 @@\n{kept}-{case.old[-1]}+{case.new[-1]}"


KINDS: dict[str, Callable[[Case], Callable[[], object]]] = {
    "exact": lambda case: partial(apply, case.text, case.edit),
    "trailing blanks": lambda case: partial(apply, case.text, case.spoilt(dangling).edit),
    "indented": lambda case: partial(apply, case.text, case.spoilt(shifted).edit),
    "near match": lambda case: partial(apply, case.text, case.spoilt(slipped).edit),
    "not there": lambda case: partial(refused, case.spoilt(lambda line, number: line.rstrip("\n") + "x\n")),
    "unified diff": lambda case: partial(apply_patch, {"f": case.text}, patch(case)),
}


def refused(case: Case) -> None:
    """The error with its candidates, which is what a model waits for then."""
    try:
        apply(case.text, case.edit)
    except EditError:
        return
    raise AssertionError("this edit is nowhere")


def replaced(case: Case) -> str:
    """What Python takes when it is certain that the text is there once."""
    return case.text.replace("".join(case.old), "".join(case.new), 1)


def cases(texts: list[str], size: int, number: int, rng: random.Random) -> list[Case]:
    """Places whose lines every kind of edit finds; those that name two places, or none, are left out. A text
    that has few such places makes way for another."""
    found: list[Case] = []
    while len(found) < number:
        rng.shuffle(texts)
        text = text_of(size, texts)
        lines = text.count("\n")
        for _ in range(10 * number):
            case = quoted(text, rng.randrange(max(1, lines - LINES)))
            if all(line.strip() for line in case.old) and all(_works(make(case)) for make in KINDS.values()):
                found.append(case)
    return found[:number]


def _works(work: Callable[[], object]) -> bool:
    try:
        work()
    except (EditError, AssertionError):
        return False
    return True


def text_of(size: int, texts: list[str]) -> str:
    """Lines of source files, each numbered, so that none is there twice."""
    lines = (line for text in cycle(texts) for line in text.splitlines())
    made: list[str] = []
    length = 0
    for number, line in enumerate(lines):
        made.append(f"{line}  # {number}\n" if line else "\n")
        length += len(made[-1])
        if length >= size:
            return "".join(made)
    raise AssertionError


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    rng = derived_random(1, "edits")
    texts = [path.read_text() for path in sorted(SOURCES.rglob("*.py"))]
    for what, size in SIZES.items():
        size = max(1_000, int(size * min(scale, 1)))
        chosen = cases(texts, size, max(3, int(EDITS[what] * scale)), rng)
        floor, *spent = latencies_s(
            (partial(replaced, case) for case in chosen),
            *([make(case) for case in chosen] for make in KINDS.values()),
        )
        report.add_latencies(f"str.replace, {what}", floor)
        for kind, seconds in zip(KINDS, spent, strict=True):
            report.add_latencies(f"{kind}, {what}", seconds, floor=f"str.replace, {what}")
    report.print()


if __name__ == "__main__":
    main()
