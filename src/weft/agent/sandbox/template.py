"""The host's end of the template: one process for each owner, from which every keeper is forked.

A Python takes ten milliseconds to start and a fork of one that runs takes a quarter of one. The template is
an empty process executed afresh, so that nothing of the owner's memory, environment or descriptors is in it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import struct
import threading

from weft.agent.sandbox.inside.template import CONTROL

# A fork takes less than a millisecond; a template that is silent for so long has been stopped.
_FORK_S = 15.0
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "user", "uts")
_RIGHTS = ("Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp", "Cpus_allowed:", "Mems_allowed:")


class Forked:
    """A keeper as its owner holds it: the socket to its executor, and the lifeline.

    The lifeline is a socket that the keeper alone holds at the other end. Shut down from here it tells the
    keeper to end; its end of stream tells here that the keeper has ended, whatever ended it.
    """

    def __init__(self, pid: int, sock: socket.socket, lifeline: socket.socket) -> None:
        self.pid = pid
        self.sock = sock
        self.lifeline = lifeline


def fork_keeper(python: str) -> Forked:
    """A new keeper that waits for its spec; `OSError` where none can be had.

    The template starts with the first one, and again where it was killed or is no longer what the owner is.
    """
    for last in (False, True):
        # A fresh pair for each attempt: a template may have died between forking and saying so.
        sock, their_sock = socket.socketpair()
        lifeline, their_lifeline = socket.socketpair()
        with their_sock, their_lifeline:
            try:
                return Forked(_fork(python, their_sock, their_lifeline), sock, lifeline)
            except BaseException as error:
                sock.close()
                lifeline.close()
                if last or not isinstance(error, ConnectionError):
                    raise
    raise AssertionError("the second attempt returns or raises")


def _fork(python: str, sock: socket.socket, lifeline: socket.socket) -> int:
    with _lock:
        try:
            return _running(python).fork(sock, lifeline)
        except BaseException:
            # Whatever broke it off, the next answer would be taken for one to another request.
            _end()
            raise


def prepare(python: str) -> None:
    """Start the template, so that the first sandbox opens as fast as the next."""
    with _lock:
        _running(python)


class _Template:
    def __init__(self, python: str) -> None:
        source = os.path.dirname(os.path.abspath(__file__))
        code = f"import sys; sys.path.insert(0, {source!r}); from inside.template import main; main()"
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_FORK_S)
        with theirs:
            self.pid = os.posix_spawn(
                python,
                [python, "-I", "-S", "-c", code],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), CONTROL),
                    *((os.POSIX_SPAWN_OPEN, fd, "/dev/null", os.O_RDWR, 0) for fd in (0, 1, 2)),
                ],
                setsid=True,
                setsigmask=[],
            )
        self._process = os.pidfd_open(self.pid)
        # The death of the process, not of the thread that happens to be the first to open a sandbox, which is
        # what a parent-death signal would tell; and told also while a fork of the owner holds the socket.
        owner = os.pidfd_open(os.getpid())
        try:
            with contextlib.suppress(ConnectionError):
                socket.send_fds(self._control, [b"o"], [owner])
        finally:
            os.close(owner)

    def fork(self, sock: socket.socket, lifeline: socket.socket) -> int:
        """The process id of a new keeper; `ConnectionError` where the template has gone."""
        socket.send_fds(self._control, [b"f"], [sock.fileno(), lifeline.fileno()])
        reply = self._control.recv(4)
        if not reply:
            raise ConnectionResetError("the sandboxes' template process has gone")
        (pid,) = struct.unpack(">i", reply)
        if pid < 0:
            raise OSError(-pid, f"fork: {os.strerror(-pid)}")
        return int(pid)

    def let_go(self) -> None:
        """Forget the process, as a fork of its owner does."""
        self._control.close()
        os.close(self._process)

    def end(self) -> None:
        """Kill the process, which holds nothing; the keepers that it has forked go on."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.let_go()


_lock = threading.Lock()
_template: tuple[_Template, object] | None = None


def _running(python: str) -> _Template:
    """The template of this process as it is now. Rights, limits and namespaces are inherited at its start;
    an owner that has changed its own since then, such as by becoming another user, gets another one."""
    global _template
    standing = _standing(python)
    if _template is not None and _template[1] != standing:
        _end()
    if _template is None:
        _template = (_Template(python), standing)
    return _template[0]


def _standing(python: str) -> object:
    """What a keeper inherits, of the calling thread."""
    with open("/proc/thread-self/status") as lines:
        rights = [line for line in lines if line.startswith(_RIGHTS)]
    files = []
    for name in ("limits", "cgroup"):
        with open(f"/proc/thread-self/{name}") as file:
            files.append(file.read())
    namespaces = [os.readlink(f"/proc/thread-self/ns/{name}") for name in _NAMESPACES]
    return python, rights, files, namespaces, os.readlink("/proc/thread-self/root"), os.nice(0)


@atexit.register
def _end() -> None:
    global _template
    if _template is not None:
        template, _template = _template[0], None
        template.end()


def _forget() -> None:
    """In a fork of the owner: the template is the parent's, and a thread that holds the lock is not here."""
    global _template, _lock
    _lock = threading.Lock()
    if _template is not None:
        _template[0].let_go()
        _template = None


os.register_at_fork(after_in_child=_forget)
