"""The template that sandboxes are forked from: killed, orphaned, shared, empty of what the owner knows."""

from __future__ import annotations

import contextlib
import glob
import operator
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from weft.agent.sandbox import Sandbox, SandboxFailed, session, template
from weft.agent.sandbox.confined import Confined
from weft.agent.sandbox.inside import cgroups
from weft.core.errors import Unavailable

pytestmark = pytest.mark.sandbox


@pytest.fixture
def fresh() -> Iterator[None]:
    """No template yet, and none that a test has changed for the next."""
    template._retire()
    yield
    template._retire()


def eventually(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def template_pid() -> int:
    assert template._template is not None
    return template._template.pid


def executor_of(box: Sandbox) -> Confined:
    assert isinstance(box, session.Session)
    assert isinstance(box._executor, Confined)
    return box._executor


def children(pid: int) -> list[int]:
    """The mould first, then sandboxes and blanks."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def works(box: Sandbox) -> bool:
    return box.run("cat a").output == "a\n"


def test_a_killed_template_takes_its_sandboxes_along_and_is_replaced(workspace: Path, fresh: None) -> None:
    """Also where it is killed at work, with a blank half made."""
    for _ in range(10):
        with Sandbox.open(workspace) as before:
            killed = template_pid()
            os.kill(killed, signal.SIGKILL)
            with Sandbox.open(workspace) as after:
                assert template_pid() != killed
                eventually("the sandbox is gone", partial(gone, executor_of(before).pid))
                with pytest.raises(SandboxFailed):
                    works(before)
                assert not os.path.exists(executor_of(before).state)
                assert works(after)


def test_a_killed_mould_is_replaced_and_nothing_else_ends(workspace: Path, fresh: None) -> None:
    """Also where it is killed at work, with a blank half forked: it makes the next after each opening."""
    with Sandbox.open(workspace) as before:
        template_before = template_pid()
        for _ in range(8):
            mould = next(pid for pid in children(template_before) if is_mould(pid))
            with Sandbox.open(workspace) as box:
                os.kill(mould, signal.SIGKILL)
                assert works(box)
            eventually("the mould is gone", partial(gone, mould))
            with Sandbox.open(workspace) as after, Sandbox.open(workspace) as another:
                assert works(after)
                assert works(another)
        assert works(before)
        assert template_pid() == template_before


def is_mould(pid: int) -> bool:
    """Whether it is in its parent's namespace of processes."""
    return "\nNSpid:\t" + str(pid) + "\n" in Path(f"/proc/{pid}/status").read_text()


def test_a_retired_template_lasts_as_long_as_its_sandboxes(workspace: Path, fresh: None) -> None:
    with Sandbox.open(workspace) as before:
        retired = template_pid()
        template._retire()
        with Sandbox.open(workspace) as after:
            assert template_pid() != retired
            eventually("blanks are gone", lambda: children(retired)[1:] == [executor_of(before).pid])
            assert works(before)
            assert works(after)
    eventually("the template is gone", lambda: gone(retired))


def test_a_stopped_template_is_one_clear_error(
    workspace: Path, fresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template, "_FORK_S", 2.0)
    Sandbox.open(workspace).close()
    stopped = template_pid()
    template._template._control.settimeout(0.1)  # type: ignore[union-attr]
    os.kill(stopped, signal.SIGSTOP)
    with pytest.raises(Unavailable, match="template"):
        Sandbox.open(workspace)
    assert gone(stopped)
    with Sandbox.open(workspace) as box:
        assert works(box)


def test_what_is_shown_is_what_is_there_when_it_opens(workspace: Path, tmp_path: Path, fresh: None) -> None:
    """Not what was there when a blank was made."""
    tools = tmp_path / "tools"
    for number in range(3):
        tools.mkdir()
        (tools / "version").write_text(f"{number}\n")
        for _ in range(2):
            with Sandbox.open(workspace, toolchain=[tools]) as box:
                assert box.run(["cat", str(tools / "version")]).output == f"{number}\n"
        tools.rename(tmp_path / f"old{number}")


_MOUNTING = """
import ctypes, os, sys
from weft.agent.sandbox import Sandbox
work, tools = sys.argv[1:]
disk = tools + "/disk"
def shown():
    with Sandbox.open(work, toolchain=[tools]) as box:
        return box.run("ls " + disk).output.split()
print(shown(), shown())
libc = ctypes.CDLL(None)
assert libc.mount(b"tmpfs", os.fsencode(disk), b"tmpfs", 0, None) == 0
open(disk + "/new", "w").close()
print(shown(), shown())
assert libc.umount2(os.fsencode(disk), 0) == 0
print(shown(), shown())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount in a namespace that is not of users")
def test_what_is_mounted_later_is_shown(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "tools" / "disk").mkdir(parents=True)
    command = ["unshare", "--mount", sys.executable, "-c", _MOUNTING, str(workspace), str(tmp_path / "tools")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == ["[] []", "['new'] ['new']", "[] []"], done.stderr


_OWNER = """
import os, subprocess, sys, time
from weft.agent.sandbox import Sandbox, template
box = Sandbox.open(sys.argv[1])
other = -1
if sys.argv[2] == "forked":
    other = os.fork()
    if other == 0:
        time.sleep(60)
if sys.argv[2] == "passed":
    held = [template._template._control.fileno(), box._executor._sock.fileno(), box._executor._pidfd]
    other = subprocess.Popen(["sleep", "60"], pass_fds=held).pid
print(template._template.pid, box._executor.pid, other, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("descriptors", ["held", "forked", "passed"])
def test_template_and_sandbox_go_with_a_killed_owner(workspace: Path, descriptors: str) -> None:
    """Also while another process has the owner's descriptors and lives on."""
    command = [sys.executable, "-c", _OWNER, str(workspace), descriptors]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        spawned, inside, other = map(int, owner.stdout.readline().split())
        assert not gone(spawned)
        assert not gone(inside)
        try:
            owner.kill()
            eventually("the sandbox is gone", lambda: gone(inside))
            eventually("the template is gone", lambda: gone(spawned))
        finally:
            if other > 0:
                os.kill(other, signal.SIGKILL)


_CHANGING = """
import os, resource, sys, threading
from weft.agent.sandbox import Sandbox, template
def opened():
    with Sandbox.open(sys.argv[1]) as box:
        assert box.run("cat a").output == "a\\n"
        return template._template.pid, os.getpriority(os.PRIO_PROCESS, box._executor.pid)
first = opened()
assert opened() == first
os.nice(3)
niced = opened()
assert niced[0] != first[0] and niced[1] == first[1] + 3, (first, niced)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
limited = opened()
assert limited[0] != niced[0]
thread = threading.Thread(target=opened)
thread.start()
thread.join()
assert opened() == limited
child = os.fork()
if child == 0:
    assert template._template is None
    assert opened()[0] != limited[0]
    template._retire()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert opened() == limited
print("done")
"""


def test_a_sandbox_inherits_what_the_owner_is_now(workspace: Path) -> None:
    """Niced, limited, forked: each has a template of its own; a thread that opens and ends leaves it be."""
    command = [sys.executable, "-W", "error", "-c", _CHANGING, str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_threads_open_side_by_side_from_one_template(workspace: Path, fresh: None) -> None:
    boxes: list[Sandbox] = []
    threads = [threading.Thread(target=lambda: boxes.append(Sandbox.open(workspace))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        pids = {executor_of(box).pid for box in boxes}
        assert len(pids) == 8
        assert pids <= set(children(template_pid()))
        for number, box in enumerate(boxes):
            box.write("a", b"%d" % number)
        assert [box.read("a") for box in boxes] == [b"%d" % number for number in range(8)]
    finally:
        for box in boxes:
            box.close()


def descriptors(pid: int) -> int:
    """But for the namespaces of users: as many as there have been sandboxes at once, and kept."""
    held = 0
    for each in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            held += not os.readlink(f"/proc/{pid}/fd/{each}").startswith("user:")
    return held


@pytest.mark.slow
def test_nothing_is_left_of_two_hundred_sandboxes(workspace: Path, fresh: None) -> None:
    def two_blanks_are_there() -> bool:
        if len(children(template_pid())) != 3:
            # Mounts that others make on this host have them thrown away.
            Sandbox.open(workspace).close()
        return len(children(template_pid())) == 3

    def left() -> tuple[int, int, bool]:
        eventually("two blanks are there", two_blanks_are_there)
        mounted = "weft-sandbox" in Path("/proc/self/mountinfo").read_text()
        return descriptors(os.getpid()), descriptors(template_pid()), mounted

    for _ in range(5):
        Sandbox.open(workspace).close()
    before = left()
    assert not before[2]
    for _ in range(200):
        Sandbox.open(workspace).close()
    eventually("something is left", lambda: all(map(operator.le, left(), before)))
    retired = template_pid()
    template._retire()
    eventually("the template is gone", lambda: gone(retired))
    left_over = cgroups.named(f"weft-sandbox-*-{os.getpid()}-*-{retired}-*")
    assert [path for each in left_over for path in glob.glob(each)] == []


def processes(box: Sandbox) -> dict[str, int]:
    own = template_pid()
    return {"template": own, "mould": children(own)[0], "executor": executor_of(box).pid}


_HELD = {
    "template": {"anon_inode", "pipe", "socket", "user", "mountinfo"},
    "mould": {"anon_inode", "socket"},
    "executor": {"socket"},
}
"""Kinds of descriptors beside /dev/null: pidfds, the namespaces of users, what tells of changed mounts."""


def test_nothing_of_the_owner_is_inherited(
    workspace: Path, fresh: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("treasure")
    monkeypatch.setenv("WEFT_TREASURE", "treasure")
    fd = os.open(secret, os.O_RDONLY)
    os.set_inheritable(fd, True)
    try:
        with Sandbox.open(workspace) as other, Sandbox.open(workspace) as box:
            assert works(other)
            pids = processes(box)
            if os.geteuid() != 0:
                del pids["executor"]  # which only root may look at
            for name, pid in pids.items():
                assert Path(f"/proc/{pid}/environ").read_bytes() == b"", name
                # The template is making blanks, and the executor has just begun.
                eventually(f"the {name} holds what it should", partial(holds_its_own, name, pid))
            assert "treasure" not in box.run("env; ls -l /proc/self/fd; cat /proc/*/environ").output
    finally:
        os.close(fd)


def holds_its_own(name: str, pid: int) -> bool:
    held = []
    for each in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            held.append(os.readlink(f"/proc/{pid}/fd/{each}"))
    kinds = {each.partition(":")[0].rpartition("/")[2] for each in held if each != "/dev/null"}
    return kinds <= _HELD[name] and (name != "executor" or len(held) == 5)


def memory(pid: int) -> bytes:
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if rights.startswith("rw"):
                low, high = (int(each, 16) for each in span.split("-"))
                memory.seek(low)
                found.append(memory.read(high - low))
    return b"".join(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of an executor")
def test_no_sandbox_has_another_or_the_owner_in_its_memory(tmp_path: Path, fresh: None) -> None:
    marks = [secrets.token_hex(16) for _ in range(3)]
    for mark in marks[:2]:
        (tmp_path / mark).mkdir()
    with Sandbox.open(tmp_path / marks[0]) as first, Sandbox.open(tmp_path / marks[1]) as second:
        first.write("a", marks[2].encode())
        contents = {name: memory(pid) for name, pid in processes(second).items()}
        assert marks[0].encode() in memory(processes(first)["executor"])
    assert marks[1].encode() in contents["executor"]
    assert marks[1].encode() not in contents["template"] + contents["mould"]
    for name, content in contents.items():
        assert marks[0].encode() not in content, name
        assert marks[2].encode() not in content, name
