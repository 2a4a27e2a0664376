"""A repository's files are read from git's objects, whatever the repository or the environment says."""

import os
import stat
from pathlib import Path

import pytest

from weft.core.errors import Invalid, Unavailable
from weft.integrations.repository.tree import check_out, find_root, list_blobs, read_head
from weft.testing.git import Repository


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repo")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    return made


def test_files_come_byte_for_byte_with_links_and_modes(repository: Repository, folder: Path) -> None:
    root = repository.folder
    (root / "absolute").symlink_to("/etc/passwd")
    (root / "upwards").symlink_to("../../..")
    odd = os.fsdecode(b"a\nb\xff.bin")
    (root / odd).write_bytes(b"\r\n\0\xff")
    (root / "run").write_text("#!/bin/sh\n")
    (root / "run").chmod(0o755)
    repository.commit({"deep/er/x": "x", "mine/y": "y", "deep/mine/z": "z"})
    check_out(root, folder, leave_out="mine")
    assert os.readlink(folder / "absolute") == "/etc/passwd"
    assert os.readlink(folder / "upwards") == "../../.."
    assert (folder / odd).read_bytes() == b"\r\n\0\xff"
    assert stat.S_IMODE((folder / "run").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "deep/er/x").stat().st_mode) == 0o644
    assert (folder / "deep/mine/z").read_text() == "z"
    assert not (folder / "mine").exists()


def test_filters_and_attributes_have_no_say(repository: Repository, folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    attributes = "* filter=x\nsecret.py export-ignore\nv export-subst\n"
    repository.commit({".gitattributes": attributes, "secret.py": "1\n", "v": "$Format:%H$\n"})
    repository.git("config", "filter.x.smudge", f"touch '{ran}'; cat")
    repository.git("config", "core.fsmonitor", f"touch '{ran}'")
    check_out(repository.folder, folder, leave_out="")
    assert (folder / "secret.py").read_text() == "1\n"
    assert (folder / "v").read_text() == "$Format:%H$\n"
    assert not ran.exists()


def test_a_content_that_is_missing_is_not_fetched(
    repository: Repository, folder: Path, tmp_path: Path
) -> None:
    ran = tmp_path / "ran"
    repository.commit({"a.py": "1\n"})
    sha = repository.git("rev-parse", "HEAD:a.py").strip()
    (repository.folder / ".git/objects" / sha[:2] / sha[2:]).unlink()
    for name, value in (
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", str(repository.folder)),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", f"touch '{ran}'; git-upload-pack"),
    ):
        repository.git("config", name, value)
    with pytest.raises(Unavailable, match="git lacks the content"):
        check_out(repository.folder, folder, leave_out="")
    assert not ran.exists()


def test_the_environment_cannot_name_another_repository(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"here": "1"})
    other = Repository(tmp_path / "other")
    other.commit({"there": "1"})
    monkeypatch.setenv("GIT_DIR", str(other.folder / ".git"))
    assert find_root(repository.folder) == repository.folder
    tree = read_head(repository.folder).tree
    assert [blob.path for blob in list_blobs(repository.folder, tree)] == ["here"]


@pytest.mark.parametrize("name", ["..", ".git"])
def test_a_tree_that_reaches_out_is_refused(repository: Repository, folder: Path, name: str) -> None:
    repository.commit({"x": "1"})
    commit_tree(repository, [("40000", name, repository.git("rev-parse", "HEAD^{tree}").strip())])
    with pytest.raises(Invalid, match="no git would check out"):
        check_out(repository.folder, folder, leave_out="")
    assert list(folder.iterdir()) == []


def test_nothing_is_written_through_a_link(repository: Repository, folder: Path, tmp_path: Path) -> None:
    (repository.folder / "inner").symlink_to("anything")
    (repository.folder / "out").symlink_to(tmp_path)
    repository.commit({})
    link = repository.git("rev-parse", "HEAD:out").strip()
    inner = repository.git("rev-parse", "HEAD^{tree}").strip()
    commit_tree(repository, [("120000", "a", link), ("40000", "a", inner)])
    before = set(tmp_path.iterdir())
    with pytest.raises(OSError, match="exists"):
        check_out(repository.folder, folder, leave_out="")
    assert set(tmp_path.iterdir()) == before


def commit_tree(repository: Repository, entries: list[tuple[str, str, str]]) -> None:
    """Commit a tree that git itself would not make."""
    raw = repository.folder / "raw"
    raw.write_bytes(b"".join(f"{mode} {name}\0".encode() + bytes.fromhex(sha) for mode, name, sha in entries))
    tree = repository.git("hash-object", "-t", "tree", "-w", "--literally", "raw").strip()
    commit = repository.git("commit-tree", "-m", "odd", tree).strip()
    repository.git("update-ref", "HEAD", commit)
    raw.unlink()
