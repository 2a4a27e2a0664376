"""A workspace that is somewhere else: how it gets there, and what was changed in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from typing import Any, Final

from weft.agent.sandbox.changes import EXECUTABLE, FILE, LINK, Change, Content, Pair, content_at, folder
from weft.agent.sandbox.provider import SandboxFailed
from weft.agent.sandbox.wire import GRACE_S, Entry, Executor, Reply
from weft.core.errors import Denied, LimitExceeded, Unavailable
from weft.core.limits import MAX_CHANGED_BYTES, MAX_FILE_BYTES, MAX_FOLDERS_DEEP

# Of one request; a frame holds both in memory at both ends.
_BATCH_BYTES: Final = 1 << 20
_BATCH_ENTRIES: Final = 1_000
_MODES: Final = {"link": LINK, "file": FILE}


class Remote(Pair, frozen=True):
    """The workspace as it was sent, kept here, and the executor that has what became of it."""

    executor: Any

    def fill(self) -> None:
        """Send the base, and have it remembered as what nothing has changed."""
        for entries in _batches(_entries(self.base)):
            self._ask({"op": "fill", "entries": entries}, "take the workspace")
        self._ask({"op": "mark", "folders_deep": MAX_FOLDERS_DEEP}, "take the workspace")

    def changes(self) -> list[Change]:
        """What the executor says has changed, compared with the base. Nothing that it says is believed."""
        reply = self._ask({"op": "changed", "folders_deep": MAX_FOLDERS_DEEP}, "tell what changed")
        told = {_checked(entry): entry for entry in reply.entries}
        _check_one_kind([path for path, entry in told.items() if entry.kind != "gone"])
        there = [path for path in sorted(told) if told[path].kind in _MODES]
        after = dict(self._contents(there, told))
        with folder(self.base) as base:
            changes = [Change(path, content_at(base, path), after.get(path)) for path in sorted(told)]
        return [change for change in changes if change.before != change.after]

    def _contents(self, paths: Sequence[str], told: dict[str, Entry]) -> Iterator[tuple[str, Content]]:
        left = MAX_CHANGED_BYTES
        for batch in _of_a_size(paths, told):
            request = {
                "op": "fetch",
                "paths": [os.fsencode(path) for path in batch],
                "limit_bytes": MAX_FILE_BYTES,
            }
            reply = self._ask(request, "tell what changed")
            left -= len(reply.data)
            if left < 0:
                raise _too_much(batch[-1], MAX_CHANGED_BYTES)
            if [os.fsdecode(entry.name) for entry in reply.entries] != list(batch):
                raise _liar("other files than it was asked for")
            at = 0
            for path, entry in zip(batch, reply.entries, strict=True):
                end = at + max(0, entry.size_bytes)
                if entry.kind != "gone":
                    yield path, Content(_mode(entry), reply.data[at:end])
                at = end
            if at != len(reply.data):
                raise _liar("files of other sizes than it says")

    def _ask(self, request: dict[str, object], what: str) -> Reply:
        executor: Executor = self.executor
        executor.send(request)
        reply = executor.receive(GRACE_S)
        if reply.error == "denied":
            raise Denied(
                f"the sandbox cannot {what}: {reply.reason.lower()}",
                hint="run chmod -R u+rwX . in the sandbox",
            )
        if reply.error == "limit_exceeded":
            raise LimitExceeded(f"the sandbox cannot {what}: {reply.reason.lower()}", hint="make it smaller")
        if reply.error is not None:
            raise Unavailable(f"the sandbox cannot {what}: {reply.reason.lower()}", hint="open a new one")
        return reply


def _entries(root: str) -> Iterator[dict[str, Any]]:
    """All that is in a folder, folders before what is in them, files in pieces; sockets are left out."""
    folders = [""]
    while folders:
        above = folders.pop()
        with os.scandir(f"{root}/{above}") as found:
            for each in sorted(found, key=lambda entry: entry.name):
                path = f"{above}{each.name}"
                status = each.stat(follow_symlinks=False)
                entry = {
                    "path": os.fsencode(path),
                    "mode": stat.S_IMODE(status.st_mode) & 0o777,
                    "mtime_ns": status.st_mtime_ns,
                }
                if stat.S_ISLNK(status.st_mode):
                    yield entry | {"kind": "link", "data": os.fsencode(os.readlink(each.path))}
                elif stat.S_ISDIR(status.st_mode):
                    yield entry | {"kind": "folder", "data": b""}
                    folders.append(f"{path}/")
                elif stat.S_ISREG(status.st_mode):
                    for piece in _pieces(each.path):
                        yield entry | {"kind": "file", "data": piece}


def _pieces(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield file.read(_BATCH_BYTES)
        while piece := file.read(_BATCH_BYTES):
            yield piece


def _batches(entries: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += len(entry["data"])
        if size >= _BATCH_BYTES or len(batch) >= _BATCH_ENTRIES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _of_a_size(paths: Sequence[str], told: dict[str, Entry]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for path in paths:
        if told[path].size_bytes > MAX_FILE_BYTES:
            raise _too_much(path, MAX_FILE_BYTES)
        if batch and (size + told[path].size_bytes > _BATCH_BYTES or len(batch) >= _BATCH_ENTRIES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += told[path].size_bytes
    if batch:
        yield batch


def _too_much(path: str, limit_bytes: int) -> LimitExceeded:
    return LimitExceeded(
        f"the changes up to `{path}` have more than {limit_bytes:,} bytes",
        hint="delete in the sandbox what the command left behind",
    )


def _mode(entry: Entry) -> int:
    if entry.kind == "file" and entry.mode & 0o100:
        return EXECUTABLE
    if entry.kind not in _MODES:
        raise _liar(f"a {entry.kind}")
    return _MODES[entry.kind]


def _checked(entry: Entry) -> str:
    """The path, which must be one below the workspace: it will be written to."""
    path = os.fsdecode(entry.name)
    if "\0" in path or len(entry.name) > 4_096 or not {"", ".", ".."}.isdisjoint(path.split("/")):
        raise _liar(f"the path `{path[:100]}`")
    return path


def _check_one_kind(paths: Sequence[str]) -> None:
    """No path may lie below another: it cannot be a file and a folder."""
    known = set(paths)
    for path in paths:
        parts = path.split("/")
        if any("/".join(parts[:depth]) in known for depth in range(1, len(parts))):
            raise _liar(f"`{path}` below a file")


def _liar(what: str) -> SandboxFailed:
    return SandboxFailed(f"the sandbox sends {what}", hint="open a new one")
