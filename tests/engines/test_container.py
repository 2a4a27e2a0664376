"""Podman itself: the contract in an image of this host's files, and what is left when somebody dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from weft.agent.sandbox import Limits, Promise, Sandbox, SandboxFailed, engines, native
from weft.agent.sandbox.container import Container
from weft.core.errors import Denied, NotFound, Unavailable
from weft.testing.sandbox import SandboxContract
from weft.testing.sandbox.outside import new_marker, running

pytestmark = [pytest.mark.sandbox, pytest.mark.engine("podman")]

PYTHON = "/usr/bin/python3"


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


def podman(*arguments: str) -> str:
    done = subprocess.run(["podman", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


def containers(pid: int) -> list[str]:
    """The names of those that this process has made, running or not."""
    names = podman("ps", "--all", "--format", "{{.Names}}").split()
    return [name for name in names if name.startswith(f"weft-{pid}-")]


def eventually(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class TestContract(SandboxContract):
    python = PYTHON
    image = ""

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _image(cls, image: str) -> None:
        cls.image = image

    @classmethod
    def make_provider(cls, state: Path) -> Container:
        return Container(image=cls.image, engine="podman", state=str(state))


def test_the_walls_are_the_engines_and_the_layers_are_our_own(image: str, workspace: Path) -> None:
    limits = Limits(memory_bytes=256 << 20, processes=33, tmp_bytes=8 << 20, open_files=77)
    with Container(image=image, engine="podman").open(workspace, limits=limits) as box:
        (name,) = containers(os.getpid())
        template = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.HostConfig.ReadonlyRootfs}}"
        assert podman("inspect", "--format", template, name) == f"{256 << 20} 33 true\n"
        status = box.run("cat /proc/self/status; ulimit -n; ulimit -u 2>/dev/null; id -u").output
        mounts = [line.split() for line in box.run("cat /proc/mounts").output.splitlines()]
        assert Promise.TOTAL_MEMORY in box.promises
        tried = box.run("touch /x /usr/x /etc/x /run/x /var/x /dev/x /home/x")
    assert tried.output.count("touch: cannot touch") == 7
    assert "Seccomp:\t2\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert f"CapBnd:\t{'0' * 16}\n" in status
    assert "\n77\n" in status
    if os.geteuid() == 0:
        assert int(status.split()[-1]) >= 0x70000000
    names = {target for _, target, kind, flags, *_ in mounts if kind != "proc" and "rw" in flags.split(",")}
    assert {"/workspace", "/tmp"} <= names
    assert not {"/", "/run", "/var/tmp", "/etc/hosts"} & names
    assert containers(os.getpid()) == []


def test_no_variable_of_the_caller_is_inside(
    image: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "https_proxy", "AWS_SECRET"):
        monkeypatch.setenv(name, "http://ann:treasure@127.0.0.1:9")
    with Container(image=image, engine="podman").open(workspace) as box:
        assert "treasure" not in box.run("env; cat /proc/*/environ").output


def test_what_is_hidden_stays_hidden_and_is_no_change(image: str, workspace: Path) -> None:
    provider = Container(image=image, engine="podman")
    with provider.open(workspace, hidden=["private", "a"]) as box:
        tried = box.run("cat a private/key; chmod -R 777 private a; cat a private/key; mv a b; mv private p")
        assert "treasure" not in tried.output
        with pytest.raises(Denied):
            box.read("a")
        assert box.changes() == []
        box.write("b", b"b")
        assert [change.path for change in box.commit()] == ["b"]
        assert "treasure" not in box.run("cat private/key").output


def test_a_toolchain_is_shown_where_it_stands(image: str, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "t").write_text("t\n")
    provider = Container(image=image, engine="podman")
    with provider.open(workspace, toolchain=[tmp_path / "tools"]) as box:
        assert box.run(["cat", str(tmp_path / "tools" / "t")]).output == "t\n"
        assert box.run(["rm", str(tmp_path / "tools" / "t")]).exit_code != 0
    with pytest.raises(NotFound):
        provider.open(workspace, toolchain=["/nowhere"])


def test_an_image_that_is_not_here_is_not_pulled(workspace: Path) -> None:
    with pytest.raises(Unavailable) as raised:
        Container(image="localhost/nothing-of-this-name:1", engine="podman").open(workspace)
    assert raised.value.hint == "podman pull localhost/nothing-of-this-name:1"


def test_an_image_without_python_will_do(image: str, workspace: Path, state: Path) -> None:
    assert native.stands_alone(native.program()), "built by the install"
    provider = Container(image=image, engine="podman", python="python9", state=str(state))
    with provider.open(workspace) as box:
        assert box.run("cat a").output == "a\n"


def test_an_image_without_python_is_refused_where_nothing_was_built(
    image: str, workspace: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "program", lambda: "")
    provider = Container(image=image, engine="podman", python="python9", state=str(state))
    with pytest.raises(Unavailable, match="python9") as raised:
        provider.open(workspace)
    assert "python3, 3.10 or newer" in (raised.value.hint or "")
    assert list(state.iterdir()) == []
    assert containers(os.getpid()) == []


_OWNER = """
import sys
from weft.agent.sandbox.container import Container
box = Container(image=sys.argv[1], engine="podman", state=sys.argv[2]).open(sys.argv[3])
print("open", flush=True)
box.run(["sleep", sys.argv[4]])
"""


def _owner(image: str, state: Path, workspace: Path, marker: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _OWNER, image, str(state), str(workspace), marker]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"open\n"
    eventually("the command starts", lambda: len(running(marker)) == 2)
    return owner


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_everything_goes_with_its_owner(image: str, workspace: Path, state: Path, number: int) -> None:
    marker = new_marker()
    with _owner(image, state, workspace, marker) as owner:
        owner.send_signal(number)
    eventually("the command is gone", lambda: not running(marker))
    eventually("the container is gone", lambda: not containers(owner.pid))
    eventually("the state is gone", lambda: not list(state.iterdir()))


def test_what_is_cut_off_with_its_keeper_ends_by_itself(image: str, workspace: Path, state: Path) -> None:
    """Owner, keeper and client are killed, so that nobody cleans up: the executor hears the silence."""
    marker = new_marker()
    with _owner(image, state, workspace, marker) as owner:
        (client,) = running(
            "run\0--rm\0--interactive\0--read-only\0--no-healthcheck\0--security-opt=no-new-pr"
        )
        keeper = int(Path(f"/proc/{client}/stat").read_text().rpartition(")")[2].split()[1])
        for pid in (keeper, client, owner.pid):
            os.kill(pid, signal.SIGKILL)
    eventually("the command is gone", lambda: not running(marker))
    eventually("the container is gone", lambda: not containers(owner.pid))


def test_a_container_that_is_removed_is_a_failed_sandbox(image: str, workspace: Path, state: Path) -> None:
    marker = new_marker()
    box = Container(image=image, engine="podman", state=str(state)).open(workspace)
    (name,) = containers(os.getpid())
    killer = threading.Timer(0.3, podman, ["kill", "--signal", "KILL", name])
    killer.start()
    with pytest.raises(SandboxFailed, match="podman"):
        box.run(["sleep", marker], timeout_s=20)
    killer.join()
    assert not running(marker)
    eventually("the state is gone", lambda: not list(state.iterdir()))


def test_orphans_are_removed_by_the_next_and_others_are_left_alone(image: str, workspace: Path) -> None:
    label = engines.find("podman", os.environ).label()
    ours, dead = engines.new_name(10_000), "weft-4194399-1-0"
    other = f"weft-4194399-1-{os.getpid()}"
    flags = [f"--label={label}", "--ulimit=nofile=100:100", "--ulimit=nproc=100:100", "--network=none"]
    try:
        for name, mark in (
            (ours, flags),
            (dead, flags),
            (other, [*flags, "--label=dev.weft.host=elsewhere"]),
        ):
            podman("create", "--name", name, *mark, image, "true")
        with Container(image=image, engine="podman").open(workspace) as box:
            assert box.run("echo alive").output == "alive\n"
            names = set(podman("ps", "--all", "--format", "{{.Names}}").split())
        assert {ours, other} <= names
        assert dead not in names
    finally:
        podman("rm", "--force", "--ignore", ours, dead, other)


def test_opened_sandbox_protocol(image: str, workspace: Path) -> None:
    """A commit starts the inside anew: another container, and the workspace as it now is."""
    with Sandbox.open(workspace, provider=Container(image=image, engine="podman")) as box:
        first = containers(os.getpid())
        box.run("echo b >> a; chmod 755 a")
        assert [change.path for change in box.commit()] == ["a"]
        assert box.run("cat a; echo c >> a").output == "a\nb\n"
        assert len(containers(os.getpid())) == 1
        assert containers(os.getpid()) != first
    assert (workspace / "a").read_text() == "a\nb\n"
    assert os.access(workspace / "a", os.X_OK)
    assert (workspace / "a").stat().st_uid == os.geteuid()
