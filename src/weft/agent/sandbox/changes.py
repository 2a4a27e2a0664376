"""The exact difference between a workspace and what a sandbox made of it, found without following a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO, Literal

import msgspec

from weft.core.errors import Conflict, Denied, LimitExceeded, NotFound
from weft.core.limits import MAX_CHANGED_BYTES, MAX_CHANGED_FILES, MAX_FOLDERS_DEEP, MAX_PATH_BYTES

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
# What a path gives that is another thing than a moment ago; the last, a link that is none any more.
_RACED = (*_NOT_THERE, errno.EINVAL)
_OPAQUE = "user.overlay.opaque"

FILE, EXECUTABLE, LINK = 0o100644, 0o100755, 0o120000


class Content(msgspec.Struct, frozen=True):
    """A file's bytes or a link's target, with git's mode: 100644, 100755 or 120000 (octal)."""

    mode: int
    data: bytes


class Change(msgspec.Struct, frozen=True):
    """One path, relative to the workspace, and what it held before and holds now; None for nothing."""

    path: str
    before: Content | None
    after: Content | None

    @property
    def kind(self) -> Literal["added", "modified", "deleted"]:
        """What happened to the path."""
        if self.before is None:
            return "added"
        return "deleted" if self.after is None else "modified"


class Pair(msgspec.Struct, frozen=True):
    """Two folders to compare: the base, and a whole copy of it or the upper layer of an overlay on it."""

    base: str
    other: str
    layer: bool

    def changes(self) -> list[Change]:
        """What the other folder changes in the base, by path."""
        try:
            with folder(self.base) as base, folder(self.other) as other:
                seen = _touched(other, base, "") if self.layer else chain(_files(base, ""), _files(other, ""))
                return list(self._differing(base, other, sorted(set(seen))))
        except PermissionError as error:
            raise Denied(
                f"`{error.filename}` in the sandbox cannot be read: {error.strerror}",
                hint="run chmod -R u+rwX on it in the sandbox",
            ) from error
        except OSError as error:
            if error.errno not in _RACED:
                raise
            if error.filename in (self.base, self.other):
                raise NotFound(
                    f"the folder `{error.filename}` has gone", hint="open a new sandbox"
                ) from error
            raise Conflict(
                f"`{error.filename}` was changed while it was compared",
                hint="end the commands that run in the sandbox, and ask again",
            ) from error

    def _differing(self, base: int, other: int, paths: list[str]) -> Iterator[Change]:
        left, more = MAX_CHANGED_BYTES, MAX_CHANGED_FILES
        for path in paths:
            try:
                change = Change(path, content_at(base, path, left), content_at(other, path, left))
            except LimitExceeded:
                if not self.layer and _same_file(base, other, path):
                    continue
                raise
            if change.before == change.after:
                continue
            left -= sum(len(content.data) for content in (change.before, change.after) if content)
            more -= 1
            if left < 0 or more < 0:
                raise _too_much(path)
            yield change


@contextlib.contextmanager
def folder(root: str | int, *parts: str) -> Iterator[int]:
    """A descriptor of a folder below the root, of which no part but the root's own may be a link."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if isinstance(root, str) else os.dup(root)
    try:
        for part in parts:
            below = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def content_at(root: int, path: str, limit_bytes: int | None = None) -> Content | None:
    """What is at a path: None for nothing, a folder, or anything that is neither file nor link.

    `LimitExceeded` for a longer file, before it is read: a file may have more bytes than there is memory.
    """
    *parents, name = path.split("/")
    limit_bytes = MAX_CHANGED_BYTES if limit_bytes is None else limit_bytes
    try:
        with folder(root, *parents) as parent:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                return Content(LINK, os.fsencode(os.readlink(name, dir_fd=parent)))
            if not stat.S_ISREG(found.st_mode):
                return None
            if found.st_size > limit_bytes:
                raise _too_much(path)
            with open(os.open(name, _FILE, dir_fd=parent), "rb") as file:
                return Content(EXECUTABLE if found.st_mode & 0o100 else FILE, file.read(found.st_size))
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise


def _same_file(base: int, other: int, path: str) -> bool:
    """Whether two files have the same bytes and mode, read a piece at a time."""
    try:
        with _opened(base, path) as before, _opened(other, path) as after:
            found = [os.fstat(file.fileno()) for file in (before, after)]
            if len({(each.st_size, each.st_mode & 0o100) for each in found}) > 1:
                return False
            while (piece := before.read(1 << 20)) == after.read(1 << 20):
                if not piece:
                    return True
            return False
    except OSError as error:
        if error.errno in _NOT_THERE:
            return False
        raise


@contextlib.contextmanager
def _opened(root: int, path: str) -> Iterator[BinaryIO]:
    *parents, name = path.split("/")
    with folder(root, *parents) as parent, open(os.open(name, _FILE, dir_fd=parent), "rb") as file:
        yield file


def _too_much(path: str) -> LimitExceeded:
    return LimitExceeded(
        f"the changes up to `{path}` have more than {MAX_CHANGED_BYTES:,} bytes, or are of more than "
        f"{MAX_CHANGED_FILES:,} files",
        hint="delete in the sandbox what the command left behind",
    )


def _touched(upper: int, base: int, above: str) -> Iterator[str]:
    """Paths that an upper layer may change; its whiteouts and opaque folders touch all that they hide."""
    for name in os.listdir(upper):
        path = above + name
        found = os.stat(name, dir_fd=upper, follow_symlinks=False)
        merged = stat.S_ISDIR(found.st_mode) and _is_folder(base, name) and not _opaque(upper, name)
        if merged:
            _check_depth(path)
            with folder(upper, name) as upper_below, folder(base, name) as base_below:
                yield from _touched(upper_below, base_below, path + "/")
        else:
            yield from _at_or_below(base, name, path)
            yield from _at_or_below(upper, name, path)


def _files(root: int, above: str) -> Iterator[str]:
    for name in os.listdir(root):
        yield from _at_or_below(root, name, above + name)


def _at_or_below(root: int, name: str, path: str) -> Iterator[str]:
    _check_depth(path)
    if _is_folder(root, name):
        with folder(root, name) as below:
            yield from _files(below, path + "/")
    else:
        yield path


def _check_depth(path: str) -> None:
    if path.count("/") > MAX_FOLDERS_DEEP or len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise LimitExceeded(
            f"`{path[:100]}...` lies below more than {MAX_FOLDERS_DEEP} folders, or its path is longer than "
            f"{MAX_PATH_BYTES:,} bytes",
            hint="delete in the sandbox what the command left behind",
        )


def _is_folder(root: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=root, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _opaque(root: int, name: str) -> bool:
    with folder(root, name) as fd:
        try:
            return os.getxattr(fd, _OPAQUE) == b"y"
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
                return False
            raise
