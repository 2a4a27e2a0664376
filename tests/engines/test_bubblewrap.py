"""Bubblewrap itself: the contract, as root or not, and what goes with whom."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import weft
from weft.agent.sandbox import Sandbox, SandboxFailed
from weft.agent.sandbox.bubblewrap import Bubblewrap
from weft.core.errors import Denied
from weft.testing.sandbox import SandboxContract
from weft.testing.sandbox.outside import new_marker, running

pytestmark = [pytest.mark.sandbox, pytest.mark.engine("bwrap")]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    (root / "private").mkdir(parents=True)
    (root / "a").write_text("a\n")
    (root / "private" / "key").write_text("treasure\n")
    return root


def eventually(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class TestContract(SandboxContract):
    @classmethod
    def make_provider(cls, state: Path) -> Bubblewrap:
        return Bubblewrap(state=str(state))


def test_every_namespace_but_roots_users_is_new(workspace: Path) -> None:
    names = ["mnt", "pid", "net", "ipc", "uts", "cgroup", *(["user"] if os.geteuid() else [])]
    with Bubblewrap().open(workspace) as box:
        inside = box.run("".join(f"readlink /proc/self/ns/{name};" for name in names)).output.split()
    assert len(inside) == len(names)
    assert not set(inside) & {os.readlink(f"/proc/self/ns/{name}") for name in names}


def test_only_private_mounts_are_writable_to_anybody(workspace: Path) -> None:
    with Bubblewrap().open(workspace) as box:
        mounts = [line.split() for line in box.run("cat /proc/mounts").output.splitlines()]
        found = box.run("touch /x; touch /dev/x; touch /proc/sys/kernel/hostname; id -u; ls -a /home /run")
    writable = {target for _, target, _, flags, *_ in mounts if "rw" in flags.split(",")}
    assert {path for path in writable if not path.startswith(("/dev/", "/proc"))} == {str(workspace), "/tmp"}
    assert all("nosuid" in flags.split(",") for _, _, _, flags, *_ in mounts)
    assert found.output.count("touch: ") == 3
    if os.geteuid() == 0:
        assert int(next(line for line in found.output.splitlines() if line.isdigit())) >= 0x70000000


def test_what_is_hidden_stays_hidden_and_is_no_change(workspace: Path) -> None:
    with Bubblewrap().open(workspace, hidden=["private", "a"]) as box:
        tried = box.run("cat a private/key; chmod -R 777 private a; cat a private/key; mv a b; mv private p")
        assert "treasure" not in tried.output
        with pytest.raises(Denied):
            box.read("a")
        assert box.changes() == []
        box.write("b", b"b")
        assert [change.path for change in box.commit()] == ["b"]
        assert "treasure" not in box.run("cat private/key").output


def test_files_keep_their_owner_and_mode(workspace: Path) -> None:
    (workspace / "a").chmod(0o600)
    with Bubblewrap().open(workspace) as box:
        assert box.run("echo b >> a; cat a").output == "a\nb\n"
        box.commit()
    found = (workspace / "a").stat()
    assert ((workspace / "a").read_text(), found.st_uid, found.st_mode & 0o777) == (
        "a\nb\n",
        os.geteuid(),
        0o600,
    )


def test_a_sandbox_outlives_the_thread_that_opened_it(workspace: Path) -> None:
    opened: list[Sandbox] = []
    thread = threading.Thread(target=lambda: opened.append(Bubblewrap().open(workspace)))
    thread.start()
    thread.join()
    with opened[0] as box:
        assert box.run("sleep 0.05; echo alive").output == "alive\n"


_OWNER = """
import sys
from weft.agent.sandbox.bubblewrap import Bubblewrap
box = Bubblewrap(state=sys.argv[1]).open(sys.argv[2])
print("open", flush=True)
box.run(["sleep", sys.argv[3]])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_goes_with_its_owner(workspace: Path, state: Path, number: int) -> None:
    marker = new_marker()
    command = [sys.executable, "-c", _OWNER, str(state), str(workspace), marker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"open\n"
        eventually("the command starts", lambda: len(running(marker)) == 2)
        owner.send_signal(number)
    eventually("the command is gone", lambda: not running(marker))
    eventually("the state is gone", lambda: not list(state.iterdir()))


def test_bubblewrap_that_is_killed_takes_everything_along(workspace: Path, state: Path) -> None:
    marker = new_marker()
    box = Bubblewrap(state=str(state)).open(workspace)
    walls = running(str(state))
    killer = threading.Timer(0.2, lambda: [os.kill(pid, signal.SIGKILL) for pid in walls])
    killer.start()
    with pytest.raises(SandboxFailed, match="bubblewrap"):
        box.run(["sleep", marker], timeout_s=20)
    killer.join()
    eventually("the command is gone", lambda: not running(marker))
    eventually("the state is gone", lambda: not list(state.iterdir()))


_AS_SOMEBODY = """
import os
from weft.agent.sandbox.bubblewrap import Bubblewrap
work, secret = os.environ["WORK"], os.environ["SECRET"]
with Bubblewrap().open(work, hidden=["key"]) as box:
    print(box.run("id -u; echo b >> a; echo x > /etc/x; cat key; cat " + secret).output)
    print(box.run("grep -c . /proc/self/status > /tmp/n; grep Cap /proc/self/status | sort -u -k2").output)
    print([change.path for change in box.commit()], open(work + "/a").read().split())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_ordinary_user() -> None:
    """With the system's Python, since this one may live where nobody else can go."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    packages = [
        str(Path(weft.__file__).parents[1]),
        str(Path(sys.modules["msgspec"].__file__ or "").parents[1]),
    ]
    somebody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    probe = [python or "", "-c", "import msgspec"]
    if python is None or subprocess.run(probe, env=environment, capture_output=True, **somebody).returncode:  # type: ignore[call-overload]
        pytest.skip("no Python of the system that can import msgspec as nobody")
    top = Path("/var/tmp") / f"weft-test-{os.getpid()}"
    try:
        (top / "work").mkdir(parents=True)
        for name, text in (("work/a", "a\n"), ("work/key", "treasure"), ("secret", "treasure")):
            (top / name).write_text(text)
        for path in (top, *top.rglob("*")):
            os.chown(path, 65534, 65534)
        environment |= {"WORK": str(top / "work"), "SECRET": str(top / "secret"), "TMPDIR": str(top)}
        done = subprocess.run(  # type: ignore[call-overload]
            [python, "-c", _AS_SOMEBODY],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            **somebody,
        )
        assert done.stderr == ""
        assert done.stdout.split("\n") == [
            "65534",
            "/bin/sh: 1: cannot create /etc/x: Read-only file system",
            "cat: key: Permission denied",
            f"cat: {top}/secret: No such file or directory",
            "",
            "CapInh:\t0000000000000000",
            "",
            "['a'] ['a', 'b']",
            "",
        ]
        assert sorted(path.name for path in top.iterdir()) == ["secret", "work"]
    finally:
        shutil.rmtree(top)
