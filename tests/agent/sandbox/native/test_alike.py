"""The compiled executor against the one in Python: the same requests, in folders alike, the same replies."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

# Whatever links and `..` lead to above a workspace stays below a folder of the test's own.
_DEPTH = "d/" * 60
_NAMES = st.sampled_from([b"a", b"b", b"c", b"\xff", b"new\nline"])
# What `_workspace` puts there.
_THERE = st.sampled_from([b"file", b"folder", b"taken", b"link", b"dangling", b"fifo"])
_PARTS = _NAMES | _THERE | st.sampled_from([b"..", b".", b""])
_RELATIVE = st.lists(_PARTS, max_size=4).map(b"/".join)
_ODD = st.sampled_from(
    [
        b"",
        b"/",
        b"a/",
        b"a\0b",
        b"x" * 250,
        b"x" * 251,
        b"x" * 256,
        b"a/5000",
        b"a~weft",
        b"loop/b",
        b"loop/../a",
        b"loop/./b/../../..",
    ]
)
# What begins with `@` is absolute, below the workspace; `5000` stands for as many bytes.
PATHS = _THERE | _RELATIVE | _RELATIVE.map(lambda path: b"@/" + path) | _ODD

_SCRIPTS = st.sampled_from(
    [
        "echo out; echo err >&2; exit 7",
        "pwd; umask; ulimit -t",
        "env; cat",
        "seq 3000",
        "seq 60000; echo end >&2",
        "kill -9 $$",
        "kill -PIPE $$",
        "grep -E '^Sig(Blk|Ign)|^Umask' /proc/self/status",
        "ls /proc/self/fd",
        "readlink /proc/self/fd/0",
        "read -r _ _ _ _ _ session _ < /proc/$$/stat; [ $session = $$ ] && echo leads",
        "setsid sleep 1000 & echo left",
        "(setsid sleep 1000 &) ; exec >&- 2>&-; exit 4",
        "sleep 1000 | sleep 1000 & kill -TERM $$",
        "rm -rf a b; mkdir -p b/c; ln -s ../a b/a; ln -s b c; touch b/c/a",
        "printf '#!/bin/sh\\necho tool' > a; chmod 750 a",
        "mkfifo a; ln -s a b",
        "[ -t 1 ] || echo no terminal; echo $A",
    ]
)
_ARGV = st.one_of(
    _SCRIPTS.map(lambda script: [b"sh", b"-c", script.encode()]),
    st.lists(_NAMES, max_size=3).map(lambda texts: [b"printf", b"%s|", *texts]),
    st.sampled_from([[b"nope"], [b"./a"], [b"a/b"], [b""], [b"b/."], [b"/bin/sh", b"-c", b"a\0"], [b"a"]]),
)
_VARIABLES = st.sampled_from(["A", "B", "PATH", "HOME"])
_TEXTS = st.sampled_from(["", "é", "/usr/bin:/bin", "b:.:/usr/bin"])
# The last finds a folder by the name of a program first.
_ENVIRONMENT = st.dictionaries(_VARIABLES, _TEXTS, max_size=2) | st.just({"PATH": "folder:/usr/bin"})
_FOLDERS = st.sampled_from([".", ".", "a", "b", "nowhere", "../w", ""])
_BYTES = st.sampled_from([0, 1, 7, 1_000, 100_000, 1 << 40])


def _request(op: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({"op": st.just(op), **fields})


def _run(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    usual = {"folder": _FOLDERS, "environment": _ENVIRONMENT, "output_bytes": _BYTES}
    return _request("run", **{"argv": _ARGV, "timeout_s": st.just(20.0), **usual, **fields})


_LASTING = st.just([b"sleep", b"1000"])
# What the test itself puts there: a kind, a path, and what a link leads to.
SETUP = st.tuples(st.sampled_from(["file", "folder", "link", "link", "link", "fifo"]), PATHS, PATHS)
REQUESTS = st.one_of(
    _request("read", path=PATHS, limit_bytes=st.sampled_from([-2, 0, 2, 3, 1_000_000])),
    _request("write", path=PATHS, data=st.sampled_from([b"", b"abc", b"data of 5000"])),
    _request("stat", path=PATHS),
    _request("list", path=PATHS),
    _request("delete", path=PATHS),
    _request("move", path=PATHS, target=PATHS),
    _request("resolve", path=PATHS),
    _run(),
    _run(),
    _run(folder=st.just(".")),
    _run(argv=_LASTING, timeout_s=st.sampled_from([0.02, 0.0, -1.0, float("nan")])),
)
_TURNS = st.lists(st.sampled_from([b"a", b"b", b"c", b"loop", b"..", b"."]), min_size=1, max_size=5).map(
    b"/".join
)
STEPS = st.lists(SETUP | REQUESTS, min_size=10, max_size=25)


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="alike-"))
    yield path
    shutil.rmtree(path)


def _workspace(ground: Path, name: str) -> Path:
    shutil.rmtree(ground / name, ignore_errors=True)
    path = ground / name / _DEPTH / "w"
    path.mkdir(parents=True)
    (path / "folder/printf").mkdir(parents=True)
    for name, mode in (("file", 0o640), ("folder/file", 0o755), ("taken", 0o600), ("taken~weft", 0o600)):
        (path / name).write_text(name)
        (path / name).chmod(mode)
    os.mkfifo(path / "fifo")
    for name, target in (("link", "folder"), ("dangling", "folder/a/b"), ("loop", "./loop/b")):
        (path / name).symlink_to(target)
    return path


def _put(step: tuple[str, bytes, bytes], workspace: Path) -> None:
    kind, path, target = (each if isinstance(each, str) else _below(workspace, each) for each in step)
    place = os.path.join(os.fsencode(workspace), path)
    try:
        if kind == "folder":
            os.makedirs(place)
        elif kind == "link":
            os.symlink(target, place)
        elif kind == "fifo":
            os.mkfifo(place)
        else:
            with open(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o640), "wb") as file:
                file.write(b"old")
    except (OSError, ValueError):
        pass


def _below(workspace: Path, path: bytes) -> bytes:
    """The path that is meant, which never begins at the root: that is this machine's own."""
    single = re.sub(rb"/+", b"/", path).replace(b"5000", b"y" * 5_000)
    if single.startswith(b"@"):
        return os.fsencode(workspace) + single[1:]
    return single.lstrip(b"/")


def _ask(peer: Any, request: dict[str, Any], workspace: Path) -> Any:
    placed = {
        name: _below(workspace, value) if isinstance(value, bytes) else value
        for name, value in request.items()
    }
    return _same(peer.ask(**placed), workspace)


def _same(value: Any, workspace: Path) -> Any:
    """Without what differs between two runs of the same."""
    if isinstance(value, dict):
        if value.get("kind") == "folder":
            value["size_bytes"] = 0
        return {name: _same(each, workspace) for name, each in value.items() if name != "duration_s"}
    if isinstance(value, list):
        return [_same(each, workspace) for each in value]
    if isinstance(value, bytes):
        # What is cut off in the middle of a folder's name is as long in both.
        return value.replace(b"/two/", b"/one/")
    if isinstance(value, str):
        return (
            "a null"
            if "embedded null" in value or "a zero byte" in value
            else value.replace("/two/", "/one/")
        )
    return value


def _tree(root: Path) -> dict[bytes, tuple[object, ...]]:
    """All that is below, as it is."""
    found: dict[bytes, tuple[object, ...]] = {}
    for top, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(top, name)
            kept = os.lstat(path)
            what: object = None
            if stat.S_ISLNK(kept.st_mode):
                what = os.readlink(path).replace(b"/two/", b"/one/")
            elif stat.S_ISREG(kept.st_mode):
                what = Path(os.fsdecode(path)).read_bytes()
            found[os.path.relpath(path, os.fsencode(root))] = (kept.st_mode, what)
    return found


@pytest.mark.slow
@given(STEPS)
def test_the_same_requests_get_the_same_replies(
    pair: Callable[[Path, Path], tuple[Any, Any]], ground: Path, steps: list[Any]
) -> None:
    one, other = _workspace(ground, "one"), _workspace(ground, "two")
    compiled, python = pair(one, other)
    with compiled, python:
        for step in steps:
            if isinstance(step, tuple):
                _put(step, one)
                _put(step, other)
            else:
                assert _ask(compiled, step, one) == _ask(python, step, other), step
    assert _tree(ground / "one") == _tree(ground / "two")


@given(st.tuples(_TURNS, _TURNS, _TURNS), st.lists(_TURNS, min_size=20, max_size=40))
def test_paths_lead_to_the_same_places(
    pair: Callable[[Path, Path], tuple[Any, Any]],
    ground: Path,
    targets: tuple[bytes, ...],
    paths: list[bytes],
) -> None:
    one, other = _workspace(ground, "one"), _workspace(ground, "two")
    compiled, python = pair(one, other)
    with compiled, python:
        for name, target in zip((b"a", b"b", b"c"), targets, strict=True):
            _put(("link", name, target), one)
            _put(("link", name, target), other)
        for path in paths:
            request = {"op": "resolve", "path": path}
            assert _ask(compiled, request, one) == _ask(python, request, other), path
