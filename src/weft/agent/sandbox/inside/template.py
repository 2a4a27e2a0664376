"""The template: a Python that has all of the inside loaded and forks one keeper for each new sandbox.

It never reads a spec: the keeper does, from its own socket, after the fork. So no memory of one sandbox is
there to be found in another, and none of the owner's, since the template was executed afresh.
"""

from __future__ import annotations

import _socket
import gc
import os
import select
import signal
import struct

from . import keeper, kernel, seccomp

CONTROL = 3
"""The number of the template's one descriptor beside the three standard ones."""


def main() -> None:
    """Fork keepers until the owner goes, be it that it closes the socket or that its process ends."""
    _close_others()
    os.chdir("/")
    os.umask(0o022)
    os.set_inheritable(CONTROL, False)
    control = _socket.socket(fileno=CONTROL)
    # Nobody waits for a keeper here: the kernel reaps it. Its owner learns of its end from the lifeline.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    [owner] = _receive(control, 1)
    if seccomp.supported(kernel.machine()):
        seccomp.program(kernel.machine())
    gc.collect()
    gc.freeze()
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(owner, select.POLLIN)
    while owner not in [fd for fd, _ in poll.poll()]:
        sock, lifeline = _receive(control, 2)
        control.send(struct.pack(">i", _fork_keeper(control, sock, lifeline, owner)))
        os.close(sock)
        os.close(lifeline)


def _fork_keeper(control: _socket.socket, sock: int, lifeline: int, owner: int) -> int:
    """The keeper's process id, or the negative number of the error that kept it from being made."""
    try:
        pid = os.fork()
    except OSError as error:
        return -(error.errno or 1)
    if pid == 0:
        try:
            control.close()
            os.setsid()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            keeper.serve(_socket.socket(fileno=sock), lifeline, owner)
        finally:
            os._exit(1)
    return pid


def _receive(control: _socket.socket, count: int) -> list[int]:
    """The descriptors of the next message; ends the process where the owner has gone."""
    size = 4 * count
    _, ancillary, _, _ = control.recvmsg(1, _socket.CMSG_SPACE(size), _socket.MSG_CMSG_CLOEXEC)
    if not ancillary:
        os._exit(0)
    return list(struct.unpack(f"{count}i", ancillary[0][2][:size]))


def _close_others() -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > CONTROL:
            try:
                os.close(int(name))
            except OSError:
                pass
