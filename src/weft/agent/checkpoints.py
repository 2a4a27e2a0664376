"""The changes of a session, kept beside its log, so that another sandbox can take them up."""

from __future__ import annotations

from collections.abc import Sequence

from weft.agent.events import SavedFile
from weft.agent.sandbox import Change, Sandbox
from weft.agent.session import Session
from weft.core.errors import Unavailable

_EXECUTABLE = 0o100
_LINK = 0o120000


class Checkpoints:
    """Saves what differs from the workspace, and brings it into a fresh sandbox."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._digests: dict[bytes, str] = {}

    def save(self, box: Sandbox) -> tuple[SavedFile, ...]:
        """All changes so far, each file's bytes in the session store."""
        return tuple(
            SavedFile(change.path, self._digest(change.after.data), change.after.mode)
            if change.after
            else SavedFile(change.path, None)
            for change in box.changes()
        )

    def restore(self, box: Sandbox, saved: Sequence[SavedFile]) -> None:
        """Make the saved changes in a sandbox that has none."""
        for file in saved:
            if file.digest is None:
                box.delete(file.path)
        for file in saved:
            if file.digest is not None:
                _put(box, file.path, file.mode, self._session.store.file(self._session.id, file.digest))

    def undo(self, box: Sandbox, change: Change) -> None:
        """Bring one path back to what it holds in the workspace."""
        if change.after is not None:
            box.delete(change.path)
        if change.before is not None:
            _put(box, change.path, change.before.mode, change.before.data)

    def _digest(self, data: bytes) -> str:
        """The digest of bytes that are in the store; bytes that did not change are not stored again."""
        known = self._digests.get(data)
        if known is None:
            known = self._digests[data] = self._session.store.save_file(self._session.id, data)
        return known


def _put(box: Sandbox, path: str, mode: int, data: bytes) -> None:
    if mode & 0o170000 == _LINK:
        command = ["ln", "-sfn", "--", data.decode("utf-8", "surrogateescape"), path]
    else:
        box.write(path, data)
        command = ["chmod", "+x" if mode & _EXECUTABLE else "-x", "--", path]
    result = box.run(command, timeout_s=10.0)
    if result.exit_code != 0:
        raise Unavailable(f"`{path}` cannot be restored: {result.output.strip()[:200]}")
