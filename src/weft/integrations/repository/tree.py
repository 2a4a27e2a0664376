"""The files of a commit, read from git's objects: no work tree is needed, and none is touched."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from weft.core.errors import Invalid, Unavailable
from weft.graph.ingest.sources.git_command import git_command, git_environment

_EXECUTABLE = b"100755"
_FILE_MODES = (b"100644", _EXECUTABLE)
_LINK = b"120000"
_NEVER_IN_A_TREE = {b"", b".", b"..", b".git"}


class _Entry(NamedTuple):
    mode: bytes
    sha: str
    path: bytes


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
    return [
        Blob(entry.path.decode("utf-8", "backslashreplace"), entry.sha)
        for entry in _entries(repository, tree)
        if entry.mode in _FILE_MODES
    ]


def check_out(repository: Path, folder: Path, *, leave_out: str) -> None:
    """Write the files of HEAD into an empty folder, byte for byte: no filter and no attribute has a say.

    Folders come first and links last, so that nothing is written through a link. Submodules stay out, and so
    does what is named `leave_out` at the top.
    """
    files, links = [], []
    executable = set()
    for entry in _entries(repository, read_head(repository).tree):
        parts = entry.path.split(b"/")
        if not _NEVER_IN_A_TREE.isdisjoint(parts):
            raise Invalid(f"`{repository}` holds `{os.fsdecode(entry.path)}`, which no git would check out")
        if parts[0] == os.fsencode(leave_out):
            continue
        blob = Blob(os.fsdecode(entry.path), entry.sha)
        if entry.mode in _FILE_MODES:
            files.append(blob)
        elif entry.mode == _LINK:
            links.append(blob)
        if entry.mode == _EXECUTABLE:
            executable.add(blob)
    for blob in (*files, *links):
        (folder / blob.path).parent.mkdir(parents=True, exist_ok=True)
    for blob, data in read_blobs(repository, files):
        (folder / blob.path).write_bytes(data)
        (folder / blob.path).chmod(0o755 if blob in executable else 0o644)
    for blob, data in read_blobs(repository, links):
        (folder / blob.path).symlink_to(os.fsdecode(data))


def read_blobs(repository: Path, blobs: Sequence[Blob]) -> Iterator[tuple[Blob, bytes]]:
    """The contents, one after the other, through one git process."""
    if not blobs:
        return
    with subprocess.Popen(
        git_command(repository, "cat-file", "--batch"),
        env=git_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
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


def _entries(repository: Path, tree: str) -> Iterator[_Entry]:
    for row in _ask(repository, "ls-tree", "-r", "-z", "--full-tree", tree).split(b"\0")[:-1]:
        facts, _, path = row.partition(b"\t")
        mode, _, sha = facts.split(b" ")
        yield _Entry(mode, sha.decode(), path)


def _ask(repository: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(
            git_command(repository, *arguments), env=git_environment(), capture_output=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(f"git cannot read `{repository}`", hint="run `git fsck` in it") from error
