"""Edits of real source files, perturbed as models perturb them, whose intended result is known beforehand."""

from weft.testing.edits.drafts import Case, Sources, source_paths, stands_once
from weft.testing.edits.judging import FORMATS, OUTCOMES, Outcome, forms, judge, run
from weft.testing.edits.kinds import KINDS, cases

__all__ = [
    "FORMATS",
    "KINDS",
    "OUTCOMES",
    "Case",
    "Outcome",
    "Sources",
    "cases",
    "forms",
    "judge",
    "run",
    "source_paths",
    "stands_once",
]
