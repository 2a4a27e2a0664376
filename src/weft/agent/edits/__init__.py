"""Edits to text that land where they were meant to, or not at all."""

from weft.agent.edits.apply import apply
from weft.agent.edits.model import (
    Applied,
    Candidate,
    Edit,
    EditError,
    Hunk,
    LineRange,
    SearchReplace,
    WholeFile,
)
from weft.agent.edits.patch import apply_patch

__all__ = [
    "Applied",
    "Candidate",
    "Edit",
    "EditError",
    "Hunk",
    "LineRange",
    "SearchReplace",
    "WholeFile",
    "apply",
    "apply_patch",
]
