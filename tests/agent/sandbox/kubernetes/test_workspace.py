"""A workspace that is somewhere else, and an executor there that lies about it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.agent.sandbox import SandboxFailed
from weft.agent.sandbox.changes import EXECUTABLE, FILE, LINK, Content
from weft.agent.sandbox.inside import executor as inside
from weft.agent.sandbox.inside import wire
from weft.agent.sandbox.inside.remote import Workspace
from weft.agent.sandbox.kubernetes.workspace import Remote
from weft.agent.sandbox.wire import Reply
from weft.core.errors import Denied, LimitExceeded


class Near:
    """The inside's end of a workspace without a sandbox around it; every reply crosses the wire's format."""

    def __init__(self, folder: Path) -> None:
        self.requests = Workspace(str(folder)).requests()
        self.asked: list[str] = []
        self._replies: list[bytes] = []

    def send(self, request: Mapping[str, Any]) -> None:
        self.asked.append(request["op"])
        try:
            reply = self.requests[request["op"]](request)
        except inside.Refused as refusal:
            reply = {"error": refusal.kind, "reason": str(refusal)}
        except PermissionError as error:
            reply = {"error": "denied", "reason": str(error.strerror)}
        self._replies.append(wire.pack(reply))

    def receive(self, timeout_s: float) -> Reply:
        return msgspec.msgpack.decode(self._replies.pop(), type=Reply)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = tmp_path / "base"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a").write_text("a\n")
    (root / "sub" / "b").write_text("b\n")
    (root / "sub" / "tool").write_text("#!/bin/sh\n")
    (root / "sub" / "tool").chmod(0o755)
    (root / "link").symlink_to("sub/b")
    os.utime(root / "a", ns=(1, 1_000_000_007))
    return root


@pytest.fixture
def there(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    return tmp_path / "there"


@pytest.fixture
def remote(base: Path, there: Path) -> Remote:
    made = Remote(str(base), "/nowhere", layer=False, executor=Near(there))
    made.fill()
    return made


def test_what_is_sent_is_what_was_there(remote: Remote, base: Path, there: Path) -> None:
    def told(root: Path) -> list[tuple[Any, ...]]:
        return [
            (
                path.relative_to(root),
                path.is_dir() or path.is_symlink() or path.read_bytes(),
                path.lstat().st_mode,
            )
            for path in sorted(root.rglob("*"))
        ]

    assert told(there) == told(base)
    assert (there / "a").stat().st_mtime_ns == 1_000_000_007
    assert os.readlink(there / "link") == "sub/b"
    assert remote.changes() == []


def test_long_files_come_in_pieces_and_many_in_batches(base: Path, there: Path) -> None:
    long = os.urandom(3 * (1 << 20) + 17)
    (base / "long").write_bytes(long)
    for number in range(1_100):
        (base / f"n{number}").write_bytes(b"")
    near = Near(there)
    Remote(str(base), "/nowhere", layer=False, executor=near).fill()
    assert (there / "long").read_bytes() == long
    assert len(list(there.iterdir())) == 1_104
    assert 5 <= near.asked.count("fill") <= 7


def test_changes_are_exact(remote: Remote, there: Path) -> None:
    (there / "a").write_text("A\n")
    (there / "sub" / "b").unlink()
    (there / "sub" / "tool").chmod(0o644)
    (there / "link").unlink()
    (there / "link").symlink_to("/etc/passwd")
    (there / "new").mkdir()
    (there / "new" / "n").write_bytes(b"\0")
    os.mkfifo(there / "pipe")
    changes = {change.path: (change.before, change.after) for change in remote.changes()}
    assert changes == {
        "a": (Content(FILE, b"a\n"), Content(FILE, b"A\n")),
        "sub/b": (Content(FILE, b"b\n"), None),
        "sub/tool": (Content(EXECUTABLE, b"#!/bin/sh\n"), Content(FILE, b"#!/bin/sh\n")),
        "link": (Content(LINK, b"sub/b"), Content(LINK, b"/etc/passwd")),
        "new/n": (None, Content(FILE, b"\0")),
    }


def test_a_change_of_the_same_length_with_its_time_set_back_is_seen(remote: Remote, there: Path) -> None:
    before = (there / "a").stat()
    (there / "a").write_text("b\n")
    os.utime(there / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [change.path for change in remote.changes()] == ["a"]


def test_what_was_changed_and_set_right_again_is_no_change(remote: Remote, there: Path) -> None:
    (there / "a").write_text("b\n")
    assert len(remote.changes()) == 1
    (there / "a").write_text("a\n")
    (there / "x").write_text("x")
    (there / "x").unlink()
    assert remote.changes() == []


def test_a_file_becomes_a_folder_and_a_folder_a_file(remote: Remote, there: Path) -> None:
    (there / "a").unlink()
    (there / "a").mkdir()
    (there / "a" / "in").write_text("i")
    for name in ("b", "tool"):
        (there / "sub" / name).unlink()
    (there / "sub" / "deep").rmdir()
    (there / "sub").rmdir()
    (there / "sub").write_text("s")
    changed = {change.path: change.kind for change in remote.changes()}
    assert changed == {
        "a": "deleted",
        "a/in": "added",
        "sub": "added",
        "sub/b": "deleted",
        "sub/tool": "deleted",
    }


def test_what_is_too_much_is_refused_before_it_is_read(remote: Remote, there: Path) -> None:
    with open(there / "holes", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(LimitExceeded, match="`holes`"):
        remote.changes()
    assert "fetch" not in remote.executor.asked


def test_folders_without_end_are_refused(remote: Remote, there: Path) -> None:
    deep = there
    for _ in range(130):
        deep = deep / "d"
        deep.mkdir()
    with pytest.raises(LimitExceeded, match="folders lie more than 128 deep"):
        remote.changes()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads what it may not")
def test_what_cannot_be_read_is_denied_with_the_fix(remote: Remote, there: Path) -> None:
    (there / "sub").chmod(0)
    with pytest.raises(Denied, match="chmod"):
        remote.changes()
    (there / "sub").chmod(0o755)


@pytest.mark.parametrize("after", ["file", "link", "folder", "pipe", "nothing"])
def test_what_becomes_something_else_while_it_is_told_is_no_error(
    remote: Remote, there: Path, after: str
) -> None:
    """Between the list and the reading a command may put anything there; the next time tells what it is."""
    make = {
        "file": lambda path: path.write_text("now"),
        "link": lambda path: path.symlink_to("elsewhere"),
        "folder": lambda path: path.mkdir(),
        "pipe": lambda path: os.mkfifo(path),
        "nothing": lambda path: None,
    }[after]
    (there / "a").write_text("changed")
    (there / "link").unlink()
    (there / "link").symlink_to("changed")
    fetch = remote.executor.requests["fetch"]

    def fetch_late(request: dict[str, Any]) -> dict[str, object]:
        for name in ("a", "link"):
            (there / name).unlink()
            make(there / name)
        return fetch(request)

    remote.executor.requests["fetch"] = fetch_late
    kinds = {change.path: change.after for change in remote.changes()}
    expected = {"file": Content(FILE, b"now"), "link": Content(LINK, b"elsewhere")}.get(after)
    assert kinds == {"a": expected, "link": expected}


def _told(name: bytes, kind: str = "file", size: int = 1) -> dict[str, Any]:
    return {"name": name, "kind": kind, "size_bytes": size, "mode": 0o644}


@pytest.mark.parametrize(
    "names",
    [
        [b"../outside"],
        [b"/etc/passwd"],
        [b"a/../../b"],
        [b""],
        [b"."],
        [b"a//b"],
        [b"a/"],
        [b"nul\0"],
        [b"x" * 5_000],
        [b"a", b"a/b"],
        [b"a/b/c", b"a"],
    ],
)
def test_a_path_that_leads_out_or_is_two_things_is_a_broken_sandbox(
    remote: Remote, names: list[bytes]
) -> None:
    remote.executor.requests["changed"] = lambda request: {"entries": [_told(name) for name in names]}
    remote.executor.requests["fetch"] = lambda request: {
        "entries": [_told(path) for path in request["paths"]],
        "data": b"x" * len(request["paths"]),
    }
    with pytest.raises(SandboxFailed, match="the sandbox sends"):
        remote.changes()


@pytest.mark.parametrize(
    "fetched",
    [
        {"entries": [], "data": b""},
        {"entries": [_told(b"b")], "data": b"x"},
        {"entries": [_told(b"a", size=2)], "data": b"x"},
        {"entries": [_told(b"a", size=0)], "data": b"x"},
        {"entries": [_told(b"a", size=-1)], "data": b"x"},
        {"entries": [_told(b"a", kind="device")], "data": b"x"},
    ],
)
def test_files_that_are_not_those_asked_for_are_a_broken_sandbox(
    remote: Remote, fetched: dict[str, Any]
) -> None:
    remote.executor.requests["changed"] = lambda request: {"entries": [_told(b"a")]}
    remote.executor.requests["fetch"] = lambda request: fetched
    with pytest.raises(SandboxFailed, match="the sandbox sends"):
        remote.changes()
