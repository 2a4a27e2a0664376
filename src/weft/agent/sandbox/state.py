"""The folders of sandboxes: where they are made, and what becomes of those whose owner was killed."""

from __future__ import annotations

import functools
import os
import secrets
import stat
import tempfile

from weft.agent.sandbox.inside import cgroups, marks
from weft.agent.sandbox.inside.keeper import remove_tree


def new(folder: str | None) -> str:
    """A path for a new folder of this process's, not made yet, in `folder` or the system's temporary one."""
    place = os.path.abspath(folder or tempfile.gettempdir())
    _sweep(place, os.getpid())
    return f"{place}/{marks.name(_mark(os.getpid()), secrets.token_hex(6))}"


@functools.cache
def _mark(pid: int) -> str:
    return marks.mark()


@functools.cache
def _sweep(place: str, pid: int) -> None:
    """Once in a process: remove what owners left who were killed together with their templates."""
    cgroups.remove_left()
    try:
        names = os.listdir(place)
    except OSError:
        return
    for name in filter(marks.is_left, names):
        found = os.lstat(f"{place}/{name}")
        # Nobody else can have put anything there, or change it while it is removed.
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077:
            remove_tree(f"{place}/{name}")
