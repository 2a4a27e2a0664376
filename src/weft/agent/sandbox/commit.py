"""Writing changes back, all or none, into a folder whose links are never followed."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator

from weft.agent.sandbox import journal
from weft.agent.sandbox.changes import EXECUTABLE, LINK, Change, Content, content_at, folder
from weft.core.errors import Conflict

_ENOUGH_TO_BE_UNIQUE = ".weft-commit"
# What git takes for the head of a repository (its setup.c: is_git_directory).
_HEAD = re.compile(rb"ref:\s*refs/|refs/|[0-9a-fA-F]{40}")


def lands(path: str) -> bool:
    """Whether a changed path may reach the real workspace: hooks and settings in .git would run outside."""
    return ".git" not in path.lower().split("/") and path not in journal.NAMES


def makes_repository(change: Change) -> bool:
    """Whether git would take the file's folder for a repository, whatever its name, and run what it says."""
    name = change.path.rpartition("/")[2]
    return name.upper() == "HEAD" and change.after is not None and _HEAD.match(change.after.data) is not None


def write(root: str, changes: list[Change]) -> None:
    """Make the folder hold what the changes say. Folders come and go with their files, as in git.

    Each file is replaced in one piece. Where one cannot be written, those before it are brought back and the
    error is raised; where the process is killed, `recover` completes what it had begun.
    """
    failure: BaseException | None = None
    with journal.noted(root, changes):
        try:
            _carry_out(root, changes)
        except BaseException as error:
            failure = error
            _carry_out(root, [Change(change.path, change.after, change.before) for change in changes])
    if failure is not None:
        raise failure


def recover(root: str) -> None:
    """Complete a commit that was cut short; does nothing where none was.

    `Conflict` names a file that has been changed since: it is neither what it was nor what it should become.
    """
    with journal.unfinished(root) as changes:
        with folder(root) as fd:
            for change in changes:
                if content_at(fd, change.path) not in (change.before, change.after):
                    raise Conflict(
                        f"`{change.path}` was changed after a commit of it was cut short",
                        hint=f"delete `{journal.NAME}` to leave every file as it is now",
                        path=change.path,
                    )
        _carry_out(root, changes)


def _carry_out(root: str, changes: list[Change]) -> None:
    with folder(root) as fd:
        for change in reversed(changes):
            if change.after is None:
                _delete(fd, change.path)
        for change in changes:
            if change.after is not None:
                _replace(fd, change.path, change.after)


def changed_ns(root: str, path: str) -> int | None:
    """When what is at the path was last changed, in nanoseconds; None for nothing."""
    *parents, name = path.split("/")
    try:
        with folder(root, *parents) as parent:
            return os.stat(name, dir_fd=parent, follow_symlinks=False).st_ctime_ns
    except (FileNotFoundError, NotADirectoryError):
        return None


def _delete(root: int, path: str) -> None:
    *parents, name = path.split("/")
    with contextlib.suppress(FileNotFoundError, NotADirectoryError), folder(root, *parents) as parent:
        os.unlink(name, dir_fd=parent)
    while parents:
        *parents, name = parents
        try:
            with folder(root, *parents) as parent:
                os.rmdir(name, dir_fd=parent)
        except OSError:
            return


def _replace(root: int, path: str, content: Content) -> None:
    *parents, name = path.split("/")
    with _made(root, parents) as parent:
        beside = name[:200] + _ENOUGH_TO_BE_UNIQUE
        _remove_empty_folder(parent, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(beside, dir_fd=parent)
        try:
            if content.mode == LINK:
                os.symlink(content.data, os.fsencode(beside), dir_fd=parent)
            else:
                _create(parent, beside, name, content)
            os.replace(beside, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=parent)
            raise


def _create(parent: int, beside: str, name: str, content: Content) -> None:
    """A new file with the mode and the owner of the one that it will replace, or those of its folder."""
    try:
        model = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        model = os.fstat(parent)
    mode = stat.S_IMODE(model.st_mode) & 0o666 if stat.S_ISREG(model.st_mode) else 0o644
    if content.mode == EXECUTABLE:
        mode |= (mode & 0o444) >> 2 | 0o100
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(beside, flags, 0o600, dir_fd=parent), "wb") as file:
        file.write(content.data)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), model.st_uid, model.st_gid)
        os.fchmod(file.fileno(), mode)


@contextlib.contextmanager
def _made(root: int, parts: list[str]) -> Iterator[int]:
    """The folder at the parts below the root, made where it is missing."""
    above = os.fstat(root)
    for depth in range(len(parts)):
        with folder(root, *parts[:depth]) as parent:
            try:
                os.mkdir(parts[depth], 0o755, dir_fd=parent)
            except FileExistsError:
                continue
            if os.geteuid() == 0:
                os.chown(parts[depth], above.st_uid, above.st_gid, dir_fd=parent, follow_symlinks=False)
    with folder(root, *parts) as fd:
        yield fd


def _remove_empty_folder(parent: int, name: str) -> None:
    """Where a folder stood whose files are all deleted, a file may come."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return
    try:
        for below in os.listdir(fd):
            _remove_empty_folder(fd, below)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=parent)
