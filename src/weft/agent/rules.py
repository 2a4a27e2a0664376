"""The rules of the person's repository, told to the model once, where a session first works."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from weft.agent.events import RulesRead
from weft.agent.sandbox.changes import LINK, content_at, folder
from weft.agent.state import State

NAMES: Final = ("AGENTS.md", "CLAUDE.md")
"""The first of these that a folder has holds its rules."""

# More than this is not rules any more.
_MAX_CHARS: Final = 8_000


class Rules:
    """Finds what a session has not been told yet: the rules of the root, and of each folder above a file that
    it read or changed.

    They are read from the workspace: what the agent itself writes in the sandbox is no rule of the person. A
    link is not followed, for it could show the model any file of the host, and what the policy lets nobody
    read is not told.
    """

    def __init__(self, workspace: Path, may_read: Callable[[str], bool]) -> None:
        self._workspace = workspace
        self._may_read = may_read
        self._looked: set[str] = set()

    def untold(self, state: State) -> list[RulesRead]:
        """The rules to be told now, those of outer folders first."""
        places = {above for path in state.files for above in _above(path)} | {""}
        new = sorted(places - self._looked)
        self._looked.update(new)
        return [rules for place in new if place not in state.rules and (rules := self._in(place))]

    def _in(self, place: str) -> RulesRead | None:
        with folder(str(self._workspace)) as root:
            for path in (posixpath.join(place, name) for name in NAMES):
                try:
                    found = content_at(root, path)
                except PermissionError:
                    continue
                if found and found.mode != LINK and self._may_read(path):
                    text = found.data.decode("utf-8", "replace").strip()[:_MAX_CHARS]
                    return RulesRead(folder=place, path=path, text=text)
        return None


def _above(path: str) -> Iterator[str]:
    """The folders above a path of the workspace, without its root."""
    place = posixpath.dirname(posixpath.normpath(path))
    while place and not place.startswith(("/", "..")):
        yield place
        place = posixpath.dirname(place)
