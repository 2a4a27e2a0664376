"""The host's end of the template: one process for each owner, from which all sandboxes are forked.

A Python takes ten milliseconds to start and a fork of one that runs takes a quarter of one. The template is
an empty process executed afresh, so that nothing of the owner's memory, environment or descriptors is in it.
Sandboxes in namespaces are its children, made ahead of need; they end with it, and it ends with its owner.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from weft.agent.sandbox import native, state
from weft.agent.sandbox.inside import marks
from weft.agent.sandbox.inside.template import CONTROL, KEEPER, MADE, MESSAGE_BYTES, WANTED

# A fork takes less than a millisecond; a template that is silent for so long has been stopped.
_FORK_S = 15.0
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid_for_children", "user", "uts")
_RIGHTS = ("Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp", "Cpus_allowed:", "Mems_allowed:")


_T = TypeVar("_T")


class CannotFork(Exception):
    """The kernel gives the template no process in new namespaces."""


class NoDescriptors(OSError):
    """The owner has too many files open to hold one more blank."""


class _Outdated(OSError):
    """The template is not, or no longer, as its owner is now."""


class Wanted(NamedTuple):
    """What a blank is to be like."""

    recipe: bytes
    """What `inside/blank.py` reads: all that does not depend on the workspace."""
    states: str | None
    """The folder for folders of state; none for the system's temporary one."""
    memory_bytes: int
    """Bound of its control groups, as the next."""
    processes: int
    first: int | None
    """The lowest id that root's inside may run as."""
    owner: tuple[int, int] | None
    """Who its workspace belongs to, where that matters."""

    def as_message(self, state: str) -> bytes:
        """What the template is told; the folder of the state goes with the blank, once it is there."""
        first = -1 if self.first is None else self.first
        uid, gid = self.owner or (-1, -1)
        folder = os.fsencode(state)
        packed = WANTED.pack(first, uid, gid, self.memory_bytes, self.processes, len(folder))
        return packed + folder + self.recipe


class Blank(NamedTuple):
    """A sandbox but for its workspace, as its owner holds it."""

    pid: int
    sock: socket.socket
    pidfd: int
    """Of the first process inside: with it end all the others."""
    other: int | None
    """Whom the inside runs as, where not as its owner."""
    bounded: bool
    """Whether a control group bounds the memory of all processes together."""
    state: str
    """The folder that goes with it, not made yet."""


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
    """A new keeper that waits for its spec; `OSError` where none can be had."""

    def fork(template: _Template) -> Forked:
        # A fresh pair for each attempt: a template may have died between forking and saying so.
        sock, their_sock = socket.socketpair()
        lifeline, their_lifeline = socket.socketpair()
        with their_sock, their_lifeline:
            try:
                return Forked(template.fork_keeper(python, their_sock, their_lifeline), sock, lifeline)
            except BaseException:
                sock.close()
                lifeline.close()
                raise

    return _of_running(python, fork)


def take_blank(python: str, wanted: Wanted) -> Blank:
    """A blank, made ahead of need if one like it was asked for before.

    `CannotFork` where the kernel refuses the namespaces, `OSError` where there is no template to be had.
    """
    return _of_running(python, lambda template: template.take_blank(python, wanted))


def _of_running(python: str, work: Callable[[_Template], _T]) -> _T:
    """Ask the template, which starts with the first request, and again where it was killed or is no longer
    what the owner is."""
    with _lock:
        for last in (False, True):
            try:
                return work(_running(python))
            except (CannotFork, NoDescriptors):
                raise
            except _Outdated:
                _retire()
                if last:
                    raise
            except (ConnectionError, TimeoutError) as error:
                _end()
                if last or isinstance(error, TimeoutError):
                    raise
            except BaseException:
                # Whatever broke it off, the next answer would be taken for one to another request.
                _retire()
                raise
    raise AssertionError("the second attempt returns or raises")


class _Template:
    def __init__(self, python: str) -> None:
        self._standing = _standing(python)
        source = os.path.dirname(os.path.abspath(__file__))
        begin = f"from inside.template import main; main({native.program()!r})"
        code = f"import sys; sys.path.insert(0, {source!r}); {begin}"
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
                socket.send_fds(self._control, [marks.mark().encode()], [owner])
        finally:
            os.close(owner)

    def is_outdated(self, python: str) -> bool:
        """Whether rights, limits or namespaces, which are inherited at its start, are others by now: the
        owner may have become another user since then."""
        return _standing(python) != self._standing

    def fork_keeper(self, python: str, sock: socket.socket, lifeline: socket.socket) -> int:
        """The process id of a new keeper; `ConnectionError` where the template has gone."""
        if self.is_outdated(python):
            raise _Outdated("the sandboxes' template is not as its owner")
        socket.send_fds(self._control, [b"k"], [sock.fileno(), lifeline.fileno()])
        reply, _, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 0)
        (pid,) = KEEPER.unpack(_alive(reply))
        if pid < 0:
            raise OSError(-pid, f"fork: {os.strerror(-pid)}")
        return int(pid)

    def take_blank(self, python: str, wanted: Wanted) -> Blank:
        """A blank; `ConnectionError` where the template has gone."""
        place = state.new(wanted.states)
        self._control.send(wanted.as_message(place))
        outdated = self.is_outdated(python)  # asked while the template is at work, as it takes as long
        reply, fds, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 2)
        pid, other, bounded = MADE.unpack_from(_alive(reply))
        if outdated or (pid > 0 and len(fds) < 2):
            for fd in fds:
                os.close(fd)
            if outdated:
                raise _Outdated("the sandboxes' template is not as its owner")
            raise NoDescriptors(errno.EMFILE, os.strerror(errno.EMFILE))
        if pid < 0:
            raise CannotFork(f"clone: {os.strerror(-pid)}")
        sock, pidfd = fds
        return Blank(pid, socket.socket(fileno=sock), pidfd, None if other < 0 else other, bounded, place)

    def retire(self) -> None:
        """Ask for no more: the process ends once all its sandboxes have ended."""
        self._control.close()

    def has_ended(self) -> bool:
        """Whether it did; then it is reaped."""
        try:
            return os.waitpid(self.pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            return True

    def let_go(self) -> None:
        """Forget the process, as a fork of its owner does."""
        self._control.close()
        os.close(self._process)

    def end(self) -> None:
        """Kill the process, and its sandboxes with it; the keepers that it has forked go on."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.let_go()


_lock = threading.Lock()
_template: _Template | None = None
_retired: list[_Template] = []


def _running(python: str) -> _Template:
    """The template of this process, which may be outdated."""
    global _template
    if _template is None:
        _template = _Template(python)
    return _template


def _alive(reply: bytes) -> bytes:
    if not reply:
        raise ConnectionResetError("the sandboxes' template process has gone")
    return reply


def _standing(python: str) -> object:
    """What the template's children inherit, of the calling thread."""
    with open("/proc/thread-self/status") as lines:
        rights = [line for line in lines if line.startswith(_RIGHTS)]
    files = []
    for name in ("limits", "cgroup"):
        with open(f"/proc/thread-self/{name}") as file:
            files.append(file.read())
    namespaces = [os.readlink(f"/proc/thread-self/ns/{name}") for name in _NAMESPACES]
    return (
        python,
        native.program(),
        rights,
        files,
        namespaces,
        os.readlink("/proc/thread-self/root"),
        os.nice(0),
    )


@atexit.register
def _retire() -> None:
    """Let the template end as its sandboxes do: at the latest with this process."""
    global _template
    if _template is not None:
        template, _template = _template, None
        template.retire()
        _retired.append(template)
    for each in [each for each in _retired if each.has_ended()]:
        _retired.remove(each)
        each.let_go()


def _end() -> None:
    """Kill a template that does not answer, and its sandboxes with it."""
    global _template
    if _template is not None:
        template, _template = _template, None
        template.end()


def _forget() -> None:
    """In a fork of the owner: the template is the parent's, and a thread that holds the lock is not here."""
    global _template, _lock
    _lock = threading.Lock()
    for each in (*_retired, *([_template] if _template else ())):
        each.let_go()
    _retired.clear()
    _template = None


os.register_at_fork(after_in_child=_forget)
