"""The files of a commit, read from git's objects: no work tree is needed, and none is touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from weft.core.errors import Unavailable

_FILE_MODES = (b"100644", b"100755")


class Head(NamedTuple):
    """The tree of the newest commit, and when that was made."""

    tree: str
    commit_time_us: int


class Blob(NamedTuple):
    """A file's content, by its object name, at its path."""

    path: str
    sha: str


def find_root(folder: Path) -> Path:
    """The work tree that holds a folder; the folder itself in a bare repository."""
    if _ask(folder, "rev-parse", "--is-bare-repository").strip() == b"true":
        return folder.resolve()
    return Path(os.fsdecode(_ask(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")))


def read_head(repository: Path) -> Head:
    """HEAD's tree; `Unavailable` where git cannot tell."""
    tree, _, seconds = (
        _ask(repository, "log", "-1", "--format=%T %ct", "HEAD").decode().strip().partition(" ")
    )
    return Head(tree, max(0, int(seconds)) * 1_000_000)


def list_blobs(repository: Path, tree: str) -> list[Blob]:
    """The regular files of a tree; links and submodules are left out."""
    blobs = []
    for row in _ask(repository, "ls-tree", "-r", "-z", tree).split(b"\0")[:-1]:
        facts, _, path = row.partition(b"\t")
        mode, _, sha = facts.split(b" ")
        if mode in _FILE_MODES:
            blobs.append(Blob(path.decode("utf-8", "backslashreplace"), sha.decode()))
    return blobs


def read_blobs(repository: Path, blobs: Sequence[Blob]) -> Iterator[tuple[Blob, bytes]]:
    """The contents, one after the other, through one git process."""
    if not blobs:
        return
    with subprocess.Popen(
        _command(repository, "cat-file", "--batch"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for blob in blobs:
            process.stdin.write(blob.sha.encode() + b"\n")
            process.stdin.flush()
            header = process.stdout.readline().split()
            if len(header) != 3:
                raise Unavailable(f"git lacks the content of `{blob.path}`", hint="run `git fsck`")
            data = process.stdout.read(int(header[2]) + 1)
            yield blob, data[:-1]


def _ask(repository: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(_command(repository, *arguments), capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"git cannot read `{repository}`", hint="run `git fsck` in it") from error


def _command(repository: Path, *arguments: str) -> list[str]:
    return ["git", "--no-pager", "--no-replace-objects", "-C", str(repository), *arguments]
