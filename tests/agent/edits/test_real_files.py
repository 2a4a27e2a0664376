"""Thousands of edits of real source files, spoilt in every known way: right, or refused, never wrong."""

from __future__ import annotations

import random
import sysconfig
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from weft.testing.edits import KINDS, OUTCOMES, Case, Sources, cases, forms, judge, source_paths, stands_once

SEED = 20_260_726
CASES = 2_000
STDLIB = Path(sysconfig.get_path("stdlib"))


@cache
def sources() -> Sources:
    paths = [path for path in source_paths([STDLIB]) if "site-packages" not in path.parts]
    return Sources.read(paths, 150, random.Random(SEED))


@pytest.mark.slow
def test_real_files_are_edited_as_intended_or_not_at_all() -> None:
    rng = random.Random(SEED)
    counts: Counter[tuple[str, str]] = Counter()
    for case in cases(sources(), CASES, rng):
        form = rng.choice(forms(case))
        outcome = judge(case, form, rng)
        if outcome in OUTCOMES[2:]:
            raise AssertionError(f"{outcome}: {case.kind}, as {form}: {case.search} -> {case.replace}")
        counts[case.kind, outcome] += 1
    kinds = {kind: {outcome for each, outcome in counts if each == kind} for kind in KINDS}
    assert all(kinds.values())
    assert "right" in kinds["exact"] & kinds["several at once"] & kinds["a slip in a line that stays"]
    assert kinds["the place twice"] == kinds["a slip in a line that goes"] == {"refused rightly"}


def test_the_oracle_is_strict_about_twins_and_blind_to_how_they_are_written() -> None:
    assert stands_once("a\n  b c\n", ["b", "c"][:1])
    assert stands_once("\ufeff\ta = \u201c1\u201d\r\n\r\n  b\n", ['a="1"', "b"])
    assert not stands_once("a\nb\n  a\n", ["a"])
    assert not stands_once("aba\n", ["a"])
    assert not stands_once("a\n", ["b"])
    assert not stands_once("a\n", [""])


def test_a_wrong_result_and_a_refusal_that_shows_nothing_are_found() -> None:
    rng = random.Random(SEED)
    right = Case("", "a\nb\n", ("a",), ("x",), "\n", "x\nb\n", "applies", 1, ())
    assert judge(right, "search and replace", rng) == "right"
    assert judge(right._replace(intended="y\nb\n"), "search blocks", rng) == "wrong"
    assert judge(right._replace(verdict="refused"), "search blocks", rng) == "wrong"
    assert judge(right._replace(search=("c",)), "search blocks", rng) == "refused though unambiguous"
    twice = right._replace(text="a\nb\na\n", verdict="refused")
    assert judge(twice, "search and replace", rng) == "refused rightly"
    assert judge(twice._replace(line=9), "search and replace", rng) == "refused unshown"
