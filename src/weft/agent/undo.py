"""Taking back what a session did after a step: its own changes, and never what a person did to a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from weft.agent.checkpoints import not_yet_made
from weft.agent.events import AnyEvent, Landed, ModelReplied, SavedFile, SessionStarted, Undone
from weft.agent.sandbox import commit
from weft.agent.sandbox.changes import Change, Content
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.core.errors import Invalid

START: Final = 0
"""The step before the first: everything that the session did is taken back."""


def undo(store: SessionStore, session: str, to_step: int, workspace: Path | None = None) -> Undone:
    """Bring a session's files back to how they were after a step; the session can then go on from there.

    Changes that landed after that step are taken out of the workspace as well. Where a person has edited one
    of these files since, it is a `Conflict` that names the file, and nothing is undone.
    """
    opened = store.open(session)
    with store.hold(session):
        undone = plan(opened.events, to_step)
        root = workspace or Path(cast(SessionStarted, State(opened.events).started).workspace)
        missing = not_yet_made(root, undone.written)
        commit.write(str(root), [_change(store, session, file) for file in missing])
        return opened.append(undone)


def plan(events: Sequence[AnyEvent], to_step: int) -> Undone:
    """What undoing does, from the events alone."""
    last = State(events).step
    if not START <= to_step < last:
        raise Invalid(f"there is no step after {to_step} to undo", hint=f"name one from 0 to {last - 1}")
    cut = next(
        number
        for number, event in enumerate(events)
        if isinstance(event, ModelReplied) and event.step > to_step
    )
    landed = [file for event in events[cut:] for file in _written(event)]
    return Undone(to_step=to_step, saved=State(events[:cut]).saved, written=_taken_back(landed))


def _written(event: AnyEvent) -> tuple[SavedFile, ...]:
    """What an event changed in the workspace itself."""
    match event:
        case Landed():
            return event.saved
        case Undone():
            return event.written
    return ()


def _taken_back(landed: Sequence[SavedFile]) -> tuple[SavedFile, ...]:
    """From what each path holds after the last of these writes to what it held before the first."""
    first: dict[str, SavedFile] = {}
    final: dict[str, SavedFile] = {}
    for file in landed:
        first.setdefault(file.place, file)
        final[file.place] = file
    return tuple(
        SavedFile(
            first[path].path,
            first[path].before,
            first[path].before_mode,
            final[path].digest,
            final[path].mode,
            first[path].raw,
        )
        for path in sorted(first)
        if (first[path].before, first[path].before_mode) != (final[path].digest, final[path].mode)
    )


def _change(store: SessionStore, session: str, file: SavedFile) -> Change:
    return Change(
        file.place,
        _content(store, session, file.before, file.before_mode),
        _content(store, session, file.digest, file.mode),
    )


def _content(store: SessionStore, session: str, digest: str | None, mode: int) -> Content | None:
    return None if digest is None else Content(mode, store.file(session, digest))
