"""The note of what is being written to a workspace, so that a crash in the middle is made good later."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from weft.agent.sandbox.changes import Change, Content
from weft.core.errors import Conflict, Corrupt, Denied, Unavailable

NAME: Final = ".weft-commit"
_UNDER_WAY: Final = ".weft-commit.new"
NAMES: Final = frozenset({NAME, _UNDER_WAY})
_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def noted(root: str, changes: Sequence[Change]) -> Iterator[None]:
    """Keep a note of the changes while they are written; it is complete from the instant at which it exists.

    It is taken away at the end, and left where the block fails: then the changes are neither made nor unmade.
    """
    with _alone(root) as fd:
        if _exists(fd):
            raise Conflict(
                f"an earlier commit to `{root}` was cut short", hint="open a new sandbox, which completes it"
            )
        try:
            _note(fd, changes)
        except OSError as error:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(_UNDER_WAY, dir_fd=fd)
            raise Unavailable(
                f"cannot note in `{root}` what is to be committed: {error.strerror}",
                hint="free some space there, and see that its folder may be written to",
            ) from error
        yield
        os.unlink(NAME, dir_fd=fd)


def _note(root: int, changes: Sequence[Change]) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(_UNDER_WAY, flags, 0o600, dir_fd=root), "wb") as file:
        # A path may hold bytes that are no text.
        file.write(msgspec.msgpack.encode([(os.fsencode(c.path), c.before, c.after) for c in changes]))
    os.rename(_UNDER_WAY, NAME, src_dir_fd=root, dst_dir_fd=root)


@contextlib.contextmanager
def unfinished(root: str) -> Iterator[list[Change]]:
    """The changes of a commit that was cut short, which the block is to write; none if there are none."""
    if not any(os.path.lexists(os.path.join(root, name)) for name in NAMES):
        yield []
        return
    with _alone(root) as fd:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_UNDER_WAY, dir_fd=fd)
        changes = _read(root, fd) if _exists(fd) else []
        yield changes
        if changes:
            os.unlink(NAME, dir_fd=fd)


def _read(root: str, fd: int) -> list[Change]:
    """The note, which any command outside may have put there: no path in it leads out of the workspace."""
    try:
        with open(os.open(NAME, _READING, dir_fd=fd), "rb") as file:
            rows = msgspec.msgpack.decode(
                file.read(), type=list[tuple[bytes, Content | None, Content | None]]
            )
            changes = [Change(os.fsdecode(path), before, after) for path, before, after in rows]
    except PermissionError as error:
        raise Denied(
            f"`{root}/{NAME}`, of a commit that was cut short, cannot be read",
            hint="open the sandbox as the user who made the commit",
        ) from error
    except (OSError, msgspec.MsgspecError) as error:
        raise _unreadable(root) from error
    if any({"", ".", "..", ".git"} & set(change.path.split("/")) for change in changes):
        raise _unreadable(root)
    return changes


def _unreadable(root: str) -> Corrupt:
    return Corrupt(
        f"`{root}/{NAME}` is not the note of a commit",
        hint="compare the workspace with its last commit in git, then delete that file",
    )


def _exists(fd: int) -> bool:
    try:
        os.stat(NAME, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


@contextlib.contextmanager
def _alone(root: str) -> Iterator[int]:
    """A descriptor of the workspace that no other commit holds; the kernel lets go of it with the process."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)
