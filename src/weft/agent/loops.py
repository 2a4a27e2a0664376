"""Does a session go in circles: the same calls with the same results, round after round."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from weft.agent.events import SavedFile, ToolFinished

TIMES: Final = 3
"""A round that came this often in a row will come again: nothing that the model sees has changed."""

_LONGEST_ROUND: Final = 3
MEMORY: Final = TIMES * _LONGEST_ROUND
"""How many of the last turns are enough to see a circle."""

# What differs from run to run although nothing happened: durations and addresses.
_NOISE: Final = re.compile(r"(?<![\w.])\d{1,9}(?:\.\d{1,9})? ?m?s\b|\b0x[0-9a-f]{1,16}\b")


# Asking again is what these are for.
_WAITING: Final = frozenset({"command_output"})


class Turn(msgspec.Struct, frozen=True):
    """Something that the model did, and what came of it."""

    what: str
    did: str
    seen: str
    files: tuple[SavedFile, ...] | None = None
    """How it left the files, if it may have changed some: the same words over other files are progress."""


def turn(event: ToolFinished) -> Turn:
    """A call with its result, without what differs from run to run."""
    seen = f"{event.outcome} {without_noise(event.output)}"
    return Turn(event.tool, event.arguments.strip(), seen, event.saved)


def without_noise(text: str) -> str:
    """The text without durations and addresses."""
    return _NOISE.sub("", text)


def circle(turns: Sequence[Turn]) -> tuple[str, ...]:
    """The one, two or three turns whose round ends the sequence `TIMES` times over; empty if none does."""
    for length in range(1, _LONGEST_ROUND + 1):
        end = turns[-length * TIMES :]
        if len(end) == length * TIMES and end[length:] == end[:-length]:
            names = tuple(turn.what for turn in end[:length])
            return () if set(names) <= _WAITING else names
    return ()
