"""What an owner does while it has sandboxes: fork, be interrupted, lower its limits, run out of files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from weft.agent.sandbox import Sandbox, namespaces, template
from weft.agent.sandbox.inside import keeper
from weft.agent.sandbox.namespaces import Namespaces
from weft.core.errors import NotFound, Unavailable

pytestmark = pytest.mark.sandbox


def run(code: str, *arguments: object) -> str:
    """What a process of its own prints, which may do to itself what it likes."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


_CLOSED_BY_A_SIGNAL = """
import os, signal, sys, threading
from weft.agent.sandbox import Sandbox
def end(number, frame):
    box.close()
    print("closed", flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, end)
box = Sandbox.open(sys.argv[1])
threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGTERM)).start()
while True:
    box.discard()
"""


@pytest.mark.parametrize("after_s", [0.05, 0.0521, 0.0543])
def test_a_handler_may_close_what_is_being_discarded(workspace: Path, after_s: float) -> None:
    assert run(_CLOSED_BY_A_SIGNAL, workspace, after_s) == "closed\n"


_CLOSED_BY_A_FORK = """
import os, signal, sys
from weft.agent.sandbox import Sandbox
box = Sandbox.open(sys.argv[1])
box.run("for i in $(seq 300); do echo > f$i; done")
box.discard()
child = os.fork()
if child == 0:
    signal.alarm(10)
    box.close()
    os._exit(0)
print(os.waitpid(child, 0)[1])
box.close()
"""


def test_a_fork_may_close_what_it_has_inherited(workspace: Path) -> None:
    assert run(_CLOSED_BY_A_FORK, workspace) == "0\n"


def test_threads_that_differ_in_what_they_may_do_each_get_their_own(workspace: Path) -> None:
    opened: list[str] = []

    def work(cpu: int) -> None:
        os.sched_setaffinity(0, {cpu})
        for _ in range(5):
            with Sandbox.open(workspace) as box:
                opened.append(box.run("cat a; nproc").output)

    cpus = sorted(os.sched_getaffinity(0))
    threads = [threading.Thread(target=work, args=(cpu,)) for cpu in (cpus[0], cpus[-1]) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["a\n1\n"] * 20


_OUT_OF_FILES = """
import resource, sys
from weft.agent.sandbox import Sandbox
from weft.core.errors import NotFound, Unavailable
boxes, told = [], set()
with Sandbox.open(sys.argv[1]):
    pass
for files in range(24, 40):
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, 4096))
    try:
        while True:
            boxes.append(Sandbox.open(sys.argv[1]))
    except Unavailable as error:
        told.add(error.hint)
    except OSError as error:
        assert error.errno == 24
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
assert len(boxes) > 5
assert [box.run("cat a").output for box in boxes] == ["a\\n"] * len(boxes)
for box in boxes:
    box.close()
print(*told)
"""


def test_an_owner_without_files_keeps_the_sandboxes_that_it_has(workspace: Path) -> None:
    assert run(_OUT_OF_FILES, workspace) == "raise the limit of open files (ulimit -n): a sandbox takes two\n"


_FEWER_FILES = """
import resource, sys
from weft.agent.sandbox import Sandbox
with Sandbox.open(sys.argv[1]) as box:
    print(box.run("ulimit -Hn").output.strip())
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, 512))
    box.discard()
    print(box.run("ulimit -Hn").output.strip())
"""


def test_no_sandbox_has_more_than_its_owner_may_have_by_now(workspace: Path) -> None:
    assert run(_FEWER_FILES, workspace) == "4096\n512\n"


def test_an_interrupted_opening_ends_no_other_sandbox(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the question to the template and its answer."""

    def interrupted(python: str) -> object:
        raise KeyboardInterrupt

    with Sandbox.open(workspace) as before:
        with monkeypatch.context() as patch:
            patch.setattr(template, "_standing", interrupted)
            with pytest.raises(KeyboardInterrupt):
                Sandbox.open(workspace)
        with Sandbox.open(workspace) as after:
            assert [box.run("cat a").output for box in (before, after)] == ["a\n", "a\n"]


@pytest.mark.parametrize("as_copy", [False, True])
def test_a_folder_of_states_that_is_not_there_is_one_clear_error(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_copy: bool
) -> None:
    if as_copy:
        monkeypatch.setattr(namespaces, "can_be_lower", lambda root: False)
    with pytest.raises(Unavailable, match=r"mkdir .*: No such file") as told:
        Namespaces(state=str(tmp_path / "nowhere")).open(workspace)
    assert "state" in (told.value.hint or "")


def test_a_state_that_was_taken_away_has_no_changes_to_tell(workspace: Path, tmp_path: Path) -> None:
    with Namespaces(state=str(tmp_path)).open(workspace) as box:
        (state,) = tmp_path.glob("weft-sandbox-*")
        shutil.rmtree(state)
        with pytest.raises(NotFound, match="has gone"):
            box.changes()
        with pytest.raises(NotFound, match="has gone"):
            box.commit()


def test_what_is_removed_is_never_another_folder(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    (victim / "kept").mkdir(parents=True)
    victim.chmod(0o755)
    (tmp_path / "state" / "closed").mkdir(parents=True)
    (tmp_path / "state" / "closed" / "link").symlink_to(victim)
    (tmp_path / "state" / "closed").chmod(0)
    (tmp_path / "link").symlink_to(victim)
    for name in ("link", "state"):
        keeper.remove_tree(str(tmp_path / name))
    assert (victim / "kept").is_dir()
    assert victim.stat().st_mode & 0o777 == 0o755
    assert not (tmp_path / "state").exists()
