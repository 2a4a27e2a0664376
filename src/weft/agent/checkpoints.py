"""The changes of a session, kept beside its log, so that another sandbox can take them up."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from weft.agent.events import SavedFile
from weft.agent.sandbox import Change, Sandbox
from weft.agent.sandbox.changes import Content, content_at, folder
from weft.agent.sandbox.diff import unified
from weft.agent.secrets import redact
from weft.agent.session import Session, SessionStore
from weft.core.errors import Conflict, NotFound, Unavailable

_EXECUTABLE = 0o100
_LINK = 0o120000


class Checkpoints:
    """Saves what differs from the workspace, and brings it into a fresh sandbox."""

    def __init__(self, session: Session, workspace: Path) -> None:
        self._session = session
        self._workspace = workspace
        self._stored: set[str] = set()

    def save(self, changes: Iterable[Change]) -> tuple[SavedFile, ...]:
        """The changes, with each file's bytes as they are now and in the workspace put into the store."""
        return tuple(
            SavedFile(
                shown(change.path),
                self._digest(change.after),
                change.after.mode if change.after else 0,
                self._digest(change.before),
                change.before.mode if change.before else 0,
                b"" if shown(change.path) == change.path else os.fsencode(change.path),
            )
            for change in changes
        )

    def restore(self, box: Sandbox, saved: Sequence[SavedFile]) -> None:
        """Make the saved changes in a sandbox that has none.

        `Conflict` where the workspace no longer holds what a change was made on: it would be overwritten.
        """
        self._make(box, not_yet_made(self._workspace, saved))

    def follow(self, box: Sandbox, before: Sequence[SavedFile], after: Sequence[SavedFile]) -> None:
        """Make in a sandbox what was changed in another one, which began with the changes `before`."""
        left = {file.place: file for file in before}
        changed = [file for file in after if left.pop(file.place, None) != file]
        self._make(box, [*map(unchanged, left.values()), *changed])

    def _make(self, box: Sandbox, files: Sequence[SavedFile]) -> None:
        for file in files:
            if file.digest is None:
                box.delete(file.place)
        for file in files:
            if file.digest is not None:
                _put(box, file.place, file.mode, self._session.store.file(self._session.id, file.digest))

    def undo(self, box: Sandbox, change: Change) -> None:
        """Bring one path back to what it holds in the workspace."""
        if change.after is not None:
            box.delete(change.path)
        if change.before is not None:
            _put(box, change.path, change.before.mode, change.before.data)

    def _digest(self, content: Content | None) -> str | None:
        """The digest of bytes that are in the store; bytes that are there already are not stored again."""
        if content is None:
            return None
        digest = digest_of(content.data)
        if digest not in self._stored:
            self._session.store.save_file(self._session.id, content.data)
            self._stored.add(digest)
        return digest


def diff_of(store: SessionStore, session: str, saved: Iterable[SavedFile]) -> str:
    """The saved changes as `git diff` writes them, without secrets."""

    def content(digest: str | None, mode: int) -> Content | None:
        return None if digest is None else Content(mode, store.file(session, digest))

    return redact(
        unified(
            Change(file.path, content(file.before, file.before_mode), content(file.digest, file.mode))
            for file in saved
        )
    )


def shown(path: str) -> str:
    """The path as it can be recorded."""
    return redact(path.encode("utf-8", "replace").decode())


def unchanged(file: SavedFile) -> SavedFile:
    """The change that leaves the path as the workspace has it."""
    return msgspec.structs.replace(file, digest=file.before, mode=file.before_mode)


def digest_of(data: bytes) -> str:
    """The name of a file's bytes in the session store."""
    return hashlib.sha256(data).hexdigest()


def not_yet_made(workspace: Path, saved: Iterable[SavedFile]) -> list[SavedFile]:
    """The changes that the workspace does not hold yet; `Conflict` for the first that finds something there
    which is neither what it was made on nor what it makes: that is somebody else's work."""
    missing = []
    with folder(str(workspace)) as root:
        for file in saved:
            found = content_at(root, file.place)
            holds = (digest_of(found.data), found.mode) if found else (None, 0)
            if holds == (file.digest, file.mode):
                continue
            if holds != (file.before, file.before_mode):
                raise Conflict(
                    f"`{file.path}` was changed by somebody else since the session worked on it",
                    hint="bring it back to what the session saw, or start a new session",
                    path=file.path,
                )
            missing.append(file)
    return missing


def _put(box: Sandbox, path: str, mode: int, data: bytes) -> None:
    if mode & 0o170000 == _LINK:
        command = ["ln", "-sfn", "--", data.decode("utf-8", "surrogateescape"), path]
    else:
        with contextlib.suppress(NotFound):
            # What is written to a link is written to where it leads, be that outside.
            if box.stat(path).kind == "link":
                box.delete(path)
        box.write(path, data)
        command = ["chmod", "+x" if mode & _EXECUTABLE else "-x", "--", path]
    result = box.run(command, timeout_s=10.0)
    if result.exit_code != 0:
        raise Unavailable(f"`{path}` cannot be restored: {result.output.strip()[:200]}")
