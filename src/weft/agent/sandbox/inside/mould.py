"""The process that blanks are forked from, which does next to nothing else.

What a process writes to after a fork is copied, and the copy before is left to the child alone: from a busy
template each child would keep a megabyte that nobody shares. Here it is a hundred kilobytes. The children are
the template's: the kernel makes them siblings of this process, so it knows of none.
"""

from __future__ import annotations

import _socket
import ctypes
import gc
import os
import signal
import struct

from . import blank, kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_LEARN = struct.Struct(">i")
"""The number of a recipe, which follows; where nothing does, the recipe is to be forgotten."""
_CAST = struct.Struct(">ii")
"""The number of a recipe, and whom the inside runs as, -1 for the owner. The doors of the control groups
follow, with a zero byte between; along come the executor's socket and, where the workspace needs one, the
namespace of its mount."""
_OWNER_AT = 4
"""Where the sign of the second is."""
_REPLY = struct.Struct("=q")
_MESSAGE_BYTES = 1 << 16


class Mould:
    """The template's end."""

    def __init__(self, maker: blank.Maker) -> None:
        """Fork the process, as the template is now."""
        self._sock, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._known: dict[bytes, int] = {}
        self._count = 0
        if os.fork() == 0:
            try:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                kernel.close_all_but([theirs.fileno(), maker.pidfd])
                _serve(theirs, maker)
            finally:
                os._exit(1)
        theirs.close()

    def cast(self, recipe: bytes, other: int | None, doors: list[str], sock: int, idmap_fd: int) -> int:
        """The process of a new blank; `ConnectionError` where the mould has gone."""
        if recipe not in self._known:
            self._count += 1
            self._known[recipe] = self._count
            self._sock.send(_LEARN.pack(self._count) + recipe)
        told = _CAST.pack(self._known[recipe], -1 if other is None else other) + "\0".join(doors).encode()
        fds = [sock, idmap_fd] if idmap_fd else [sock]
        rights = struct.pack(f"{len(fds)}i", *fds)
        self._sock.sendmsg([told], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        reply = self._sock.recv(_REPLY.size)
        if not reply:
            raise ConnectionResetError("the mould of sandboxes has gone")
        (pid,) = _REPLY.unpack(reply)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return int(pid)

    def forget(self, recipe: bytes) -> None:
        """It will not be asked for soon."""
        number = self._known.pop(recipe, None)
        if number is not None:
            try:
                self._sock.send(_LEARN.pack(number))
            except ConnectionError:
                pass  # it has gone, and with it all that it knew


def _serve(sock: _socket.socket, maker: blank.Maker) -> NoReturn:
    """Fork for each request. In the loop stands what touches the least: calls of C, and names of its own."""
    recipes: dict[int, blank.Recipe] = {}
    buffer = bytearray(_MESSAGE_BYTES)
    buffers = [buffer]
    space, control = _socket.CMSG_SPACE(8), sock.fileno()
    receive, send, pack, close, last_error = (
        sock.recvmsg_into,
        sock.send,
        _REPLY.pack,
        os.close,
        ctypes.get_errno,
    )
    fork, for_owner = kernel.raw_syscall, blank.fork_arguments(as_other=False)
    for_other = blank.fork_arguments(as_other=True)
    gc.collect()
    gc.freeze()
    while True:
        length, along, _, _ = receive(buffers, space, _socket.MSG_CMSG_CLOEXEC)
        if along:
            pid = fork(*(for_owner if buffer[_OWNER_AT] & 0x80 else for_other))
            if pid == 0:
                break
            send(pack(pid if pid > 0 else -last_error()))
            for fd in memoryview(along[0][2]).cast("i"):
                close(fd)
        elif length:
            _learn(recipes, bytes(buffer[:length]))
        else:
            os._exit(0)
    number, other = _CAST.unpack_from(buffer)
    doors = buffer[_CAST.size : length].decode()
    theirs, *idmap = memoryview(along[0][2]).cast("i")
    # All that there is beside what the blank needs.
    close(control)
    blank.become(
        _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM, 0, theirs),
        maker,
        recipes[number],
        doors.split("\0") if doors else [],
        None if other < 0 else other,
        idmap[0] if idmap else 0,
    )


def _learn(recipes: dict[int, blank.Recipe], told: bytes) -> None:
    (number,) = _LEARN.unpack_from(told)
    if len(told) > _LEARN.size:
        recipes[number] = blank.Recipe(told[_LEARN.size :])
    else:
        del recipes[number]
