"""The contract of `weft.agent.sandbox`: what every provider keeps, tried by hostile programs.

Subclass `SandboxContract` and give it a `provider` fixture. Each attempt is a small Python program that
prints REACHED where it got through. Where trying outside is harmless, a control runs the very same program
unconfined and expects REACHED: an attempt that cannot succeed anywhere proves nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from weft.agent.sandbox import Limits, Promise, Result, Sandbox, SandboxFailed, SandboxProvider
from weft.core.errors import Conflict, Denied, Invalid, LimitExceeded, NotFound

_TIMEOUT_S = 20.0
_TIGHT = Limits(
    memory_bytes=192 << 20,
    processes=40,
    file_bytes=1 << 20,
    cpu_s=1,
    tmp_bytes=4 << 20,
    output_bytes=64 << 10,
)


class Attempt(msgspec.Struct, frozen=True):
    """One hostile program, the promise that it tries to break, and whether it is harmless to try outside."""

    name: str
    promise: Promise
    code: str
    control: bool = True


_SYSCALL = """
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    def call(number, *arguments):
        result = libc.syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return result
    x86 = os.uname().machine == "x86_64"
"""


def _kernel_call(name: str, x86: int, arm: int, arguments: str) -> Attempt:
    """A call that must be refused as forbidden, not merely fail for its arguments."""
    code = f"""
        {textwrap.dedent(_SYSCALL).strip().replace(chr(10), chr(10) + " " * 8)}
        try:
            call({x86} if x86 else {arm}, {arguments})
        except OSError as error:
            if error.errno == errno.EPERM:
                raise
            """
    return Attempt(f"call_{name}", Promise.PRIVILEGE, code, control=False)


_P = Promise
ATTEMPTS = [
    Attempt("create_outside", _P.FILES, "open(OUTSIDE + '/new', 'w').close()"),
    Attempt("append_outside", _P.FILES, "open(OUTSIDE + '/notes', 'a').write('x')"),
    Attempt("delete_outside", _P.FILES, "os.unlink(OUTSIDE + '/notes')"),
    Attempt("chmod_outside", _P.FILES, "os.chmod(OUTSIDE + '/notes', 0o777)"),
    Attempt("append_passwd", _P.FILES, "open('/etc/passwd', 'a').close()", control=False),
    Attempt("write_toolchain", _P.FILES, "open(TOOLS + '/tool', 'a').write('x')"),
    Attempt("create_in_toolchain", _P.FILES, "open(TOOLS + '/new', 'w').close()"),
    Attempt(
        "write_through_new_link", _P.FILES, "os.symlink(OUTSIDE + '/notes', 'l'); open('l', 'a').write('x')"
    ),
    Attempt("write_through_old_link", _P.FILES, "open('escape', 'a').write('x')"),
    Attempt("hard_link", _P.FILES, "os.link(OUTSIDE + '/notes', 'hard')"),
    Attempt("hard_link_toolchain", _P.FILES, "os.link(TOOLS + '/tool', 'hard')"),
    Attempt("move_out", _P.FILES, "open('f', 'w').close(); os.rename('f', OUTSIDE + '/f')"),
    Attempt("climb", _P.FILES, "open('../' * 40 + OUTSIDE + '/climbed', 'w').close()"),
    Attempt("write_proc_sys", _P.FILES, "open('/proc/sys/kernel/domainname', 'w').close()", control=False),
    Attempt("write_sysrq", _P.FILES, "open('/proc/sysrq-trigger', 'w').close()", control=False),
    Attempt("write_sys", _P.FILES, "open('/sys/kernel/uevent_helper', 'w').close()", control=False),
    Attempt(
        "block_device", _P.FILES, "os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(254, 0))", control=False
    ),
    Attempt(
        "memory_device", _P.FILES, "os.mknod('mem', stat.S_IFCHR | 0o600, os.makedev(1, 1))", control=False
    ),
    Attempt(
        "host_disks", _P.FILES, "assert glob.glob('/dev/[svx]d*') + glob.glob('/dev/mem')", control=False
    ),
    Attempt("read_outside", _P.SECRETS, "assert 'treasure' in open(OUTSIDE + '/secret').read()"),
    Attempt("read_through_old_link", _P.SECRETS, "open('escape').read()"),
    Attempt("read_shadow", _P.SECRETS, "open('/etc/shadow').read()", control=False),
    Attempt(
        "read_homes",
        _P.SECRETS,
        "assert list(filter(os.path.isfile, glob.glob('/root/.*') + glob.glob('/home/*/.*')))",
        control=False,
    ),
    Attempt("host_unix_socket", _P.SECRETS, "socket.socket(socket.AF_UNIX).connect(OUTSIDE + '/socket')"),
    Attempt("tcp", _P.NETWORK, "socket.create_connection(('127.0.0.1', PORT), 2)"),
    Attempt("tcp_ipv6", _P.NETWORK, "socket.create_connection(('::1', PORT), 2)"),
    Attempt(
        "udp",
        _P.NETWORK,
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
    ),
    Attempt("listen", _P.NETWORK, "socket.create_server(('127.0.0.1', 0))"),
    Attempt("netlink", _P.NETWORK, "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    Attempt("raw_socket", _P.NETWORK, "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)", control=False),
    Attempt("packet_socket", _P.NETWORK, "socket.socket(socket.AF_PACKET, socket.SOCK_RAW)", control=False),
    Attempt("vsock", _P.NETWORK, "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)", control=False),
    Attempt("dns", _P.NETWORK, "socket.getaddrinfo('name.invalid.example.com', 80)", control=False),
    Attempt("abstract_socket", _P.NETWORK, "socket.socket(socket.AF_UNIX).connect(chr(0) + ABSTRACT)"),
    Attempt("signal_outside", _P.PROCESSES, "os.kill(PID, 0)"),
    Attempt(
        "see_outside",
        _P.PROCESSES,
        "assert any(MARKER[::-1] in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline'))",
    ),
    Attempt("parent_visible", _P.PROCESSES, "assert os.getpid() > 1000 or os.getppid() > 1000"),
    Attempt("descriptors_of_init", _P.PROCESSES, "os.listdir('/proc/1/fd')", control=False),
    Attempt("memory_of_init", _P.PROCESSES, "open('/proc/1/mem', 'r+b').close()", control=False),
    Attempt("ptrace", _P.PRIVILEGE, _SYSCALL + "    call(101 if x86 else 117, 0, 0, 0, 0)"),
    Attempt("new_user_namespace", _P.PRIVILEGE, _SYSCALL + "    call(272 if x86 else 97, 0x10000000)"),
    Attempt(
        "clone_into_user_namespace",
        _P.PRIVILEGE,
        _SYSCALL + "    call(56 if x86 else 220, 0x10000000 | 17, 0, 0, 0, 0) or os._exit(0)",
    ),
    Attempt("keyring", _P.PRIVILEGE, _SYSCALL + "    call(250 if x86 else 219, 0, -3, 1)"),
    Attempt(
        "capabilities",
        _P.PRIVILEGE,
        "assert any(int(l.split()[1], 16) for l in open('/proc/self/status') if l.startswith('Cap'))",
        control=False,
    ),
    Attempt("become_root", _P.PRIVILEGE, "os.setuid(0)", control=False),
    Attempt(
        "setuid_file",
        _P.PRIVILEGE,
        "assert os.popen(TOOLS + '/setuid-id -u').read() == '0\\n'",
        control=False,
    ),
    Attempt(
        "gain_by_exec",
        _P.PRIVILEGE,
        "assert 'NoNewPrivs:\\t0' in open('/proc/self/status').read()",
    ),
    Attempt(
        "type_into_terminal",
        _P.PRIVILEGE,
        """
    import fcntl, termios
    _, end = os.openpty()
    fcntl.ioctl(end, termios.TIOCSCTTY, 0)
    try:
        fcntl.ioctl(end, termios.TIOCSTI, b"x")
    except OSError as error:
        if error.errno == errno.EPERM:
            raise
        """,
    ),
    Attempt("chroot", _P.PRIVILEGE, "os.chroot('.')", control=False),
    _kernel_call("mount", 165, 40, "b'none', b'/tmp', b'tmpfs', 0, None"),
    _kernel_call("umount", 166, 39, "b'/proc', 2"),
    _kernel_call("setns", 308, 268, "-1, 0"),
    _kernel_call("bpf", 321, 280, "0, None, 0"),
    _kernel_call("userfaultfd", 323, 282, "0xFFFF"),
    _kernel_call("io_uring_setup", 425, 425, "0, None"),
    _kernel_call("perf_event_open", 298, 241, "None, 0, -1, -1, 0"),
    _kernel_call("kexec_load", 246, 104, "0, 0, None, 0"),
    _kernel_call("init_module", 175, 105, "None, 0, None"),
    _kernel_call("open_by_handle_at", 304, 265, "-1, None, 0"),
    _kernel_call("process_vm_writev", 311, 271, "0, None, 0, None, 0, 0"),
    _kernel_call("open_tree", 428, 428, "-1, b'/', 0xFFFF"),
    _kernel_call("pidfd_getfd", 438, 438, "-1, 0, 0"),
    Attempt("environment", _P.ENVIRONMENT, "assert os.environ['WEFT_CONTRACT_TOKEN'] == 'treasure'"),
    Attempt(
        "environment_of_others",
        _P.ENVIRONMENT,
        "assert any(b'treasure' in open(p, 'rb').read() "
        "for p in glob.glob('/proc/*/environ') if os.access(p, 4))",
    ),
    Attempt("inherited_descriptor", _P.ENVIRONMENT, "assert b'treasure' in os.pread(DESCRIPTOR, 100, 0)"),
]

_PROGRAM = """
import errno, glob, os, socket, stat, sys
globals().update({values!r})
print("TRYING", flush=True)
try:
{body}
except Exception as error:
    print("REFUSED", repr(error))
else:
    print("REACHED")
"""


class Outside(msgspec.Struct):
    """What lies outside of the sandbox for the taking: files, sockets, a process, a descriptor."""

    folder: Path
    tools: Path
    port: int
    abstract: str
    marker: str
    process: subprocess.Popen[bytes]
    descriptor: int

    def program(self, attempt: Attempt) -> list[str]:
        """The command that makes the attempt."""
        values = {
            "OUTSIDE": str(self.folder),
            "TOOLS": str(self.tools),
            "PORT": self.port,
            "ABSTRACT": self.abstract,
            # Backwards, or the program would find itself.
            "MARKER": self.marker.encode()[::-1],
            "PID": self.process.pid,
            "DESCRIPTOR": self.descriptor,
        }
        body = textwrap.indent(textwrap.dedent("    " + attempt.code.strip("\n ")), "    ")
        if "\n" in attempt.code:
            body = textwrap.indent(textwrap.dedent(attempt.code), "    ")
        return [sys.executable, "-I", "-c", _PROGRAM.format(values=values, body=body)]


class SandboxContract:
    """Every promise of a provider. The subclass gives the fixture `provider`."""

    @pytest.fixture
    def provider(self) -> SandboxProvider:
        """The provider under test."""
        raise NotImplementedError("the subclass gives the provider")

    @pytest.fixture
    def workspace(self, tmp_path: Path) -> Path:
        """A small workspace with a link that leads out of it."""
        root = tmp_path / "work space"
        (root / "sub" / "deep").mkdir(parents=True)
        (root / "a.txt").write_text("one\ntwo\nthree\n")
        (root / "sub" / "b.txt").write_text("b\n")
        (root / "sub" / "deep" / "c.txt").write_text("c\n")
        (root / "escape").symlink_to(tmp_path / "outside" / "secret")
        return root

    @pytest.fixture
    def box(self, provider: SandboxProvider, workspace: Path) -> Iterator[Sandbox]:
        """A sandbox around the workspace."""
        with provider.open(workspace) as box:
            yield box

    @pytest.fixture
    def tight(self, provider: SandboxProvider, workspace: Path) -> Iterator[Sandbox]:
        """A sandbox that allows very little."""
        with provider.open(workspace, limits=_TIGHT) as box:
            yield box

    @pytest.fixture
    def outside(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
        """The treasure."""
        with outside_world(tmp_path, monkeypatch) as world:
            yield world

    # Attempts to get out.

    @pytest.mark.parametrize("attempt", ATTEMPTS, ids=lambda attempt: attempt.name)
    def test_attempt_is_refused(
        self, provider: SandboxProvider, workspace: Path, outside: Outside, attempt: Attempt
    ) -> None:
        """Where the promise is not made, the attempt gets through, or the provider promises too little."""
        promised = attempt.promise in provider.promises
        if not promised and not attempt.control:
            pytest.skip(f"{provider.name} would let it through, and it is not harmless")
        before = _snapshot(outside)
        with provider.open(workspace, toolchain=[outside.tools]) as box:
            result = box.run(outside.program(attempt), timeout_s=_TIMEOUT_S)
            assert "TRYING" in result.output, result
            assert ("REACHED" in result.output) is not promised, result
            assert box.run("echo still alive").output == "still alive\n"
        if promised:
            assert _snapshot(outside) == before

    def test_files_are_reached_only_inside(
        self, provider: SandboxProvider, workspace: Path, outside: Outside
    ) -> None:
        if Promise.SECRETS not in provider.promises:
            pytest.skip(f"{provider.name} does not hide anything")
        before = _snapshot(outside)
        with provider.open(workspace) as box:
            for path in ("escape", str(outside.folder / "secret"), "../outside/secret"):
                with pytest.raises(NotFound):
                    box.read(path)
            box.run(["ln", "-s", str(outside.folder), "way"])
            with pytest.raises((NotFound, Denied)):
                box.read("way/secret")
            with contextlib.suppress(Denied, NotFound):
                box.write("way/new", b"x")
            with pytest.raises((NotFound, Denied)):
                box.delete("way/notes")
        assert _snapshot(outside) == before

    def test_init_cannot_be_killed(self, provider: SandboxProvider, box: Sandbox) -> None:
        if Promise.PROCESSES not in provider.promises:
            pytest.skip(f"{provider.name} has no processes of its own")
        box.run("kill -9 1; kill -TERM 1; kill -9 -1; true")
        assert box.run("echo alive").output == "alive\n"

    # Attempts to use too much.

    def test_fork_bomb_is_bounded(self, provider: SandboxProvider, tight: Sandbox) -> None:
        if Promise.LIMITS not in provider.promises:
            pytest.skip(f"{provider.name} does not bound processes")
        code = """
import os, time
made = 0
try:
    for _ in range(200):
        if os.fork() == 0:
            time.sleep(30); os._exit(0)
        made += 1
except OSError:
    print("bounded")
print(made)
"""
        result = tight.run([sys.executable, "-I", "-c", code], timeout_s=_TIMEOUT_S)
        assert "bounded" in result.output, result
        assert int(result.output.split()[-1]) < _TIGHT.processes
        assert tight.run("echo alive").output == "alive\n"

    def test_memory_bomb_is_bounded(self, provider: SandboxProvider, tight: Sandbox) -> None:
        if Promise.LIMITS not in provider.promises:
            pytest.skip(f"{provider.name} does not bound memory")
        code = f"x = bytearray({2 * _TIGHT.memory_bytes}); print('REACHED')"
        result = tight.run([sys.executable, "-I", "-c", code], timeout_s=_TIMEOUT_S)
        assert result.exit_code != 0
        assert "REACHED" not in result.output
        assert tight.run("echo alive").output == "alive\n"

    def test_memory_of_all_is_bounded(self, tight: Sandbox) -> None:
        if Promise.TOTAL_MEMORY not in tight.promises:
            pytest.skip("no control groups for this user on this host")
        share = _TIGHT.memory_bytes // 2
        code = f"""
import mmap, os
m = mmap.mmap(-1, {share})
m.write(b"x" * {share})
print("held", flush=True)
os.read(0, 1)
import time; time.sleep(5)
"""
        one = f"{sys.executable} -I -c '{code}'"
        result = tight.run(f"{one} & {one} & {one} & wait; echo end", timeout_s=_TIMEOUT_S)
        assert result.output.count("held") < 3, result

    def test_file_size_is_bounded(self, tight: Sandbox) -> None:
        result = tight.run(f"head -c {2 * _TIGHT.file_bytes} /dev/zero > big; wc -c < big")
        assert int(result.output.split()[-1]) <= _TIGHT.file_bytes

    def test_tmp_is_bounded(self, provider: SandboxProvider, tight: Sandbox) -> None:
        if Promise.LIMITS not in provider.promises:
            pytest.skip(f"{provider.name} has no /tmp of its own")
        result = tight.run(
            "for i in 1 2 3 4 5 6 7 8; do head -c 1000000 /dev/zero > /tmp/$i || echo full; done; echo end"
        )
        assert "full" in result.output
        assert "end" in result.output

    @pytest.mark.slow
    def test_cpu_time_is_bounded(self, tight: Sandbox) -> None:
        result = tight.run([sys.executable, "-I", "-c", "while True: pass"], timeout_s=_TIMEOUT_S)
        assert result.exit_code < 0
        assert not result.timed_out

    def test_output_is_bounded_and_keeps_both_ends(self, tight: Sandbox) -> None:
        result = tight.run("echo begin; yes | head -c 3000000; echo end")
        assert result.truncated
        assert len(result.output) < _TIGHT.output_bytes + 100
        assert result.output.startswith("begin\n")
        assert result.output.endswith("end\n")
        assert result.omitted_bytes == 3_000_010 - _TIGHT.output_bytes

    def test_output_at_the_limit_is_whole(self, box: Sandbox) -> None:
        result = box.run(["printf", "0123456789"], output_bytes=10)
        assert (result.output, result.truncated) == ("0123456789", False)
        assert box.run(["printf", "0123456789"], output_bytes=9).omitted_bytes == 1

    # Time and ends.

    def test_timeout_kills_every_descendant(self, box: Sandbox) -> None:
        marker = _marker()
        began = time.monotonic()
        result = box.run(
            f"setsid sh -c 'sleep {marker}; :' & (sleep {marker} &) ; nohup sleep {marker}", timeout_s=0.3
        )
        assert result.timed_out
        assert result.exit_code == -9
        assert time.monotonic() - began < 5
        assert not _running(marker)

    def test_nothing_outlives_its_command(self, box: Sandbox) -> None:
        marker = _marker()
        result = box.run(f"setsid nohup sleep {marker} >/dev/null 2>&1 & (sleep {marker} &) ; echo done")
        assert result.output == "done\n"
        assert not result.timed_out
        assert not _running(marker)

    def test_control_a_daemon_outlives_a_plain_process(self) -> None:
        marker = _marker()
        subprocess.run(["sh", "-c", f"setsid sleep {marker} >/dev/null 2>&1 &"], check=True)
        deadline = time.monotonic() + 5
        while not (found := _running(marker)):
            assert time.monotonic() < deadline
        for pid in found:
            os.kill(pid, 9)

    def test_closing_ends_everything(self, provider: SandboxProvider, workspace: Path) -> None:
        box = provider.open(workspace)
        box.close()
        box.close()
        with pytest.raises(SandboxFailed):
            box.run("true")

    # Commands.

    def test_command_results(self, box: Sandbox) -> None:
        assert box.run(["true"]).exit_code == 0
        assert box.run("exit 7").exit_code == 7
        assert box.run("kill -TERM $$").exit_code == -15
        assert box.run(["no-such-command"]).exit_code == 127
        assert box.run(["./a.txt"]).exit_code == 126
        assert box.run("echo out; echo err >&2").output == "out\nerr\n"
        assert box.run(["cat"]).output == ""
        assert box.run(["printf", "%s|", "a b", "$HOME", "*"]).output == "a b|$HOME|*|"
        assert box.run(["printf", "\\377"]).output == "\ufffd"

    def test_command_surroundings(self, box: Sandbox) -> None:
        assert box.run("pwd").output == box.workspace + "\n"
        assert box.run("pwd", folder="sub/deep").output == box.workspace + "/sub/deep\n"
        assert box.run("echo $A", environment={"A": "é"}).output == "é\n"
        assert box.run("echo $A").output == "\n"
        assert box.run([sys.executable, "-c", "print(6 * 7)"]).output == "42\n"
        assert box.run("touch ~/x && echo y > /tmp/x && cat /tmp/x").output == "y\n"

    def test_output_streams(self, box: Sandbox) -> None:
        seen: list[bytes] = []
        box.run("echo one; sleep 0.05; echo two", on_output=seen.append)
        assert seen == [b"one\n", b"two\n"]

    def test_wrong_requests(self, box: Sandbox) -> None:
        with pytest.raises(Invalid):
            box.run([])
        with pytest.raises(Invalid):
            box.run("true", timeout_s=0)
        with pytest.raises(Invalid):
            box.run(["a\0b"])
        with pytest.raises(NotFound):
            box.run("true", folder="nowhere")
        assert box.run("echo alive").output == "alive\n"

    def test_wrong_workspace(self, provider: SandboxProvider, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            provider.open(tmp_path / "nowhere")
        with pytest.raises(Invalid):
            provider.open("/")

    def test_denials_are_named(self, provider: SandboxProvider, box: Sandbox) -> None:
        if Promise.FILES not in provider.promises:
            pytest.skip(f"{provider.name} denies nothing")
        (denial,) = box.run("echo x > /etc/passwd").denied
        assert (denial.kind, "/etc/passwd" in denial.what) == ("path", True)
        assert box.run("true").denied == ()

    # Files.

    def test_files(self, box: Sandbox) -> None:
        box.write("new/folder/f", b"\x00\xff")
        assert box.read("new/folder/f") == b"\x00\xff"
        assert (box.stat("new/folder/f").kind, box.stat("new/folder/f").size_bytes) == ("file", 2)
        assert (box.stat("escape").kind, box.stat("sub").kind) == ("link", "folder")
        assert [entry.name for entry in box.entries()] == ["a.txt", "escape", "new", "sub"]
        box.move("sub", "moved/here")
        assert box.read("moved/here/deep/c.txt") == b"c\n"
        box.delete("moved/here/b.txt")
        box.delete("escape")
        assert [entry.name for entry in box.entries("moved/here")] == ["deep"]

    def test_file_errors_are_not_sandbox_errors(self, box: Sandbox) -> None:
        for call in (box.read, box.delete, box.stat, box.entries):
            with pytest.raises(NotFound):
                call("nowhere")
        with pytest.raises(Invalid):
            box.read("sub")
        with pytest.raises(Invalid):
            box.delete("sub")
        with pytest.raises(Invalid):
            box.write("sub", b"")
        with pytest.raises(LimitExceeded):
            box.write("big", bytes((32 << 20) + 1))
        box.run("mkfifo pipe")
        with pytest.raises(Invalid):
            box.read("pipe")

    def test_mode_survives_a_write(self, box: Sandbox) -> None:
        box.run("echo '#!/bin/sh' > tool; chmod 755 tool")
        box.write("tool", b"#!/bin/sh\necho hello\n")
        assert box.run(["./tool"]).output == "hello\n"

    # Changes.

    def test_workspace_is_untouched_until_commit(self, box: Sandbox, workspace: Path) -> None:
        before = _tree(workspace)
        assert box.changes() == []
        box.run("echo 2 >> a.txt; rm -r sub; echo n > n; ln -s a.txt l; mkdir -p e/m/pty")
        assert _tree(workspace) == before
        kinds = {change.path: change.kind for change in box.changes()}
        assert kinds == {
            "a.txt": "modified",
            "l": "added",
            "n": "added",
            "sub/b.txt": "deleted",
            "sub/deep/c.txt": "deleted",
        }

    def test_commit(self, box: Sandbox, workspace: Path) -> None:
        box.run(
            "echo 2 >> a.txt; rm -r sub; mkdir sub; echo s > sub/s; ln -s a.txt l; echo x > x; chmod 755 x"
        )
        expected = {change.path for change in box.changes()}
        assert {change.path for change in box.commit()} == expected
        tree = _tree(workspace)
        assert tree["a.txt"] == "one\ntwo\nthree\n2\n"
        assert tree["sub/s"] == "s\n"
        assert tree["l"] == "-> a.txt"
        assert "sub/deep/c.txt" not in tree
        assert os.access(workspace / "x", os.X_OK)
        assert not os.access(workspace / "a.txt", os.X_OK)
        assert box.changes() == []
        box.run("echo 3 >> a.txt")
        assert [change.path for change in box.commit()] == ["a.txt"]
        assert _tree(workspace)["a.txt"].endswith("2\n3\n")

    def test_files_become_folders_and_links(self, box: Sandbox, workspace: Path) -> None:
        box.run(
            "rm -r a.txt sub escape; mkdir -p a.txt/in; echo i > a.txt/in/i; echo s > sub; echo e > escape"
        )
        box.commit()
        tree = _tree(workspace)
        assert tree == {"a.txt/in/i": "i\n", "sub": "s\n", "escape": "e\n"}
        assert box.changes() == []

    @pytest.mark.parametrize("edit", ["echo mine > a.txt", "rm a.txt"])
    def test_conflict(self, box: Sandbox, workspace: Path, edit: str) -> None:
        box.run(f"{edit}; echo other > other")
        (workspace / "a.txt").write_text("theirs\n")
        with pytest.raises(Conflict, match=r"`a\.txt`"):
            box.commit()
        assert (workspace / "a.txt").read_text() == "theirs\n"
        assert not (workspace / "other").exists()

    def test_conflict_of_two_new_files(self, box: Sandbox, workspace: Path) -> None:
        box.run("echo mine > new")
        (workspace / "new").write_text("theirs\n")
        with pytest.raises(Conflict, match="`new`"):
            box.commit()

    def test_commit_does_not_follow_links_outside(
        self, box: Sandbox, workspace: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "elsewhere").mkdir()
        box.run("echo x > sub/new")
        (workspace / "sub").rename(workspace / "gone")
        (workspace / "sub").symlink_to(tmp_path / "elsewhere")
        with contextlib.suppress(Conflict, OSError):
            box.commit()
        assert list((tmp_path / "elsewhere").iterdir()) == []

    def test_commit_leaves_git_alone(self, box: Sandbox, workspace: Path) -> None:
        box.run(
            "mkdir -p .git/hooks sub/.git; echo evil > .git/hooks/pre-commit; echo evil > sub/.git/config"
        )
        box.write("ok", b"ok")
        assert [change.path for change in box.commit()] == ["ok"]
        assert not (workspace / ".git").exists()
        assert not (workspace / "sub" / ".git").exists()

    def test_discard(self, box: Sandbox, workspace: Path) -> None:
        before = _tree(workspace)
        box.run("rm -rf a.txt sub; echo x > x; echo t > /tmp/trace")
        box.discard()
        assert box.changes() == []
        assert box.run("cat a.txt sub/b.txt").output == "one\ntwo\nthree\nb\n"
        assert _tree(workspace) == before

    def test_diff(self, box: Sandbox) -> None:
        box.run("sed -i s/two/2/ a.txt; printf n > n; rm sub/b.txt")
        assert box.diff() == textwrap.dedent(
            """\
            diff --git a/a.txt b/a.txt
            --- a/a.txt
            +++ b/a.txt
            @@ -1,3 +1,3 @@
             one
            -two
            +2
             three
            diff --git a/n b/n
            new file mode 100644
            --- /dev/null
            +++ b/n
            @@ -0,0 +1 @@
            +n
            \\ No newline at end of file
            diff --git a/sub/b.txt b/sub/b.txt
            deleted file mode 100644
            --- a/sub/b.txt
            +++ /dev/null
            @@ -1 +0,0 @@
            -b
            """
        )

    def test_odd_names(self, box: Sandbox, workspace: Path) -> None:
        names = ["white space ", "new\nline", "quote\"'", "ünï", os.fsdecode(b"\xff\xfe"), "-rf", "a~weft"]
        for name in names:
            box.write(name, b"x")
            assert box.read(name) == b"x"
        assert {change.path for change in box.commit()} == set(names)
        assert all((workspace / name).read_bytes() == b"x" for name in names)


@contextlib.contextmanager
def outside_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """Things to steal and to break, on loopback and below `tmp_path`."""
    folder, tools = tmp_path / "outside", tmp_path / "tools"
    folder.mkdir()
    tools.mkdir()
    (folder / "secret").write_text("treasure")
    (folder / "notes").write_text("notes")
    (tools / "tool").write_text("tool")
    shutil.copy("/usr/bin/id", tools / "setuid-id")
    (tools / "setuid-id").chmod(0o4755)
    monkeypatch.setenv("WEFT_CONTRACT_TOKEN", "treasure")
    marker = _marker()
    with contextlib.ExitStack() as stack:
        four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = four.getsockname()[1]
        stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
        named = stack.enter_context(socket.socket(socket.AF_UNIX))
        # The path may be too long for an address; a descriptor's path is short.
        fd = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, fd)
        named.bind(f"/proc/self/fd/{fd}/socket")
        named.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract_name = f"weft-{_marker()}"
        abstract.bind("\0" + abstract_name)
        abstract.listen()
        process = subprocess.Popen(["sleep", marker])
        stack.callback(process.wait)
        stack.callback(process.kill)
        descriptor = os.open(folder / "secret", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        os.set_inheritable(descriptor, True)
        yield Outside(
            folder=folder,
            tools=tools,
            port=port,
            abstract=abstract_name,
            marker=marker,
            process=process,
            descriptor=descriptor,
        )


def run_control(outside: Outside, attempt: Attempt, workspace: Path) -> Result:
    """Make the attempt with nothing in its way."""
    done = subprocess.run(
        outside.program(attempt),
        cwd=workspace,
        close_fds=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        timeout=_TIMEOUT_S,
        text=True,
        check=False,
    )
    return Result(exit_code=done.returncode, output=done.stdout, timed_out=False, duration_s=0.0)


def _snapshot(outside: Outside) -> list[tuple[str, int, bytes]]:
    """Names, modes and bytes of all that lies outside."""
    found = []
    for top in (outside.folder, outside.tools):
        for path in sorted(top.rglob("*")):
            data = path.read_bytes() if path.is_file() else b""
            found.append((str(path), path.lstat().st_mode, data))
    return found


def _tree(root: Path) -> dict[str, str]:
    """Every file's text and every link's target below the root."""
    found = {}
    for path in root.rglob("*"):
        if path.is_symlink():
            found[str(path.relative_to(root))] = f"-> {path.readlink()}"
        elif path.is_file():
            found[str(path.relative_to(root))] = path.read_text()
    return found


def _marker() -> str:
    """Seconds to sleep that no other process has chosen."""
    return f"{3000 + int.from_bytes(os.urandom(2), 'big') % 5000}.{int.from_bytes(os.urandom(6), 'big')}"


def _running(marker: str) -> list[int]:
    """Processes of the whole host whose command line holds the marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if marker.encode() in file.read():
                found.append(int(pid))
    return found
