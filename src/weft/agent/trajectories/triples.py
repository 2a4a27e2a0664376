"""Every edit that a session made, as original file, edit command and final file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from weft.agent.events import AnyEvent, SavedFile, SessionStarted, ToolFinished
from weft.agent.session import SessionStore
from weft.agent.state import State

KINDS: Final = {"edit_file": "search_replace", "apply_patch": "patch", "write_file": "whole_file"}


def triples(
    store: SessionStore, events: Sequence[AnyEvent], repeat_search_replace: int = 1
) -> Iterator[dict[str, Any]]:
    """One for each file that an edit tool changed; None stands for a file that is not there.

    Binary files are left out, and so is what commands changed: no edit stands behind that.
    """
    state = State()
    for event in events:
        before = {file.path: file for file in state.saved}
        state.apply(event)
        if isinstance(event, ToolFinished) and event.outcome == "ok" and event.tool in KINDS:
            kind = KINDS[event.tool]
            for triple in _of_call(store, event, before, state):
                yield from [triple] * (repeat_search_replace if kind == "search_replace" else 1)


def _of_call(
    store: SessionStore, event: ToolFinished, before: dict[str, SavedFile], state: State
) -> Iterator[dict[str, Any]]:
    after = {file.path: file for file in state.saved}
    for path in dict.fromkeys(use.path for use in event.files if use.how != "read"):
        try:
            original = _text(store, event.session, _held(path, before, after))
            final = _text(store, event.session, _held(path, after, before))
        except UnicodeDecodeError:
            continue
        if original != final:
            yield {
                "session": event.session,
                "step": event.step,
                "instruction": state.started.task if isinstance(state.started, SessionStarted) else "",
                "path": path,
                "format": KINDS[event.tool],
                "original": original,
                "edit": {"tool": event.tool, "arguments": msgspec.json.decode(event.arguments)},
                "final": final,
            }


def _held(path: str, now: dict[str, SavedFile], other: dict[str, SavedFile]) -> str | None:
    """The digest of a file at one of two moments; without a saved change it is what the workspace holds."""
    if path in now:
        return now[path].digest
    return other[path].before if path in other else None


def _text(store: SessionStore, session: str, digest: str | None) -> str | None:
    return None if digest is None else store.file(session, digest).decode("utf-8")
