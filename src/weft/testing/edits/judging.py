"""Runs a case in one of the formats in which models write edits, and says what came of it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal

from weft.agent.edits import EditError, SearchReplace, apply, apply_patch
from weft.testing.edits.drafts import MARKS, Case

Outcome = Literal["right", "refused rightly", "refused unshown", "refused though unambiguous", "wrong"]
OUTCOMES: Final[tuple[Outcome, ...]] = (
    "right",
    "refused rightly",
    "refused unshown",
    "refused though unambiguous",
    "wrong",
)
"""The last three must never come; `refused unshown` is an error that does not show the place."""
FORMATS: Final = ("search and replace", "search blocks", "V4A", "unified, wrong numbers")


def forms(case: Case) -> Sequence[str]:
    """The formats that can say this edit."""
    if not case.ending:
        return FORMATS[:1]
    marked = any(line.startswith(MARKS) for line in (*case.search, *case.replace))
    return [
        form for form in (FORMATS if case.steps else FORMATS[:2]) if not (marked and form == "search blocks")
    ]


def run(case: Case, form: str, rng: random.Random) -> str:
    """The text after the edit, written in one of `FORMATS`; `EditError` where it is refused."""
    if form == "search and replace":
        return apply(case.text, SearchReplace(_joined(case.search, case), _joined(case.replace, case))).text
    result = apply_patch({"a file": case.text}, written(case, form, rng))["a file"]
    assert result is not None
    return result


def judge(case: Case, form: str, rng: random.Random) -> Outcome:
    """What came of the case. A refusal that had to come must show the place."""
    try:
        got = run(case, form, rng)
    except EditError as error:
        if case.verdict == "applies":
            return "refused though unambiguous"
        stop = case.line + len(case.search)
        shown = any(near.start_line <= stop and case.line <= near.end_line for near in error.candidates)
        return "refused rightly" if shown or case.verdict == "either" else "refused unshown"
    return "right" if got == case.intended and case.verdict != "refused" else "wrong"


def written(case: Case, form: str, rng: random.Random) -> str:
    """The edit as a model writes it in a format of several files."""
    if form == "search blocks":
        search, replace = _joined(case.search, case), _joined(case.replace, case)
        return f"a file\n<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"
    body = "".join(f"{mark}{text}{case.ending}" for mark, text in case.steps)
    if form == "V4A":
        return f"*** Begin Patch\n*** Update File: a file\n@@\n{body}*** End Patch\n"
    start, count = rng.randrange(1, 5_000), rng.choice([len(case.search), rng.randrange(900)])
    return f"--- a/a file\n+++ b/a file\n@@ -{start},{count} +{start + 7},{len(case.replace)} @@\n{body}"


def _joined(lines: Sequence[str], case: Case) -> str:
    return case.ending.join(lines) + (case.ending if lines else "")
