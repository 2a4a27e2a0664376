"""A commit of several files is all or nothing, at whatever instant its process is killed."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.agent.sandbox import Sandbox, commit, journal
from weft.agent.sandbox.changes import FILE, Change, Content
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.tools import ToolContext
from weft.agent.tools.editing import ApplyPatch, ApplyPatchArguments
from weft.core.errors import Conflict, Corrupt
from weft.testing.processes import child_process

BEFORE = {f"src/{n}.txt": f"one {n}\ntwo {n}\n" for n in range(6)} | {"gone/a.txt": "a\n", "from.txt": "m\n"}
AFTER = {path: text.replace("two", "2") for path, text in BEFORE.items() if path.startswith("src")} | {
    "to/x.txt": "m!\n",
    "new/deep/b.txt": "b\n",
}
PATCH = (
    "*** Begin Patch\n"
    + "".join(f"*** Update File: src/{n}.txt\n@@\n-two {n}\n+2 {n}\n" for n in range(6))
    + "*** Delete File: gone/a.txt\n*** Update File: from.txt\n*** Move to: to/x.txt\n@@\n-m\n+m!\n"
    + "*** Add File: new/deep/b.txt\n+b\n*** End Patch\n"
)


def make(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)


def tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text("latin-1") for path in root.rglob("*") if path.is_file()
    }


def content(text: str | None) -> Content | None:
    return None if text is None else Content(FILE, text.encode())


CHANGES = [
    Change(path, content(BEFORE.get(path)), content(AFTER.get(path))) for path in sorted({**BEFORE, **AFTER})
]


def die_everywhere(report: Callable[[Any], None], folder: str) -> None:
    """Commit in forks that are killed at every fifth of their calls into C; report what each leaves."""
    root = Path(folder) / "workspace"
    killed, calls = True, 0
    while killed:
        calls += 5
        shutil.rmtree(root, ignore_errors=True)
        make(root, BEFORE)
        pid = os.fork()
        if pid == 0:
            die_at(calls)
            commit.write(str(root), CHANGES)
            os._exit(0)
        killed = os.WIFSIGNALED(os.waitpid(pid, 0)[1])
        left = tree(root)
        commit.recover(str(root))
        report((left, tree(root)))


def die_at(call: int) -> None:
    left = call

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal left
        left -= event == "c_call"
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)


@pytest.mark.slow
def test_a_commit_killed_at_any_instant_is_all_or_nothing_after_recovery(tmp_path: Path) -> None:
    with child_process(die_everywhere, str(tmp_path)) as child:
        outcomes = child.reports()
    assert len(outcomes) > 50
    halves = [left for left, _ in outcomes if left not in (BEFORE, AFTER)]
    assert halves, "no kill came in the middle"
    assert {tuple(sorted(after.items())) for _, after in outcomes} == {
        tuple(sorted(BEFORE.items())),
        tuple(sorted(AFTER.items())),
    }


def patch_and_commit(report: Callable[[Any], None], root: str, state: str) -> None:
    with Sandbox.open(root, provider=Unconfined(state=state)) as box:
        ApplyPatch().run(ApplyPatchArguments(PATCH), ToolContext(box, None, 10.0))
        report("patched")
        box.commit()
        report("committed")


@pytest.mark.slow
def test_an_agent_killed_while_it_patches_leaves_all_or_nothing(tmp_path: Path) -> None:
    rng = random.Random(1)
    for attempt in range(6):
        root, state = tmp_path / f"{attempt}", tmp_path / f"state {attempt}"
        make(root, BEFORE)
        state.mkdir()
        with child_process(patch_and_commit, str(root), str(state)) as child:
            child.next_report()
            time.sleep(rng.random() * 0.006)
        with Sandbox.open(root, provider=Unconfined(state=str(state))) as box:
            assert tree(root) in (BEFORE, AFTER)
            assert box.changes() == []


def test_a_file_that_cannot_be_written_takes_the_others_back(tmp_path: Path) -> None:
    make(tmp_path, BEFORE)
    blocked = [*CHANGES, Change("src/0.txt/below", None, content("x"))]
    with pytest.raises(OSError, match="Not a directory"):
        commit.write(str(tmp_path), blocked)
    assert tree(tmp_path) == BEFORE


def cut_short(root: Path) -> None:
    make(root, BEFORE)
    with contextlib.suppress(ZeroDivisionError), journal.noted(str(root), CHANGES):
        raise ZeroDivisionError
    make(root, {"src/0.txt": AFTER["src/0.txt"]})


def test_recovery_does_not_write_over_a_later_change(tmp_path: Path) -> None:
    cut_short(tmp_path)
    make(tmp_path, {"src/1.txt": "mine\n"})
    before = tree_of_bytes(tmp_path)
    with pytest.raises(Conflict, match=r"src/1\.txt"):
        commit.recover(str(tmp_path))
    with pytest.raises(Conflict, match="cut short"):
        commit.write(str(tmp_path), CHANGES)
    assert tree_of_bytes(tmp_path) == before
    (tmp_path / journal.NAME).unlink()
    commit.recover(str(tmp_path))
    assert (tmp_path / "src/1.txt").read_text() == "mine\n"


def tree_of_bytes(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/x", "a//b", ".git/hooks/x", "."])
def test_a_note_that_somebody_else_wrote_leads_nowhere(tmp_path: Path, path: str) -> None:
    root = tmp_path / "workspace"
    root.mkdir()
    with contextlib.suppress(ZeroDivisionError), journal.noted(str(root), [Change(path, None, content("x"))]):
        raise ZeroDivisionError
    with pytest.raises(Corrupt):
        commit.recover(str(root))
    (root / journal.NAME).write_bytes(b"\x93\x01")
    with pytest.raises(Corrupt):
        commit.recover(str(root))
    (root / journal.NAME).unlink()
    (root / journal.NAME).symlink_to(tmp_path / "x")
    with pytest.raises(Corrupt):
        commit.recover(str(root))
    assert [each.name for each in tmp_path.iterdir()] == ["workspace"]


def test_a_sandbox_cannot_commit_a_note() -> None:
    assert not any(map(commit.lands, [*journal.NAMES, ".git/x"]))
    assert commit.lands("src/.weft-commit")
