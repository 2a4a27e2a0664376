"""A workspace that the host does not see: it comes in as entries, and what changed in it goes back so.

An entry that comes in is a mapping of `path` (bytes, relative), `kind` (file, folder or link), `mode`,
`mtime_ns` and `data`: a file's next bytes, or the target of a link.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from . import executor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_TICK_S = 0.02
# What reading says of something that has become something else meanwhile.
_NO_LONGER = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO)
# A longer one cannot be opened (PATH_MAX, less a name).
_MAX_PATH_BYTES = 4_095 - 256


class Workspace:
    """The folder, and what each path in it was when the last entry had come."""

    def __init__(self, root: str) -> None:
        self._root = os.fsencode(root.rstrip("/"))
        self._marks: dict[bytes, tuple[int, ...]] = {}

    def requests(self) -> dict[str, Callable[[Any], dict[str, object]]]:
        """What can be asked beside what any executor answers."""
        return {"fill": self._fill, "mark": self._mark, "changed": self._changed, "fetch": self._fetch}

    def _fill(self, request: Any) -> dict[str, object]:
        """Make what the entries say. Those of a file come in a row; folders come before what is in them."""
        for entry in request["entries"]:
            path = os.path.join(self._root, entry["path"])
            if entry["kind"] == "folder":
                os.mkdir(path)
            elif entry["kind"] == "link":
                os.symlink(entry["data"], path)
            else:
                with open(path, "ab") as file:
                    file.write(entry["data"])
                os.chmod(path, entry["mode"])
                os.utime(path, ns=(entry["mtime_ns"], entry["mtime_ns"]))
        return {}

    def _mark(self, request: Any) -> dict[str, object]:
        """Remember the workspace as it is. Nobody can set back the time of a file's last change."""
        self._marks = {path: _mark(found) for path, found in self._walk(request["folders_deep"])}
        # That time is as coarse as the kernel's tick; what is written from now on gets a later one.
        time.sleep(_TICK_S)
        return {}

    def _changed(self, request: Any) -> dict[str, object]:
        """Every path that may differ from what was marked; of what is gone the kind says so."""
        there = dict(self._walk(request["folders_deep"]))
        changed = [
            executor.described(path, found)
            for path, found in there.items()
            if self._marks.get(path) != _mark(found)
        ]
        return {"entries": [*changed, *map(_gone, self._marks.keys() - there.keys())]}

    def _fetch(self, request: Any) -> dict[str, object]:
        """What the paths hold, one after the other; the entries tell where each ends."""
        entries, parts, left = [], [], request["limit_bytes"]
        for path in request["paths"]:
            entry, data = self._content(path, left)
            left -= len(data)
            entries.append(entry)
            parts.append(data)
        return {"entries": entries, "data": b"".join(parts)}

    def _content(self, path: bytes, limit_bytes: int) -> tuple[dict[str, Any], bytes]:
        """A file's bytes or a link's target. It may have become something else since it was told of."""
        where = os.path.join(self._root, path)
        try:
            found = os.lstat(where)
            if stat.S_ISLNK(found.st_mode):
                data = os.readlink(where)
            elif not stat.S_ISREG(found.st_mode):
                return _gone(path), b""
            else:
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                with open(os.open(where, flags), "rb") as file:
                    data = file.read(limit_bytes + 1)
        except OSError as error:
            if error.errno in _NO_LONGER:
                return _gone(path), b""
            raise
        if len(data) > limit_bytes:
            raise executor.Refused("limit_exceeded", f"`{os.fsdecode(path)}` grows while it is read")
        return {**executor.described(path, found), "size_bytes": len(data)}, data

    def _walk(self, folders_deep: int) -> Iterator[tuple[bytes, os.stat_result]]:
        """Files and links below."""
        folders = [(self._root, 0)]
        while folders:
            folder, depth = folders.pop()
            if depth > folders_deep or len(folder) > _MAX_PATH_BYTES:
                raise executor.Refused("limit_exceeded", f"folders lie more than {folders_deep} deep")
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        found = entry.stat(follow_symlinks=False)
                        if stat.S_ISDIR(found.st_mode):
                            folders.append((entry.path, depth + 1))
                        elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                            yield entry.path[len(self._root) + 1 :], found
            except (FileNotFoundError, NotADirectoryError):
                # Deleted meanwhile, by a command that still runs.
                continue


def _mark(found: os.stat_result) -> tuple[int, ...]:
    """What tells whether a file is still the same."""
    return found.st_ino, found.st_ctime_ns, found.st_size, found.st_mode


def _gone(path: bytes) -> dict[str, Any]:
    return {"name": path, "kind": "gone", "size_bytes": 0, "mode": 0}
