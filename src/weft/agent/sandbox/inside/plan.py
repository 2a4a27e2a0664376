"""System calls that are prepared once and made many times, by processes that shall touch little memory.

A page that a fork writes to is copied, and in Python to call a function is to write to it, and to each object
that it meets: the loop here meets a few objects for each call, and no function but libc's.
"""

from __future__ import annotations

import ctypes
import errno
import os

from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_MUST_BE, _OPENS, _MAY_BE_REFUSED = 0, 1, 2
_REFUSALS = (errno.EACCES, errno.EPERM)


class Plan:
    """What is to be done to the file tree, in order; nothing is done before `run`."""

    def __init__(self) -> None:
        self._steps: list[tuple[Any, tuple[Any, ...], int]] = []
        # Apart from the steps, since only a step that fails needs its name.
        self._names: list[str] = []
        self._folders: set[str] = set()
        # Passed by what it holds when the call is made.
        self._fd = ctypes.c_int(-1)

    def run(self) -> None:
        """Make the calls; the first that fails is an `OSError` that names it."""
        fd = self._fd
        for step in self._steps:
            call, arguments, kind = step
            result = call(*arguments)
            if result < 0:
                number = ctypes.get_errno()
                if kind != _MAY_BE_REFUSED or number not in _REFUSALS:
                    raise OSError(number, f"{self._name(step)}: {os.strerror(number)}")
            elif kind == _OPENS:
                fd.value = result

    def call(self, name: str, *arguments: int | bytes) -> None:
        """A function of libc that answers -1 where it fails."""
        self._add(getattr(_libc, name), *arguments, what=name)

    def folder(self, path: str, mode: int = 0o755) -> None:
        """A folder, in one that the plan has made or that is there."""
        self._folders.add(path)
        self._add(_libc.mkdir, os.fsencode(path), mode, what=f"mkdir {path}")

    def folders(self, path: str, below: str) -> None:
        """A folder with those above it, where the plan has not made them, up to one that is there."""
        if path != below and path not in self._folders:
            self.folders(os.path.dirname(path), below)
            self.folder(path)

    def file(self, path: str, mode: int) -> None:
        """An empty file."""
        flags = os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC
        self._add(_libc.open, os.fsencode(path), flags, mode, kind=_OPENS, what=f"open {path}")
        self._add(_libc.close, self._fd, what="close")

    def link(self, path: str, target: str) -> None:
        """A symbolic link."""
        self._add(_libc.symlink, os.fsencode(target), os.fsencode(path), what=f"symlink {path}")

    def remove(self, folder: str, file: str) -> None:
        """Take an empty folder and a file away."""
        self._add(_libc.rmdir, os.fsencode(folder), what=f"rmdir {folder}")
        self._add(_libc.unlink, os.fsencode(file), what=f"unlink {file}")

    def mount(self, kind: str | None, target: str, flags: int, data: str | None = None) -> None:
        """As `kernel.mount`."""
        name = kind.encode() if kind else None
        told = data.encode() if data is not None else None
        what = f"mount {kind or 'change'} on {target}"
        self._add(_libc.mount, name, os.fsencode(target), name, flags, told, what=what)

    def bind(self, source: str, target: str, attributes: int, *, may_be_refused: bool = False) -> None:
        """As `kernel.bind`. What `may_be_refused` is a target that this user cannot reach."""
        opening, changing, moving = kernel.binding(source, target, attributes, 0, self._fd)
        self._add(_libc.syscall, *opening, kind=_OPENS, what=f"open_tree {source}")
        self._add(_libc.syscall, *changing, what=f"mount_setattr {source}")
        kind = _MAY_BE_REFUSED if may_be_refused else _MUST_BE
        self._add(_libc.syscall, *moving, kind=kind, what=f"move_mount {target}")
        self._add(_libc.close, self._fd, what="close")

    def _add(self, call: Any, *arguments: Any, what: str, kind: int = _MUST_BE) -> None:
        self._steps.append((call, arguments, kind))
        self._names.append(what)

    def _name(self, step: tuple[Any, tuple[Any, ...], int]) -> str:
        return next(name for each, name in zip(self._steps, self._names, strict=True) if each is step)
