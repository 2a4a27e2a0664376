"""The facts of a session as a text of bounded size; what does not fit stays whole behind a handle.

The order of the sections is the order of importance. Each takes what room it needs, as long as those behind
it still get a little, and gives up its oldest rows first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from weft.agent.compaction.facts import Facts, Run
from weft.agent.tools.output import clipped

Keep = Callable[[str], str]
"""Keeps a text with the session, and gives the handle that `read_output` opens."""

_HEAD: Final = "What happened so far, in short, since the messages themselves were taken out to make room:"
_NOTE_CHARS: Final = 110
"""Of the line that tells of a handle."""
_LEAST_CHARS: Final = 160
"""What a section behind others can count on."""
_OUTPUT_CHARS: Final = 1_200
_RUNS_WITH_OUTPUT: Final = 2
_ERRORS_PER_RUN: Final = 20


class Section(msgspec.Struct, frozen=True):
    """Rows under a title, the most important last."""

    title: str
    rows: Sequence[str]

    def whole(self) -> str:
        return "\n".join([self.title, *self.rows])


def told(facts: Facts, notes: str, room_chars: int, keep: Keep) -> str:
    """The text, at most `room_chars` long if that leaves every section a line."""
    sections = [section for section in _sections(facts, notes, keep) if section.rows]
    parts = [_HEAD]
    room = room_chars - len(_HEAD)
    for at, section in enumerate(sections):
        behind = sum(min(_LEAST_CHARS, len(later.whole()) + 2) for later in sections[at + 1 :])
        parts.append(_fitted(section, max(_LEAST_CHARS, room - behind) - 2, keep))
        room -= len(parts[-1]) + 2
    return "\n\n".join(parts)


def _fitted(section: Section, room: int, keep: Keep) -> str:
    whole = section.whole()
    if len(whole) <= room:
        return whole
    left = room - len(section.title) - _NOTE_CHARS
    rows: list[str] = []
    for row in reversed(section.rows):
        left -= len(row) + 1
        if left < 0:
            break
        rows.append(row)
    note = f"[{len(section.rows) - len(rows):,} more: read_output handle={keep(whole)}]"
    return "\n".join([section.title, note, *reversed(rows)])


def _sections(facts: Facts, notes: str, keep: Keep) -> Iterator[Section]:
    yield Section("The person said:", facts.said)
    # Those of the root were told first, and hold everywhere: they are the last to give way.
    yield Section("Rules of the repository:", facts.rules[::-1])
    yield Section("Tests that failed when they last ran:", list(_failing(facts.runs)))
    yield Section("Errors and the places they name:", list(_errors(facts.runs)))
    yield Section("Files changed so far, not yet landed:", facts.open_edits)
    yield Section("The plan:", facts.todo.splitlines())
    yield Section("What did not work:", facts.dead_ends)
    yield Section("How it stands:", [_standing(facts)])
    yield Section("Notes of a model, not checked by anybody:", notes.splitlines())
    yield Section("Commands, each as it last ended:", list(_commands(facts.runs, keep)))
    yield Section("You said:", facts.decisions)
    yield Section("Files that you have read:", facts.read)


def _failing(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        for one in run.failing:
            place = f" ({one.place})" if one.place else ""
            yield f"- {one.test}{place}" + (f": {one.message}" if one.message else "")


def _errors(runs: Sequence[Run]) -> Iterator[str]:
    for run in runs:
        named = {one.message for one in run.failing}
        errors = [error for error in run.errors if error not in named]
        yield from (f"- {error}" for error in errors[-_ERRORS_PER_RUN:])
        if run.frames:
            yield f"- at {', '.join(run.frames)}"


def _standing(facts: Facts) -> str:
    if facts.verified:
        return f"The last verification: {facts.verified}. Nothing after it is verified."
    return "Nothing is verified yet."


def _commands(runs: Sequence[Run], keep: Keep) -> Iterator[str]:
    for at, run in enumerate(runs):
        row = f"- step {run.step}: `{run.command}` ended with {run.exit_code}"
        if run.ok or len(runs) - at > _RUNS_WITH_OUTPUT:
            yield row
        else:
            shown = clipped(run.output, _OUTPUT_CHARS)
            yield f"{row} (all of it: read_output handle={keep(run.output)})\n{shown}"
