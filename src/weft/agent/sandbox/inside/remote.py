"""A workspace that the host does not see: it comes in as entries, and what changed in it goes back so.

An entry that comes in is a mapping of `path` (bytes, relative), `kind` (file, folder or link), `mode`,
`mtime_ns` and `data`: a file's next bytes, or the target of a link.
"""

from __future__ import annotations

import os
import stat
import time

from . import executor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_TICK_S = 0.02


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
        self._marks = dict(self._walk())
        # That time is as coarse as the kernel's tick; what is written from now on gets a later one.
        time.sleep(_TICK_S)
        return {"count": len(self._marks)}

    def _changed(self, request: Any) -> dict[str, object]:
        """Every path that may differ from what was marked; of what is gone the kind says so."""
        now = dict(self._walk())
        found = [self._entry(path) for path, mark in now.items() if self._marks.get(path) != mark]
        gone = [
            {"name": path, "kind": "gone", "size_bytes": 0, "mode": 0}
            for path in self._marks.keys() - now.keys()
        ]
        return {"entries": [*found, *gone]}

    def _fetch(self, request: Any) -> dict[str, object]:
        """What the paths hold, one after the other; the entries tell where each ends."""
        entries, parts, total = [], [], 0
        for path in request["paths"]:
            entry = self._entry(path)
            total += entry["size_bytes"]
            if total > request["limit_bytes"]:
                raise executor.Refused("limit_exceeded", f"more than {request['limit_bytes']:,} bytes")
            data = self._content(path, entry["kind"])
            entries.append({**entry, "size_bytes": len(data)})
            parts.append(data)
        return {"entries": entries, "data": b"".join(parts)}

    def _entry(self, path: bytes) -> dict[str, Any]:
        return executor.described(path, os.lstat(os.path.join(self._root, path)))

    def _content(self, path: bytes, kind: str) -> bytes:
        where = os.path.join(self._root, path)
        if kind == "link":
            return os.readlink(where)
        with open(os.open(where, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read()

    def _walk(self) -> Iterator[tuple[bytes, tuple[int, ...]]]:
        """Files and links, each with what tells whether it is still the same."""
        folders = [self._root]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(entry.path)
                    elif stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode):
                        told = (found.st_ino, found.st_ctime_ns, found.st_size, found.st_mode)
                        yield entry.path[len(self._root) + 1 :], told
