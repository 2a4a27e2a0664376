"""The template: a Python that has all of the inside loaded, from which sandboxes are forked.

It holds what it forks, and outlives its owner for as long as it takes to end it: executors in namespaces die
with the template, and the template dies with its owner. It never reads what a sandbox is about: that comes on
the sandbox's own socket, after the fork. So no memory of one is there to be found in another, and none of
the owner's, since the template was executed afresh.
"""

from __future__ import annotations

import _socket
import os
import resource
import select
import signal
import struct

from . import blank, cgroups, keeper, kernel, marks
from .mould import Mould
from .users import Users

CONTROL = 3
"""The number of the template's one descriptor beside the three standard ones."""
WANTED = struct.Struct(">iiiqqH")
"""Of a sandbox: the first id of those it may run as; the owner and the group of its workspace (-1 where it
matters not); the bounds of all its processes together, in bytes of memory and in number; and the length of
its state folder's path, which follows. The rest is the recipe."""
_KEY_BYTES = WANTED.size - 2
MADE = struct.Struct(">ii?")
"""Of a sandbox: its process, whom it runs as (-1 for the owner), and whether the memory of all processes is
bounded. Or minus the error's number."""
KEEPER = struct.Struct(">i")
"""A keeper's process, or minus the error's number."""
MESSAGE_BYTES = 1 << 16

# A blank or two are ready before an owner has used the one before; of each recipe that was asked for lately.
_AHEAD = 2
_RECIPES = 3
# What was just handed out comes first: it is completed meanwhile.
_REST_MS = 3
# How often a template that is asked no more looks whether its owner has removed what it had.
_LINGER_MS = 100


class _Box:
    """What was forked, from its fork until nothing of it is left."""

    def __init__(
        self,
        pid: int,
        sock: _socket.socket,
        groups: dict[str, str],
        bounds: tuple[int, int],
        other: int | None,
    ) -> None:
        self.pid = pid
        self.sock = sock
        self.groups = groups
        self.bounds = bounds
        self.other = other
        self.state = ""

    def clean_up(self) -> None:
        if self.state:
            keeper.remove_tree(self.state)


def main(program: str) -> None:
    """Fork what is asked for until the owner goes, or asks for no more and all that was forked has ended.

    `program` is the path of the inside as it was compiled, empty where it was not.
    """
    kernel.close_all_but([CONTROL])
    os.chdir("/")
    os.umask(0o022)
    os.set_inheritable(CONTROL, False)
    with open("/proc/self/comm", "w") as name:
        name.write("weft-sandboxes")
    control = _socket.socket(fileno=CONTROL)
    mark, fds = _receive(control)
    # One descriptor for each user's namespace, and one for each blank: their own limits are set in time.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    template = _Template(control, fds[0], mark.decode(), program)
    template.serve()
    template.end()


class _Template:
    def __init__(self, control: _socket.socket, owner: int, mark: str, program: str) -> None:
        self._control: _socket.socket | None = control
        self._owner = owner
        cgroups.remove_of(mark)
        # Its owner may have had another template before, whose sandboxes it has not closed yet.
        self._groups = cgroups.Stock(marks.name(mark, str(os.getpid())))
        self._program = program
        self._maker = os.pidfd_open(os.getpid())
        self._mould = Mould(self._maker, program)
        self._users = Users()
        self._boxes: dict[int, _Box] = {}
        self._ended: list[_Box] = []
        # By recipe, the least lately asked for first.
        self._blanks: dict[bytes, list[_Box]] = {}
        self._recipes: dict[bytes, blank.Recipe] = {}
        self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._wake, wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        self._poll = select.poll()
        for fd in (control.fileno(), owner, self._wake):
            self._poll.register(fd, select.POLLIN)
        self._poll.register(self._mounts, select.POLLPRI)

    def serve(self) -> None:
        """Answer requests; in between, see to the blanks."""
        while self._control or self._boxes or self._uncleaned():
            wait_ms = _REST_MS if self._lacking() else None if self._control else _LINGER_MS
            ready = {fd for fd, _ in self._poll.poll(wait_ms)}
            if self._owner in ready:
                break
            if self._wake in ready:
                self._reap()
            if self._mounts in ready:
                # The blanks show what was mounted where when they were made.
                self._end_blanks(set(self._blanks))
            if CONTROL in ready:
                self._answer()
            elif not ready and (recipe := self._lacking()):
                self._refill(recipe)

    def _answer(self) -> None:
        assert self._control
        try:
            request, fds = _receive(self._control)
        except ConnectionResetError:
            request, fds = b"", []  # the owner went without having read an answer
        if not request:
            self._poll.unregister(CONTROL)
            self._control = None
            self._end_blanks(set(self._blanks))
        elif fds:
            self._tell(KEEPER.pack(self._fork_keeper(*fds)))
            for fd in fds:
                os.close(fd)
        else:
            self._hand_out(request)

    def _fork_keeper(self, sock: int, lifeline: int) -> int:
        try:
            pid = os.fork()
        except OSError as error:
            return -(error.errno or 1)
        if pid == 0:
            try:
                self._forget([sock, lifeline, self._owner])
                os.setsid()
                keeper.serve(_socket.socket(fileno=sock), lifeline, self._owner)
            finally:
                os._exit(1)
        return pid

    def _tell(self, answer: bytes, *fds: int) -> None:
        assert self._control
        rights = struct.pack(f"{len(fds)}i", *fds)
        try:
            self._control.sendmsg([answer], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else [])
        except BrokenPipeError:
            pass  # the owner asks no more; what it does not get has nobody at the other end, and ends

    def _hand_out(self, request: bytes) -> None:
        *_, length = WANTED.unpack_from(request)
        state = request[WANTED.size : WANTED.size + length].decode("utf-8", "surrogateescape")
        recipe = request[:_KEY_BYTES] + request[WANTED.size + length :]
        waiting = self._blanks.pop(recipe, [])
        self._blanks[recipe] = waiting
        self._end_blanks(set(list(self._blanks)[:-_RECIPES]))
        try:
            if not waiting:
                waiting.append(self._fork_blank(recipe))
            pidfd = os.pidfd_open(waiting[0].pid)
        except OSError as error:
            self._tell(MADE.pack(-(error.errno or 1), -1, False))
            return
        box = waiting.pop(0)
        box.state = state
        other = -1 if box.other is None else box.other
        self._tell(MADE.pack(box.pid, other, "memory" in box.groups), box.sock.fileno(), pidfd)
        os.close(pidfd)
        box.sock.close()
        self._uncleaned()

    def _fork_blank(self, recipe: bytes) -> _Box:
        try:
            return self._cast(recipe)
        except ConnectionError:
            # It was killed. A blank that it may just have forked has lost its socket, and ends.
            self._mould = Mould(self._maker, self._program)
            return self._cast(recipe)

    def _cast(self, recipe: bytes) -> _Box:
        first, *owner, memory_bytes, processes, _ = WANTED.unpack_from(recipe + bytes(2))
        if recipe not in self._recipes:
            self._recipes[recipe] = blank.Recipe(recipe[_KEY_BYTES:], as_other=first >= 0)
        groups = self._groups.take(memory_bytes, processes)
        other = self._users.take(first) if first >= 0 else None
        ours, theirs = _socket.socketpair()
        try:
            idmap_fd = 0
            if other is not None and owner[0] >= 0:
                idmap_fd = self._users.exchange(other, (owner[0], owner[1]))
            plan = self._recipes[recipe].plan(cgroups.doors(list(groups.values())))
            as_other = other is not None
            pid = self._mould.cast(plan, as_other=as_other, sock=theirs.fileno(), idmap_fd=idmap_fd)
        except OSError as error:
            # Where the mould has gone, what it may just have forked has not ended yet.
            if not isinstance(error, ConnectionError):
                self._groups.give_back(memory_bytes, processes, groups)
                if other is not None:
                    self._users.give_back(other)
            ours.close()
            raise
        finally:
            theirs.close()
        self._users.forget_surplus()
        self._boxes[pid] = _Box(pid, ours, groups, (memory_bytes, processes), other)
        return self._boxes[pid]

    def _forget(self, kept: list[int]) -> None:
        """In a child: nothing of the template's business is its own."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        kernel.close_all_but([fd for fd in kept if fd])

    # Blanks

    def _lacking(self) -> bytes:
        """The recipe asked for last, where too few blanks are ready."""
        if not self._control or not self._blanks:
            return b""
        recipe = next(reversed(self._blanks))
        return recipe if len(self._blanks[recipe]) < _AHEAD else b""

    def _refill(self, recipe: bytes) -> None:
        try:
            self._blanks[recipe].append(self._fork_blank(recipe))
        except OSError:
            # Told to the owner when it asks; no reason to try again and again until then.
            self._end_blanks({recipe})

    def _end_blanks(self, recipes: set[bytes]) -> None:
        for recipe in recipes:
            self._recipes.pop(recipe, None)
            for box in self._blanks.pop(recipe):
                box.sock.close()
                os.kill(box.pid, signal.SIGKILL)

    # Ends

    def _reap(self) -> None:
        try:
            while os.read(self._wake, 1 << 12):
                pass
        except BlockingIOError:
            pass
        try:
            while pid := os.waitpid(-1, os.WNOHANG)[0]:
                if box := self._boxes.pop(pid, None):
                    self._ended_one(box)
        except ChildProcessError:
            pass

    def _ended_one(self, box: _Box) -> None:
        if box.other is not None:
            self._users.give_back(box.other)
        self._groups.give_back(*box.bounds, box.groups)
        if box.state:
            # The owner removes what it has; unless it ends first.
            self._ended.append(box)
            return
        box.clean_up()
        for recipe, blanks in list(self._blanks.items()):
            if box in blanks:
                # It could not be made: the next that is asked for tells why.
                blanks.remove(box)
                self._end_blanks({recipe})

    def _uncleaned(self) -> list[_Box]:
        """What has ended and is still there: its owner may look at what was changed."""
        self._ended = [box for box in self._ended if os.path.lexists(box.state)]
        return self._ended

    def end(self) -> None:
        """Take everything along, once the owner has gone."""
        for pid in self._boxes:
            os.kill(pid, signal.SIGKILL)
        for pid in self._boxes:
            os.waitpid(pid, 0)
        for box in self._boxes.values():
            self._groups.give_back(*box.bounds, box.groups)
        for box in (*self._boxes.values(), *self._ended):
            box.clean_up()
        self._groups.remove()


def _receive(control: _socket.socket) -> tuple[bytes, list[int]]:
    """The next message with the descriptors that came along; an empty one where the owner sends no more."""
    data, ancillary, _, _ = control.recvmsg(MESSAGE_BYTES, _socket.CMSG_SPACE(8), _socket.MSG_CMSG_CLOEXEC)
    fds = [fd for _, _, raw in ancillary for fd in struct.unpack(f"{len(raw) // 4}i", raw)]
    return data, fds
