"""The files of a folder on this machine, as the index sees them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from weft.agent.context.ignore import IGNORE_FILE, Found, Ignored, walk
from weft.core.errors import NotFound
from weft.core.limits import MAX_SOURCE_BYTES


class Stamp(NamedTuple):
    """What tells that a file changed without reading it."""

    modified_ns: int
    size_bytes: int
    inode: int


class Folder:
    """A tree of files of which ignored ones, links and special files do not count."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = os.path.realpath(root)
        if not os.path.isdir(self.root):
            raise NotFound(f"there is no folder `{os.fspath(root)}`", hint="name the root of a repository")
        self._ignored = Ignored()
        self._stamps: dict[str, Stamp] = {}

    def files(self) -> Iterator[tuple[str, Stamp]]:
        """Every file that counts, with its stamp; one that goes meanwhile is left out."""
        self._stamps.clear()
        for path in walk(self._entries, self._rules, self._ignored):
            yield path, self._stamps[path]

    def read(self, path: str) -> bytes:
        """The file's bytes, no more than are indexed; empty for one that cannot be read."""
        try:
            fd = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            with open(fd, "rb") as file:
                return file.read(MAX_SOURCE_BYTES + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
        except OSError:
            return b""

    def _entries(self, folder: str) -> list[Found]:
        prefix = "" if folder == "." else folder + "/"
        found = []
        try:
            with os.scandir(os.path.join(self.root, folder)) as entries:
                for entry in entries:
                    # A folder's own stamp tells nothing: files change without it.
                    if entry.is_dir(follow_symlinks=False):
                        found.append(Found(entry.name, "folder"))
                    elif entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        path = prefix + entry.name
                        self._stamps[path] = Stamp(status.st_mtime_ns, status.st_size, status.st_ino)
                        found.append(Found(entry.name, "file"))
        except OSError:
            return []
        return found

    def _rules(self, folder: str) -> str | None:
        return self.read(os.path.normpath(os.path.join(folder, IGNORE_FILE))).decode("utf-8", "replace")
