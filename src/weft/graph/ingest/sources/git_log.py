"""The output of `git log`, taken apart: a stream of bytes in, commits out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from weft.core.errors import Corrupt

_FIELDS: Final = ("%H", "%P", "%an", "%ae", "%at", "%cn", "%ce", "%ct", "%B")
_MARK: Final = b"\x1e"
LOG_ARGUMENTS: Final = (
    "-z",
    "--raw",
    "--numstat",
    "--no-abbrev",
    "--find-renames",
    "--no-ext-diff",
    "--no-textconv",
    "--no-show-signature",
    "--no-color",
    "--no-notes",
    "--no-mailmap",
    "--encoding=UTF-8",
    "--format=tformat:%x1e" + "%x00".join(_FIELDS) + "%x00",
)


class Change(msgspec.Struct, frozen=True):
    """What a commit did to one file. Line counts are None for binary files and submodules' contents."""

    path: str
    status: str
    """A added, M modified, D deleted, R renamed, C copied, T type changed."""
    renamed_from: str | None = None
    added_lines: int | None = None
    deleted_lines: int | None = None


class Commit(msgspec.Struct, frozen=True):
    """One commit, as recorded. A merge has no changes of its own. Text that is not UTF-8 is kept readable:
    a stray byte in a path becomes `\\xNN`, in names and messages the replacement character."""

    sha: str
    parents: list[str]
    author_name: str
    author_email: str
    author_time_s: int | None
    committer_name: str
    committer_email: str
    commit_time_s: int | None
    """Seconds since 1970; None when the commit has no readable time."""
    message: str
    changes: list[Change]


def tokens(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The NUL-terminated tokens of a byte stream."""
    rest: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\0")
        rest.append(first)
        if others:
            yield b"".join(rest)
            yield from others[:-1]
            rest = [others[-1]]
    if any(rest):
        raise Corrupt("git ended in the middle of a commit", hint="run `git fsck`")


def commits(stream: Iterator[bytes]) -> Iterator[Commit]:
    """The commits of a token stream that `git log` printed with `LOG_ARGUMENTS`."""
    header: list[bytes] = []
    changes: dict[bytes, Change] = {}
    for token in stream:
        if token.startswith(_MARK):
            if header:
                yield _commit(header, list(changes.values()))
            header = [token[1:], *(_next(stream) for _ in _FIELDS[1:])]
            changes = {}
        elif token and header:
            _change(token.lstrip(b"\n"), stream, changes)
    if header:
        yield _commit(header, list(changes.values()))


def _change(token: bytes, stream: Iterator[bytes], changes: dict[bytes, Change]) -> None:
    if token.startswith(b":"):
        status = chr(token.rsplit(b" ", 1)[1][0])
        path = _next(stream)
        old = None
        if status in "RC":
            old, path = path, _next(stream)
        changes[path] = Change(_path(path), status, None if old is None else _path(old))
        return
    added, deleted, path = token.split(b"\t", 2)
    if not path:
        _next(stream)
        path = _next(stream)
    if added != b"-" and path in changes:
        changes[path] = msgspec.structs.replace(
            changes[path], added_lines=int(added), deleted_lines=int(deleted)
        )


def _next(stream: Iterator[bytes]) -> bytes:
    token = next(stream, None)
    if token is None:
        raise Corrupt("git ended in the middle of a commit", hint="run `git fsck`")
    return token


def _commit(header: list[bytes], changes: list[Change]) -> Commit:
    sha, parents, author, author_email, author_time, committer, committer_email, commit_time, message = header
    return Commit(
        sha.decode(),
        parents.decode().split(),
        _text(author),
        _text(author_email),
        _seconds(author_time),
        _text(committer),
        _text(committer_email),
        _seconds(commit_time),
        _text(message).rstrip("\n"),
        changes,
    )


def _path(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def _text(text: bytes) -> str:
    return text.decode("utf-8", "replace")


def _seconds(text: bytes) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
