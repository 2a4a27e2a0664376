"""How long does one edit of a source file take, and of a large one?"""

from __future__ import annotations

import random
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from _report import Report, latencies_s, scale_from_arguments

from weft.agent.edits import EditError, SearchReplace, apply
from weft.core.randomness import derived_random

SOURCES = Path(__file__).parents[1] / "src"
EDITS = 1_000
LARGE_BYTES = 1_000_000
LARGE_EDITS = 20
LINES = 5
"""Of a search; models quote about that many."""


class Case(NamedTuple):
    text: str
    edit: SearchReplace
    intended: str


def exact(text: str, at: int) -> Case:
    """Quotes the lines as they are and changes the last of them."""
    lines = text.splitlines(keepends=True)
    quoted = lines[at : at + LINES]
    changed = [*quoted[:-1], quoted[-1].rstrip("\n") + "  # changed\n"]
    intended = "".join([*lines[:at], *changed, *lines[at + LINES :]])
    return Case(text, SearchReplace("".join(quoted), "".join(changed)), intended)


def indented(text: str, at: int) -> Case:
    """The same, with all lines quoted four columns further in."""
    case = exact(text, at)
    return case._replace(edit=SearchReplace(_shifted(case.edit.search), _shifted(case.edit.replace)))


def misquoted(text: str, at: int) -> Case:
    """The same, with a letter too many in the second line, which the edit keeps."""
    case = exact(text, at)
    return case._replace(edit=SearchReplace(_slipped(case.edit.search), _slipped(case.edit.replace)))


def _shifted(quoted: str) -> str:
    return "".join("    " + line if line.strip() else line for line in quoted.splitlines(keepends=True))


def _slipped(quoted: str) -> str:
    lines = quoted.splitlines(keepends=True)
    lines[1] = lines[1].rstrip("\n") + "s\n"
    return "".join(lines)


KINDS = {"exact": exact, "indented": indented, "misquoted": misquoted}


def places(texts: list[str], number: int, rng: random.Random) -> list[tuple[str, int]]:
    """Places whose lines every kind of edit finds; those that name two places, or none, are refused."""
    found: list[tuple[str, int]] = []
    while len(found) < number:
        text = rng.choice(texts)
        at = rng.randrange(max(1, text.count("\n") - LINES))
        if all(_lands(make(text, at)) for make in KINDS.values()):
            found.append((text, at))
    return found


def _lands(case: Case) -> bool:
    try:
        result = apply(case.text, case.edit).text
    except EditError:
        return False
    assert result == case.intended
    return True


def replaced(case: Case) -> str:
    """What Python takes when it is certain that the text is there once."""
    return case.text.replace(case.edit.search, case.edit.replace, 1)


def large_text(texts: list[str], size: int) -> str:
    """Lines of the files, each numbered, so that none is there twice."""
    lines = (line for text in cycle(texts) for line in text.splitlines())
    made: list[str] = []
    length = 0
    for number, line in enumerate(lines):
        made.append(f"{line}  # {number}\n")
        length += len(made[-1])
        if length >= size:
            return "".join(made)
    raise AssertionError


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    rng = derived_random(1, "edits")
    texts = [text for path in sorted(SOURCES.rglob("*.py")) if (text := path.read_text()).count("\n") > LINES]
    large = large_text(texts, max(2_000, int(LARGE_BYTES * scale)))
    workloads = {
        "source file": places(texts, max(5, int(EDITS * scale)), rng),
        f"file of {len(large) / 1e6:.2g} MB": places([large], max(2, int(LARGE_EDITS * scale)), rng),
    }
    for what, chosen in workloads.items():
        cases = [[make(*place) for place in chosen] for make in KINDS.values()]
        floor, *spent = latencies_s(
            (partial(replaced, case) for case in cases[0]),
            *((partial(apply, case.text, case.edit) for case in each) for each in cases),
        )
        report.add_latencies(f"str.replace, {what}", floor)
        for kind, seconds in zip(KINDS, spent, strict=True):
            report.add_latencies(f"{kind}, {what}", seconds, floor=f"str.replace, {what}")
            report.add(f"{kind}, {what}, edits", len(seconds) / sum(seconds), "edits/s")
    report.print()


if __name__ == "__main__":
    main()
