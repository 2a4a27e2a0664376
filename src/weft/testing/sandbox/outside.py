"""What lies outside of a sandbox for the taking, on loopback and in scratch folders of the test."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

TIMEOUT_S = 20.0
TREASURE = "treasure"

_libc = ctypes.CDLL(None, use_errno=True)
_IPC_CREAT, _IPC_RMID = 0o1000, 0
# Of a name server: the question comes back with one answer, 127.0.0.9, that lives a second.
_ANSWER = b"\xc0\x0c" + struct.pack(">HHIH4B", 1, 1, 1, 4, 127, 0, 0, 9)
# Version 2, effective, CAP_NET_RAW permitted (kernel: include/uapi/linux/capability.h).
_A_CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


class Outside(msgspec.Struct):
    """What lies outside of the sandbox for the taking: files, sockets, a process, descriptors, memory."""

    folder: Path
    tools: Path
    port: int
    dns_port: int
    abstract: str
    marker: str
    process: subprocess.Popen[bytes]
    descriptor: int
    socket: int
    key: int
    queue: str
    shared: Path
    workspace: Path

    def values(self, workspace: str) -> dict[str, object]:
        """What an attempt knows, where the workspace stands at that path."""
        return {
            "WORKSPACE": workspace,
            "OUTSIDE": str(self.folder),
            "TOOLS": str(self.tools),
            "PORT": self.port,
            "DNS_PORT": self.dns_port,
            "ABSTRACT": self.abstract,
            # Backwards, or the program would find itself.
            "MARKER": self.marker.encode()[::-1],
            "PID": self.process.pid,
            "DESCRIPTOR": self.descriptor,
            "SOCKET": self.socket,
            "KEY": self.key,
            "QUEUE": self.queue,
            "SHARED": str(self.shared),
        }

    def snapshot(self, *, workspace: bool = True) -> list[tuple[str, int, bytes]]:
        """Names, modes and bytes of all that lies outside, the real workspace being part of it or not."""
        found = []
        for top in (self.folder, self.tools, *([self.workspace] if workspace else [])):
            for path in sorted(top.rglob("*")):
                data = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
                found.append((str(path), path.lstat().st_mode, data))
        return found


def fill_workspace(root: Path, outside: Path) -> None:
    """A small workspace with a link that leads out of it."""
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.txt").write_text("one\ntwo\nthree\n")
    (root / "sub" / "b.txt").write_text("b\n")
    (root / "sub" / "deep" / "c.txt").write_text("c\n")
    (root / "escape").symlink_to(outside / "secret")


@contextlib.contextmanager
def outside_world(top: Path) -> Iterator[Outside]:
    """Things to steal and to break, on loopback and below `top`, and a workspace that leads to some."""
    folder, tools, workspace = top / "outside", top / "tools", top / "work space"
    folder.mkdir()
    tools.mkdir()
    _fill(folder, tools)
    fill_workspace(workspace, folder)
    _make_repository(workspace)
    marker = new_marker()
    number = int.from_bytes(os.urandom(3), "big") + 1
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv("WEFT_CONTRACT_TOKEN", TREASURE)
        port = _listeners(stack)
        names = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        names.bind(("127.0.0.1", 0))
        _serve(stack, names, _hand_out(stack, folder, "socket"), _hand_out(stack, workspace, "handout"))
        _pipe(stack, workspace / "pipe")
        name = f"weft-{os.urandom(8).hex()}"
        for kind, address in ((socket.SOCK_STREAM, name), (socket.SOCK_DGRAM, f"{name}-datagrams")):
            one = stack.enter_context(socket.socket(socket.AF_UNIX, kind))
            one.bind("\0" + address)
            if kind == socket.SOCK_STREAM:
                one.listen()
        process = subprocess.Popen(["sleep", marker])
        stack.callback(process.wait)
        stack.callback(process.kill)
        descriptor = os.open(folder / "secret", os.O_RDONLY)
        stack.callback(os.close, descriptor)
        near, far = socket.socketpair()
        stack.enter_context(near)
        stack.enter_context(far)
        for inherited in (descriptor, far.fileno()):
            os.set_inheritable(inherited, True)
        _segment(stack, number)
        shared = Path("/dev/shm") / name
        shared.write_text(TREASURE)
        stack.callback(shared.unlink)
        yield Outside(
            folder=folder,
            tools=tools,
            port=port,
            dns_port=names.getsockname()[1],
            abstract=name,
            marker=marker,
            process=process,
            descriptor=descriptor,
            socket=far.fileno(),
            key=number,
            queue=_queue(stack, f"/{name}"),
            shared=shared,
            workspace=workspace,
        )


def _fill(folder: Path, tools: Path) -> None:
    (folder / "secret").write_text(TREASURE)
    (folder / "notes").write_text("notes")
    (tools / "tool").write_text("tool")
    # No owner and no mode protects them: the sandbox has to.
    for path, mode in ((folder, 0o777), (tools, 0o777), (folder / "notes", 0o666), (tools / "tool", 0o666)):
        path.chmod(mode)
    shutil.copy("/usr/bin/id", tools / "setuid-id")
    (tools / "setuid-id").chmod(0o4755)
    shutil.copy("/bin/cat", tools / "capable-cat")
    with contextlib.suppress(PermissionError):
        os.setxattr(tools / "capable-cat", "security.capability", _A_CAPABILITY)


def _make_repository(root: Path) -> None:
    """All that git needs."""
    (root / ".git" / "objects").mkdir(parents=True)
    (root / ".git" / "refs").mkdir()
    (root / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (root / ".git" / "config").write_text("[core]\n")


def _listeners(stack: contextlib.ExitStack) -> int:
    """A port on both loopback addresses."""
    four = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    port: int = four.getsockname()[1]
    stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6))
    return port


def _hand_out(stack: contextlib.ExitStack, folder: Path, name: str) -> tuple[socket.socket, int]:
    """A Unix socket in a folder, and the descriptor of that folder, which is given to whoever connects."""
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    # The path may be too long for an address; a descriptor's path is short.
    fd = os.open(folder, os.O_RDONLY)
    stack.callback(os.close, fd)
    server.bind(f"/proc/self/fd/{fd}/{name}")
    server.listen()
    return server, fd


def _serve(stack: contextlib.ExitStack, names: socket.socket, *given: tuple[socket.socket, int]) -> None:
    """Answer for names, and give descriptors away, in a thread that ends with the stack."""
    ending, end = socket.socketpair()
    stack.enter_context(ending)
    stack.enter_context(end)
    folders = dict(given)

    def work() -> None:
        while ending not in (ready := select.select([ending, names, *folders], [], [])[0]):
            for server in ready:
                with contextlib.suppress(OSError):
                    _answer(server, folders.get(server))

    thread = threading.Thread(target=work)
    thread.start()
    stack.callback(thread.join)
    stack.callback(end.send, b"x")


def _answer(server: socket.socket, folder: int | None) -> None:
    if folder is None:
        question, asker = server.recvfrom(512)
        server.sendto(question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:] + _ANSWER, asker)
    else:
        with contextlib.closing(server.accept()[0]) as connection:
            socket.send_fds(connection, [b"x"], [folder])


def _pipe(stack: contextlib.ExitStack, path: Path) -> None:
    """A named pipe that somebody outside reads."""
    os.mkfifo(path)
    stack.callback(os.close, os.open(path, os.O_RDONLY | os.O_NONBLOCK))


def _segment(stack: contextlib.ExitStack, key: int) -> None:
    """A page of shared memory by an older name (System V)."""
    segment = _libc.shmget(key, 4096, _IPC_CREAT | 0o600)
    assert segment >= 0, os.strerror(ctypes.get_errno())
    stack.callback(_libc.shmctl, segment, _IPC_RMID, None)


def _queue(stack: contextlib.ExitStack, name: str) -> str:
    """A queue of messages (POSIX)."""
    queue = _libc.mq_open(name.encode(), os.O_CREAT | os.O_RDWR, 0o600, None)
    assert queue >= 0, os.strerror(ctypes.get_errno())
    os.close(queue)
    stack.callback(_libc.mq_unlink, name.encode())
    return name


def new_marker() -> str:
    """Seconds to sleep that no other process has chosen."""
    return f"{3000 + int.from_bytes(os.urandom(2), 'big') % 5000}.{int.from_bytes(os.urandom(6), 'big')}"


def running(marker: str) -> list[int]:
    """Processes of the whole host whose command line holds the marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if marker.encode() in file.read():
                found.append(int(pid))
    return found
