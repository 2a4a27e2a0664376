"""The process that blanks are forked from, which does next to nothing else.

A fork pays for what its parent has mapped, and for what it writes to. So this is a program of some kilobytes
(native/main.c) where one was built, and else a Python that is kept as quiet as can be. The children are the
template's: the kernel makes them siblings of this process, so it knows of none.
"""

from __future__ import annotations

import _socket
import gc
import os
import signal
import struct

from . import blank, executor, kernel, plan, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_CAST = struct.Struct("=Q")
"""The flags of clone(2). Along come the executor's socket, a file with the plan and, where the workspace
needs one, the namespace of its mount."""
_REPLY = struct.Struct("=q")
"""The process, or minus the error's number."""
_CONTROL, _MAKER = 3, 4
"""The descriptors that the program finds: this socket's other end, and a pidfd of the template."""


class Mould:
    """The template's end."""

    def __init__(self, maker: int, program: str) -> None:
        """Start the process; `maker` is a pidfd of the caller, `program` is empty where none was built."""
        self._sock, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        if not (program and _executed(program, theirs, maker)) and os.fork() == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                kernel.close_all_but([theirs.fileno(), maker])
                _serve(theirs, maker)
            finally:
                os._exit(1)
        theirs.close()

    def cast(self, raw: bytes, *, as_other: bool, sock: int, idmap_fd: int) -> int:
        """The process of a new blank; `ConnectionError` where the mould has gone."""
        file = os.memfd_create("plan", os.MFD_CLOEXEC)
        try:
            os.write(file, raw)
            fds = [sock, file, idmap_fd] if idmap_fd else [sock, file]
            rights = struct.pack(f"{len(fds)}i", *fds)
            told = _CAST.pack(blank.flags(as_other=as_other))
            self._sock.sendmsg([told], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        finally:
            os.close(file)
        reply = self._sock.recv(_REPLY.size)
        if not reply:
            raise ConnectionResetError("the mould of sandboxes has gone")
        (pid,) = _REPLY.unpack(reply)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return int(pid)


def _executed(program: str, theirs: _socket.socket, maker: int) -> bool:
    """Whether the program could be started: it may be another machine's, or where nothing is executed."""
    files = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), _CONTROL), (os.POSIX_SPAWN_DUP2, maker, _MAKER)]
    try:
        os.posix_spawn(program, ["weft-inside", "mould"], {}, file_actions=files)
    except OSError:
        return False
    return True


def _serve(sock: _socket.socket, maker: int) -> NoReturn:
    """What the program does, in Python: fork for each request, and become the blank."""
    space, clone = _socket.CMSG_SPACE(12), kernel.call_number("clone")
    gc.collect()
    gc.freeze()
    while True:
        told, along, _, _ = sock.recvmsg(_CAST.size, space, _socket.MSG_CMSG_CLOEXEC)
        if not told:
            os._exit(0)
        fds = memoryview(along[0][2]).cast("i")
        try:
            pid = kernel.syscall("clone", clone, *_CAST.unpack(told), 0, 0, 0, 0)
        except OSError as error:
            pid = -(error.errno or 1)
        if pid == 0:
            sock.close()
            _become(maker, *fds)
        sock.send(_REPLY.pack(pid))
        for fd in fds:
            os.close(fd)


def _become(maker: int, control: int, file: int, idmap_fd: int = 0) -> NoReturn:
    """In the child: make all that can be made, wait for the order, complete the sandbox and serve it."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, control)
    registers: dict[int, int] = {plan.MAKER: maker, plan.IDMAP: idmap_fd}
    try:
        plan.run(os.pread(file, os.fstat(file).st_size, 0), registers)
        os.close(file)
        order: Any = wire.receive(sock)
        plan.run(order["plan"], registers)
        wire.send(sock, {"ready": True})
    except (wire.Closed, plan.Gone):
        os._exit(0)
    except plan.Failed as error:
        _fail(sock, error.stage, error.strerror or "")
    except BaseException as error:
        _fail(sock, "confinement", f"{type(error).__name__}: {error}")
    try:
        executor.serve(sock, order["workspace"], order["environment"], order["cpu_s"])
    except (wire.Closed, OSError):
        pass
    os._exit(0)


def _fail(sock: _socket.socket, stage: str, reason: str) -> NoReturn:
    try:
        wire.send(sock, {"failed": stage, "reason": reason})
    finally:
        os._exit(1)
