"""Workspaces on a file system that shares what is copied: Btrfs, on disks that are files of the test's."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.agent.sandbox.namespaces import Namespaces
from weft.core.errors import Unavailable
from weft.testing.sandbox.workspaces import WorkspaceContract

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.engine("mkfs.btrfs"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a disk"),
]

_DISK_BYTES = 256 << 20
# The real workspace, a copy to remember and one to work on: three of this size do not fit.
_LARGE_BYTES = 100 << 20


@contextlib.contextmanager
def new_disk(folder: Path) -> Iterator[Path]:
    """A new file system of that size, mounted below the folder."""
    image, mounted = folder / "image", folder / "disk"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(_DISK_BYTES)
    subprocess.run(["mkfs.btrfs", "-q", "-m", "single", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop,compress=no", str(image), str(mounted)], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "--lazy", str(mounted)], check=True)
        image.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """One with a large file in a workspace, and a folder for the state of sandboxes."""
    with new_disk(tmp_path) as disk:
        (disk / "state").mkdir()
        (disk / "work").mkdir()
        (disk / "work" / "file").write_bytes(os.urandom(_LARGE_BYTES))
        yield disk


@pytest.fixture
def no_overlay() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("weft.agent.sandbox.namespaces.can_be_lower", lambda root: False)
        yield


def test_copies_share_what_they_hold_until_it_is_changed(disk: Path, no_overlay: None) -> None:
    with Namespaces(state=str(disk / "state")).open(disk / "work") as box:
        assert box.run(["stat", "-f", "-c", "%T", "."]).output == "btrfs\n"
        assert box.changes() == []
        box.run("printf mine | dd of=file bs=1 seek=1000000 conv=notrunc")
        with open(disk / "work" / "file", "rb") as file:
            file.seek(1_000_000)
            assert file.read(4) != b"mine"
        assert [(change.path, change.kind) for change in box.changes()] == [("file", "modified")]
        box.discard()
        box.run("echo new > new")
        assert [change.path for change in box.commit()] == ["new"]
    assert (disk / "work" / "new").read_text() == "new\n"
    assert list((disk / "state").iterdir()) == []


def test_control_copies_that_share_nothing_do_not_fit(
    disk: Path, no_overlay: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cp").write_text('#!/bin/sh\nexec /bin/cp "$@" --reflink=never\n')
    (tmp_path / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(Unavailable, match="No space left"):
        Namespaces(state=str(disk / "state")).open(disk / "work")
    assert list((disk / "state").iterdir()) == []


def test_a_commit_that_finds_no_room_leaves_nothing_half_written(disk: Path) -> None:
    work = disk / "work"
    (work / "small").write_text("small\n")
    with Namespaces(state=str(disk / "state")).open(work) as box:
        box.run("echo more >> small; rm file; echo new > new")
        (disk / "filled").write_bytes(os.urandom(_LARGE_BYTES))
        with pytest.raises(Unavailable, match="No space left"):
            box.commit()
    assert sorted(path.name for path in work.iterdir()) == ["file", "small"]
    assert (work / "small").read_text() == "small\n"


def test_an_overlay_can_be_on_it(disk: Path) -> None:
    with Namespaces(state=str(disk / "state")).open(disk / "work") as box:
        assert box.run(["stat", "-f", "-c", "%T", "."]).output == "overlayfs\n"
        box.run("echo new > new; chmod 755 file")
        box.run("chmod 644 file")
        assert [change.path for change in box.commit()] == ["new"]
    assert sorted(path.name for path in (disk / "work").iterdir()) == ["file", "new"]


class TestWorkspacesOnBtrfs(WorkspaceContract):
    """By copies that share."""

    @pytest.fixture(scope="class")
    @classmethod
    def place(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        with new_disk(tmp_path_factory.mktemp("btrfs")) as disk:
            yield disk

    @pytest.fixture(scope="class")
    @classmethod
    def state(cls, place: Path) -> Path:
        (place / "state").mkdir()
        return place / "state"

    @pytest.fixture
    def tmp_path(self, place: Path, tmp_path: Path, no_overlay: None) -> Path:
        (place / tmp_path.name).mkdir()
        return place / tmp_path.name

    @classmethod
    def make_provider(cls, state: Path) -> Namespaces:
        return Namespaces(state=str(state))
