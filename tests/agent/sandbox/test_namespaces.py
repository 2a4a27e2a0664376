"""The namespace sandbox beyond the contract: users, owners that die, hosts that cannot, liars inside."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import weft
from weft.agent.sandbox import (
    Limits,
    Promise,
    Sandbox,
    SandboxFailed,
    native,
    session,
    shown,
    template,
    wire,
)
from weft.agent.sandbox.confined import Confined
from weft.agent.sandbox.host import host_report
from weft.agent.sandbox.inside import blank, cgroups, marks
from weft.agent.sandbox.inside.plan import Plan
from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.session import denials
from weft.core.errors import Invalid, NotFound, Unavailable

pytestmark = pytest.mark.sandbox


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    root = tmp_path / "work"
    root.mkdir()
    (root / "a").write_text("a\n")
    return root


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def eventually(what: str, condition: object, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def executor(box: Sandbox) -> Confined:
    assert isinstance(box, session.Session)
    assert isinstance(box._executor, Confined)
    return box._executor


def groups(owner: int) -> list[str]:
    """Control groups of an owner."""
    return [path for each in cgroups.named(f"weft-sandbox-*-{owner}-*") for path in glob.glob(each)]


def members(group: str) -> str:
    """The processes in a control group, empty where it is no more."""
    with contextlib.suppress(OSError):
        return Path(group, "cgroup.procs").read_text()
    return ""


def groups_of(pid: int) -> set[str]:
    """The control groups of sandboxes that a process is in."""
    names = re.findall("weft-sandbox-[^/\n]*", Path(f"/proc/{pid}/cgroup").read_text())
    return {path for name in names for path in cgroups.named(name) if os.path.exists(path)}


def test_public_face(workspace: Path) -> None:
    with Sandbox.open(workspace) as box:
        result = box.run(["cat", "a"], timeout_s=60)
        assert (result.exit_code, result.output, result.timed_out, result.denied) == (0, "a\n", False, ())
        assert box.promises >= Namespaces().promises


def test_workspace_is_an_overlay_where_the_host_allows(workspace: Path, state: Path) -> None:
    with Namespaces(state=str(state)).open(workspace) as box:
        assert "overlay" in box.run(["stat", "-f", "-c", "%T", "."]).output


def test_every_namespace_is_new(workspace: Path) -> None:
    names = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"]
    with Sandbox.open(workspace) as box:
        inside = box.run("".join(f"readlink /proc/self/ns/{name};" for name in names)).output.split()
    outside = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    assert len(inside) == len(outside)
    assert not set(inside) & set(outside)


def test_only_private_mounts_are_writable(workspace: Path) -> None:
    with Sandbox.open(workspace) as box:
        mounts = [line.split() for line in box.run("cat /proc/mounts").output.splitlines()]
    options = {target: set(flags.split(",")) for _, target, _, flags, *_ in mounts}
    assert {target for target, flags in options.items() if "rw" in flags and target[:5] != "/dev/"} == {
        str(workspace),
        "/tmp",
    }
    assert all("nosuid" in flags for flags in options.values())
    assert all("nodev" in flags for target, flags in options.items() if target[:4] != "/dev")


def test_landlock_and_seccomp_are_on(workspace: Path) -> None:
    """Landlock refuses a device node with EACCES before the missing capability could with EPERM."""
    code = "import os, stat; os.mknod('d', stat.S_IFBLK | 0o600, 0)"
    with Sandbox.open(workspace) as box:
        assert "[Errno 13]" in box.run([sys.executable, "-c", code]).output
        status = box.run("cat /proc/self/status").output
    assert "Seccomp:\t2\n" in status
    assert "NoNewPrivs:\t1\n" in status


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_inside_nobody_is_root(workspace: Path) -> None:
    (workspace / "private").write_text("p\n")
    (workspace / "private").chmod(0o600)
    with Sandbox.open(workspace) as box:
        assert int(box.run(["id", "-u"]).output) >= 0x70000000
        assert box.run("cat private && echo more >> private").output == "p\n"
        box.commit()
    found = (workspace / "private").stat()
    assert ((workspace / "private").read_text(), found.st_uid, found.st_mode & 0o777) == (
        "p\nmore\n",
        0,
        0o600,
    )


_AS_SOMEBODY = """
import os
from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.host import host_report
from weft.agent.sandbox.inside import cgroups
from weft.core.errors import Denied
work = os.environ["WORK"]
with Sandbox.open(work) as box:
    print(box.run("id -u; echo b >> a; mkdir closed; chmod 0 closed; echo x > /etc/x").output)
    print(box.run("cat " + os.environ["SECRET"]).exit_code, box.run(["stat", "-f", "-c", "%T", "."]).output)
    try:
        box.changes()
    except Denied as error:
        print(error)
    box.run("chmod 700 closed")
    print([change.path for change in box.commit()], open(work + "/a").read().split())
    box.run("mkdir again; chmod 0 again")
print([str(f.promise.name) for f in host_report() if not f.available])
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
def test_ordinary_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With the system's Python, since this one may live where nobody else can go."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    packages = [
        str(Path(weft.__file__).parents[1]),
        str(Path(sys.modules["msgspec"].__file__ or "").parents[1]),
    ]
    probe = [python or "", "-c", "import msgspec"]
    somebody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/"}
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    if python is None or subprocess.run(probe, env=environment, capture_output=True, **somebody).returncode:  # type: ignore[call-overload]
        pytest.skip("no Python of the system that can import msgspec as nobody")
    top = Path("/var/tmp") / f"weft-test-{os.getpid()}"
    try:
        (top / "work").mkdir(parents=True)
        (top / "work" / "a").write_text("a\n")
        (top / "secret").write_text("treasure")
        for path in (top, top / "work", top / "work" / "a", top / "secret"):
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
            "",
            "1 overlayfs",
            "",
            "`closed` in the sandbox cannot be read: Permission denied; "
            "run chmod -R u+rwX on it in the sandbox",
            "['a'] ['a', 'b']",
            "['TOTAL_MEMORY']",
            "",
        ]
        assert sorted(path.name for path in top.iterdir()) == ["secret", "work"]
    finally:
        shutil.rmtree(top)


def test_closing_removes_state_and_groups(workspace: Path, state: Path) -> None:
    box = Namespaces(state=str(state)).open(workspace)
    box.run("mkdir -p d/e; chmod 0 d; touch f; ln -s /etc l")
    assert len(list(state.iterdir())) == 1
    own = groups_of(executor(box).pid)
    assert bool(own) == (Promise.TOTAL_MEMORY in box.promises)
    box.close()
    assert list(state.iterdir()) == []
    # They serve the next, until the template that has them ends.
    assert not [path for path in own if Path(path, "cgroup.procs").read_text()]
    template._retire()
    eventually("the groups are gone", lambda: not any(map(os.path.exists, own)))


def test_what_was_before_a_discard_goes_behind_it_and_at_the_latest_with_the_sandbox(
    workspace: Path, state: Path
) -> None:
    box = Namespaces(state=str(state)).open(workspace)
    for _ in range(5):
        old = executor(box).state
        box.discard()
        assert executor(box).state != old
        eventually("the old state is gone", lambda old=old: not os.path.exists(old))
    box.discard()
    box.close()
    assert list(state.iterdir()) == []


def test_groups_that_somebody_removed_are_not_given_again(workspace: Path) -> None:
    for _ in range(3):
        boxes = [Sandbox.open(workspace) for _ in range(4)]
        own = [path for box in boxes for path in groups_of(executor(box).pid)]
        for box in boxes:
            box.close()
        time.sleep(0.05)
        for path in own:
            with contextlib.suppress(OSError):
                os.rmdir(path)
    with Sandbox.open(workspace) as box:
        assert box.run("cat a").output == "a\n"


@pytest.mark.parametrize("wrong", [{"cpu_s": 0}, {"cpu_s": 1.5}, {"processes": -1}, {"output_bytes": -1}])
def test_limits_that_would_bound_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Invalid, match=next(iter(wrong))):
        Limits(**wrong)


def test_a_program_that_does_not_run_here_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "__file__", str(tmp_path / "__init__.py"))
    native.program.cache_clear()
    try:
        assert native.program() == ""
        for text in ("#!/bin/sh\nexit 2\n", "#!/bin/sh\nexit 1\n", "#!/nowhere\n", "nonsense"):
            (tmp_path / "weft-inside").write_text(text)
            (tmp_path / "weft-inside").chmod(0o755)
            native.program.cache_clear()
            assert native.program() == ""
    finally:
        monkeypatch.undo()
        native.program.cache_clear()


def test_groups_of_a_killed_template_go_with_the_next(workspace: Path, state: Path) -> None:
    box = Namespaces(state=str(state)).open(workspace)
    own = groups_of(executor(box).pid)
    assert template._template is not None
    os.kill(template._template.pid, signal.SIGKILL)
    box.close()
    Namespaces(state=str(state)).open(workspace).close()
    assert not any(map(os.path.exists, own))


_OWNER = """
import sys
from weft.agent.sandbox import template
from weft.agent.sandbox.namespaces import Namespaces
box = Namespaces(state=sys.argv[1]).open(sys.argv[2])
print(template._template.pid, flush=True)
box.run(["sleep", sys.argv[3]])
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_everything_goes_with_its_owner(workspace: Path, state: Path, number: int) -> None:
    from weft.testing.sandbox.outside import new_marker, running

    marker = new_marker()
    command = [sys.executable, "-c", _OWNER, str(state), str(workspace), marker]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert owner.stdout is not None
    with owner.stdout:
        assert int(owner.stdout.readline())
        eventually("the command starts", lambda: len(running(marker)) == 2)
        owner.send_signal(number)
        owner.wait()
    eventually("the command is gone", lambda: not running(marker))
    eventually("the state is gone", lambda: not list(state.iterdir()))
    eventually("the groups are gone", lambda: not groups(owner.pid))


def test_what_is_left_when_all_are_killed_goes_with_the_next_start(workspace: Path, state: Path) -> None:
    """Owner and template, who would have removed it; what another owner has stays where it is."""
    from weft.testing.sandbox.outside import new_marker, running

    markers = new_marker(), new_marker()
    commands = [[sys.executable, "-c", _OWNER, str(state), str(workspace), marker] for marker in markers]
    with (
        subprocess.Popen(commands[0], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as owner,
        subprocess.Popen(commands[1], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as other,
        contextlib.ExitStack() as ends,
    ):
        ends.callback(owner.kill)
        ends.callback(other.kill)
        assert owner.stdout is not None
        assert other.stdout is not None
        own_template = int(owner.stdout.readline())
        assert int(other.stdout.readline())
        eventually("the commands start", lambda: all(len(running(marker)) == 2 for marker in markers))
        os.kill(owner.pid, signal.SIGSTOP)
        os.kill(own_template, signal.SIGKILL)
        eventually("the inside is gone", lambda: running(markers[0]) == [owner.pid])
        owner.kill()
        owner.wait()
        # The blanks end too; a group is not removed before all in it has.
        eventually("the groups are empty", lambda: not any(map(members, groups(owner.pid))))
        folders = {path.name for path in state.iterdir()}
        [left] = [name for name in folders if marks.is_left(name)]
        assert len(folders) == 2
        with Namespaces(state=str(state)).open(workspace) as box:
            assert box.run("cat a").output == "a\n"
            assert not (state / left).exists()
            assert not groups(owner.pid)
            assert len(list(state.iterdir())) == 2
            assert len(running(markers[1])) == 2
    eventually("all is gone", lambda: not list(state.iterdir()))


def test_only_what_is_certainly_left_is_taken_for_left() -> None:
    name = marks.name(marks.mark(), "1")
    kind, boot, space, pid, start, what = re.split("(?<!weft)-", name)
    assert not marks.is_left(name)
    for gone in ([boot, space, pid, "1"], [boot, space, "4194304", start]):
        assert marks.is_left("-".join([kind, *gone, what]))
    for not_ours in (["00000000", space, pid, "1"], [boot, "1", pid, "1"]):
        assert not marks.is_left("-".join([kind, *not_ours, what]))
    assert not marks.is_left(f"{kind}-")
    assert not marks.is_left("other")


def test_a_dead_executor_takes_everything_along(workspace: Path) -> None:
    from weft.testing.sandbox.outside import new_marker, running

    marker = new_marker()
    box = Sandbox.open(workspace)
    assert isinstance(box, session.Session)
    killer = threading.Timer(0.3, os.kill, (executor(box).pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(SandboxFailed):
        box.run(["sleep", marker], timeout_s=20)
    killer.join()
    eventually("the command is gone", lambda: not running(marker))
    with pytest.raises(SandboxFailed, match="closed"):
        box.run("true")
    assert not os.path.exists(os.path.dirname(box._pair.other))


def test_a_liar_inside_is_a_failed_sandbox(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    box = Sandbox.open(workspace)
    assert isinstance(box, session.Session)
    monkeypatch.setattr(wire.Stream, "_exactly", lambda self, count: b"\xff" * count)
    with pytest.raises(SandboxFailed):
        box.run("true")
    with pytest.raises(SandboxFailed):
        box.changes()


def test_a_flood_from_inside_is_a_failed_sandbox(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox.open(workspace) as box:
        monkeypatch.setattr(wire.Stream, "receive", lambda self, timeout_s: wire.Reply(out=b"x" * 1000))
        with pytest.raises(SandboxFailed, match="more than was asked"):
            box.run("true", output_bytes=5000)
        with pytest.raises(SandboxFailed):
            box.run("true")


def test_threads_take_turns(workspace: Path) -> None:
    outputs: dict[int, str] = {}
    with Sandbox.open(workspace) as box:

        def work(number: int) -> None:
            outputs[number] = box.run(f"echo {number}").output

        threads = [threading.Thread(target=work, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outputs == {number: f"{number}\n" for number in range(20)}


def test_two_sandboxes_do_not_meet(workspace: Path) -> None:
    with Sandbox.open(workspace) as one, Sandbox.open(workspace) as other:
        one.run("echo one > a; echo one > /tmp/t")
        assert other.run("cat a; ls /tmp/t; echo other > a").output.startswith(
            "a\nls: cannot access '/tmp/t'"
        )
        assert one.run("cat a").output == "one\n"
        one.commit()


_LISTEN = """
import socket
with socket.socket(socket.AF_UNIX) as server:
    server.bind(chr(0) + "weft-meeting")
    server.listen()
    print("ready", flush=True)
    server.accept()
"""
_CONNECT = """
import socket
print(open("/proc/self/net/unix").read().count("weft-meeting"), flush=True)
socket.socket(socket.AF_UNIX).connect(chr(0) + "weft-meeting")
"""


def test_two_sandboxes_share_no_abstract_sockets(workspace: Path) -> None:
    with Sandbox.open(workspace) as one, Sandbox.open(workspace) as other:
        server = one.start([sys.executable, "-I", "-c", _LISTEN])
        assert server.poll(1.0).data == b"ready\n"
        refused = other.run([sys.executable, "-I", "-c", _CONNECT]).output
        assert refused.startswith("0\n")
        assert "ConnectionRefusedError" in refused or "PermissionError" in refused
        assert one.run([sys.executable, "-I", "-c", _CONNECT]).output == "1\n"


def test_host_where_a_step_fails_is_refused(
    workspace: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is named."""
    plan = Plan("confinement")
    plan.mount("no-such-kind", "/proc", 0)
    monkeypatch.setattr(blank, "completion", lambda **order: plan.raw())
    with pytest.raises(Unavailable, match=r"confinement.*: mount no-such-kind on /proc: No such device"):
        Namespaces(state=str(state)).open(workspace)
    assert list(state.iterdir()) == []


_REFUSED = """
import sys
from weft.agent.sandbox.namespaces import Namespaces
from weft.core.errors import Unavailable
try:
    Namespaces(state=sys.argv[1]).open(sys.argv[2])
except Unavailable as error:
    print(error, error.hint)
"""


def test_host_without_user_namespaces_is_refused(workspace: Path, state: Path) -> None:
    """In a namespace of users of the test, where no other may be made."""
    closed = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    command = [sys.executable, "-c", _REFUSED, str(state), str(workspace)]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", closed, "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "cannot make a sandbox (namespaces): clone: " in done.stdout, done
    assert "sysctl user.max_user_namespaces" in done.stdout
    assert list(state.iterdir()) == []


def test_host_without_landlock_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.agent.sandbox.inside.kernel.landlock_abi", lambda: 0)
    with pytest.raises(Unavailable, match="Landlock"):
        Sandbox.open(workspace)
    findings = host_report()
    assert not any(finding.available for finding in findings)
    assert "lsm=" in findings[0].how_to_improve


def test_host_report(workspace: Path) -> None:
    findings = {finding.promise: finding for finding in host_report()}
    assert set(findings) == set(Promise)
    assert all(findings[promise].available for promise in Namespaces().promises)
    assert all(finding.available != bool(finding.how_to_improve) for finding in findings.values())


def test_toolchain_is_shown_read_only(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "t").write_text("t\n")
    with Sandbox.open(workspace, toolchain=[tmp_path / "tools"]) as box:
        assert box.run(["cat", str(tmp_path / "tools" / "t")]).output == "t\n"
        assert box.run([sys.executable, "-c", "import pytest; print(1)"]).output == "1\n"
    with pytest.raises(NotFound):
        Sandbox.open(workspace, toolchain=[tmp_path / "nowhere"])
    with pytest.raises(Invalid):
        Sandbox.open(workspace, toolchain=["/"])


def test_what_of_a_home_is_shown(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for name in ("bin", ".pyenv/shims", ".cargo/bin", ".ssh", "project/tools"):
        (home / name).mkdir(parents=True)
    path = ":".join([f"{home}", f"{home}/bin", f"{home}/.pyenv/shims", f"{home}/.cargo/bin", "/usr/bin", ""])
    paths = shown.readable("/nowhere", [], {"HOME": str(home), "PATH": path})
    assert {p.removeprefix(str(home)) for p in paths if p.startswith(str(home))} == {
        "/bin",
        "/.pyenv",
        "/.cargo/bin",
    }
    environment = shown.environment("/nowhere", paths, {"PATH": path, "AWS_SECRET": "x", "LC_ALL": "C"})
    assert "AWS_SECRET" not in environment
    assert environment["LC_ALL"] == "C"
    assert str(home) not in environment["PATH"].split(":")


def test_denials() -> None:
    text = (
        "fine\ncat: x: Permission denied\ncurl: Could not resolve host: a.b\nmount: Operation not permitted"
    )
    assert [denial.kind for denial in denials(text)] == ["path", "network", "call"]
    assert len(denials("\n".join(f"{n}: Permission denied" for n in range(100)))) == 20


def test_limits_reach_the_command(workspace: Path) -> None:
    limits = Limits(open_files=64, file_bytes=4096, cpu_s=5)
    with Sandbox.open(workspace, limits=limits) as box:
        assert box.run("ulimit -n; ulimit -t; ulimit -c").output == "64\n5\n0\n"
