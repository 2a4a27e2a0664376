"""Change sets, diffs and commits on plain copies, against a dictionary and against git."""

from __future__ import annotations

import difflib
import os
import random
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.agent.sandbox import changes, commit, diff
from weft.agent.sandbox.changes import EXECUTABLE, FILE, LINK, Change, Content, Pair
from weft.core.errors import LimitExceeded
from weft.core.limits import MAX_FOLDERS_DEEP

NAMES = st.sampled_from(["a", "b c", "ü", 'q"', "d/a", "d/e/f", "d/e/g", "tab\tx"])
TEXT = st.lists(st.sampled_from(["x\n", "y\n", "z\n", "\r\n", "\f\n", "no end"]), max_size=12).map("".join)
CONTENTS = st.builds(Content, st.sampled_from([FILE, EXECUTABLE]), TEXT.map(str.encode)) | st.builds(
    Content, st.just(LINK), st.sampled_from([b"a", b"../out", b"nowhere"])
)
TREES = st.dictionaries(NAMES, CONTENTS, max_size=8)


def plant(root: Path, tree: dict[str, Content]) -> Path:
    root.mkdir()
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content.mode == LINK:
            os.symlink(content.data, os.fsencode(path))
        else:
            path.write_bytes(content.data)
            path.chmod(content.mode & 0o777)
    return root


def harvest(root: Path) -> dict[str, Content]:
    with changes.folder(str(root)) as fd:
        found = {path: changes.content_at(fd, path) for path in changes._files(fd, "")}
    return {path: content for path, content in found.items() if content is not None}


@given(TREES, TREES)
def test_changes_commit_and_diff_agree_with_dictionaries_and_git(
    before: dict[str, Content], after: dict[str, Content]
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        base, other = plant(top / "base", before), plant(top / "other", after)
        found = Pair(str(base), str(other), layer=False).changes()
        expected = [
            Change(path, before.get(path), after.get(path))
            for path in sorted({*before, *after})
            if before.get(path) != after.get(path)
        ]
        assert found == expected
        text = diff.unified(found)
        if text:
            plant(top / "patched", before)
            subprocess.run(
                ["git", "apply", "--whitespace=nowarn"], cwd=top / "patched", input=text.encode(), check=True
            )
            assert harvest(top / "patched") == after
        commit.write(str(base), found)
        assert harvest(base) == after


def test_binary_is_named_only(tmp_path: Path) -> None:
    text = diff.unified([Change("b", Content(FILE, b"\0"), Content(FILE, b"\xff"))])
    assert text == "diff --git a/b b/b\nBinary files a/b and b/b differ\n"


def test_commit_never_follows_a_link(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (elsewhere / "f").write_text("theirs")
    (root / "d").symlink_to(elsewhere)
    with pytest.raises(OSError, match="d"):
        commit.write(str(root), [Change("d/f", None, Content(FILE, b"x"))])
    commit.write(str(root), [Change("d/f", Content(FILE, b""), None)])
    assert (elsewhere / "f").read_text() == "theirs"
    (root / "l").symlink_to(elsewhere / "f")
    commit.write(str(root), [Change("l", None, Content(FILE, b"x"))])
    assert (elsewhere / "f").read_text() == "theirs"
    assert (root / "l").read_text() == "x"


def test_changes_never_follow_a_link(tmp_path: Path) -> None:
    base, other = plant(tmp_path / "base", {}), plant(tmp_path / "other", {})
    (other / "d").symlink_to("/etc")
    assert Pair(str(base), str(other), layer=True).changes() == [Change("d", None, Content(LINK, b"/etc"))]


def test_commit_keeps_the_mode_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "f").chmod(0o640)
    commit.write(str(tmp_path), [Change("f", Content(FILE, b"x"), Content(FILE, b"y"))])
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o640
    commit.write(str(tmp_path), [Change("f", Content(FILE, b"y"), Content(EXECUTABLE, b"y"))])
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o750


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGED_BYTES", 10)
    base, other = plant(tmp_path / "base", {}), plant(tmp_path / "other", {"a": Content(FILE, b"x" * 11)})
    with pytest.raises(LimitExceeded, match="`a`"):
        Pair(str(base), str(other), layer=False).changes()


@pytest.mark.parametrize("layer", [False, True])
def test_too_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: bool) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGED_FILES", 2)
    empty = {name: Content(FILE, b"") for name in ("a", "b", "c")}
    base = plant(tmp_path / "base", {"a": empty["a"]})
    pair = Pair(str(base), str(plant(tmp_path / "other", empty)), layer=layer)
    assert [change.path for change in pair.changes()] == ["b", "c"]
    (tmp_path / "other" / "d").touch()
    with pytest.raises(LimitExceeded, match="`d`"):
        pair.changes()


@pytest.mark.parametrize("layer", [False, True])
def test_a_long_file_is_no_change_while_it_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: bool
) -> None:
    monkeypatch.setattr(changes, "MAX_CHANGED_BYTES", 10)
    long = {"long": Content(FILE, b"x" * 11)}
    base = plant(tmp_path / "base", long)
    other = plant(tmp_path / "other", {"a": Content(FILE, b"a"), **({} if layer else long)})
    pair = Pair(str(base), str(other), layer=layer)
    assert [change.path for change in pair.changes()] == ["a"]
    for spoil in ("y" * 11, "x" * 10, "x" * 12):
        (other / "long").write_text(spoil)
        with pytest.raises(LimitExceeded, match="`long`"):
            pair.changes()
    (other / "long").unlink()
    (other / "long").symlink_to("a")
    with pytest.raises(LimitExceeded, match="`long`"):
        pair.changes()


@pytest.mark.parametrize("known", [False, True])
def test_a_path_may_have_so_many_folders_and_no_more(tmp_path: Path, known: bool) -> None:
    base, other, deep = tmp_path / "base", tmp_path / "other", "/".join("d" * MAX_FOLDERS_DEEP)
    pair = Pair(str(base), str(other), layer=True)
    (base / deep / "d" if known else base).mkdir(parents=True)
    (other / deep).mkdir(parents=True)
    (other / deep / "f").write_text("f")
    assert [change.path for change in pair.changes()] == [f"{deep}/f"]
    (other / deep / "d").mkdir()
    (other / deep / "d" / "f").write_text("f")
    with pytest.raises(LimitExceeded, match="folders"):
        pair.changes()


LINES = st.lists(st.sampled_from(["a\n", "b\n", "c\n", "\n", "no end"]), max_size=30).map("".join)


@settings(max_examples=40, deadline=None)
@given(LINES, LINES, LINES, LINES, st.sampled_from([0, 4, 100]))
def test_git_applies_every_diff(head: str, old: str, new: str, tail: str, compared_lines: int) -> None:
    before, after = f"{head}{old}{tail}".encode(), f"{head}{new}{tail}".encode()
    if before == after:
        return
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(diff, "_MAX_COMPARED_LINES", compared_lines)
        text = diff.unified([Change("f", Content(FILE, before), Content(FILE, after))])
        Path(folder, "f").write_bytes(before)
        subprocess.run(["git", "apply", "--whitespace=nowarn"], cwd=folder, input=text.encode(), check=True)
        assert Path(folder, "f").read_bytes() == after


def test_a_diff_shows_no_more_than_the_standard_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = [f"{n}\n" for n in range(50)], [f"{n}\n" for n in range(50) if n not in (3, 25, 26, 49)]
    text = diff.unified(
        [Change("f", Content(FILE, "".join(old).encode()), Content(FILE, "".join(new).encode()))]
    )
    expected = "".join(list(difflib.unified_diff(old, new))[2:])
    assert text.endswith(expected)
    assert len(text.splitlines()) == len(expected.splitlines()) + 3


def test_a_diff_of_text_made_to_be_slow_ends() -> None:
    rng = random.Random(7)
    old, new = ("".join(f"{rng.randrange(110)}\n" for _ in range(60_000)).encode() for _ in range(2))
    began = time.monotonic()
    text = diff.unified([Change("f", Content(FILE, b"same\n" + old), Content(FILE, b"same\n" + new))])
    # It would be minutes.
    assert time.monotonic() - began < 10
    assert "\n@@ -1,60" in text
