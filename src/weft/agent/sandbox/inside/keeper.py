"""The keeper: starts the executor in new namespaces, and cleans up whatever way either side dies."""

from __future__ import annotations

import _socket
import os
import select

from . import confine, executor, kernel, rootfs, warden, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/pts"]


def serve(sock: _socket.socket, lifeline: int, owner: int) -> NoReturn:
    """Serve one sandbox and end the process; `owner` is a pidfd, `lifeline` a socket that the owner holds."""
    # Only root's workspaces are mounted with their owner mapped; made while the owner still writes the spec.
    swap = _Swap() if os.geteuid() == 0 else None
    try:
        spec: Any = wire.receive(sock)
    except wire.Closed:
        os._exit(1)
    try:
        if "launch" in spec:
            if swap:
                swap.let_go()
                swap.reap()
            status = warden.keep(sock, lifeline, owner, spec)
        else:
            status = _keep(sock, lifeline, owner, spec, swap)
    finally:
        clean_up(spec)
    os._exit(status)


def _keep(sock: _socket.socket, lifeline: int, owner: int, spec: Any, swap: _Swap | None) -> int:
    """Run the executor as a child until it ends, the owner lets go of the lifeline, or the owner ends."""
    child = -1
    try:
        idmap_fd = swap.open(spec["idmap"]) if swap and spec["idmap"] else 0
        if swap:
            swap.let_go()
        if spec["confined"]:
            user = 0 if spec["uid"] is not None else kernel.CLONE_NEWUSER
            uid, gid = os.getuid(), os.getgid()
            kernel.unshare(user | kernel.CLONE_NEWPID)
            if user:
                _map_self(uid, gid)
        else:
            kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        child = os.fork()
    except OSError as error:
        _report(sock, "namespaces", error)
        return 1
    if child == 0:
        os.close(lifeline)
        os.close(owner)
        _become_executor(sock, spec, idmap_fd)
    sock.close()
    if swap:
        swap.reap()
    if idmap_fd:
        os.close(idmap_fd)
    ended = os.pidfd_open(child)
    poll = select.poll()
    poll.register(lifeline, select.POLLIN)
    poll.register(owner, select.POLLIN)
    poll.register(ended, select.POLLIN)
    poll.poll()
    try:
        os.kill(child, kernel.SIGKILL)
    except ProcessLookupError:
        pass
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    executor.end_children()
    return status


def _become_executor(sock: _socket.socket, spec: Any, idmap_fd: int) -> None:
    """In the child: take on every layer, say so, and serve until the owner goes."""
    try:
        if spec["confined"]:
            _confine(spec, idmap_fd)
        confine.limit(spec["rlimits"])
        kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
        kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        if spec["confined"]:
            confine.renounce()
            confine.landlock([spec["workspace"], "/tmp", "/dev/shm"], _DEVICES)
            confine.filter_calls()
    except rootfs.OverlayRefused as error:
        _report(sock, "overlay", error)
        os._exit(1)
    except BaseException as error:
        _report(sock, "confinement", error)
        os._exit(1)
    try:
        wire.send(sock, {"ready": True})
        executor.serve(sock, spec["workspace"], spec["environment"])
    except (wire.Closed, OSError):
        pass
    os._exit(0)


def _confine(spec: Any, idmap_fd: int) -> None:
    for path in spec["cgroups"]:
        # A thread that moves itself, and this process has one only, waits for nobody; a process that is moved
        # waits for every fork on the host to be over, which takes ten milliseconds. Version 2 knows no other.
        name = "tasks" if os.path.exists(f"{path}/tasks") else "cgroup.procs"
        with open(f"{path}/{name}", "w") as file:
            file.write("0")
    host_proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    kernel.unshare(
        kernel.CLONE_NEWNS
        | kernel.CLONE_NEWNET
        | kernel.CLONE_NEWIPC
        | kernel.CLONE_NEWUTS
        | kernel.CLONE_NEWCGROUP
    )
    kernel.set_hostname("sandbox")
    rootfs.build(
        state=spec["state"],
        workspace=spec["workspace"],
        copy=spec["copy"],
        readable=spec["readable"],
        hidden=spec["hidden"],
        covered=spec["covered"],
        tmp_bytes=spec["tmp_bytes"],
        idmap_fd=idmap_fd,
    )
    if idmap_fd:
        os.close(idmap_fd)
    if spec["uid"] is not None:
        _leave_root(spec["uid"], host_proc)
    os.close(host_proc)


def _leave_root(uid: int, host_proc: int) -> None:
    """Become a user who owns nothing on the host, alone in a user namespace of its own."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.unshare(kernel.CLONE_NEWUSER)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    _map_self(uid, uid, host_proc)


def _map_self(uid: int, gid: int, proc: int | None = None) -> None:
    """Map the caller to itself and nobody else, in the user namespace that it has just made."""
    lines = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in lines.items():
        path = f"self/{name}" if proc is not None else f"/proc/self/{name}"
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        os.write(file, text.encode())
        os.close(file)


class _Swap:
    """A user namespace that exchanges the workspace's owner and the sandbox's user, for an idmapped mount."""

    def __init__(self) -> None:
        """Start the child that holds the namespace until it is opened."""
        made, made_write = os.pipe()
        hold_read, hold = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(hold)
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(made_write, b"x")
            os.read(hold_read, 1)
            os._exit(0)
        os.close(made_write)
        os.close(hold_read)
        self._made, self._hold = made, hold

    def open(self, swaps: Any) -> int:
        """The namespace with its maps, as a descriptor."""
        os.read(self._made, 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{self._child}/{name}", "w") as file:
                file.write(_exchange(*swaps[name]))
        return os.open(f"/proc/{self._child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)

    def let_go(self) -> None:
        os.close(self._made)
        os.close(self._hold)

    def reap(self) -> None:
        os.waitpid(self._child, 0)


def _exchange(one: int, other: int) -> str:
    """An identity map of all ids but two, which change places."""
    low, high = min(one, other), max(one, other)
    lines = [(0, 0, low), (low, high, 1), (low + 1, low + 1, high - low - 1), (high, low, 1)]
    lines.append((high + 1, high + 1, 0xFFFFFFFF - high - 1))
    if low == high:
        lines = [(0, 0, 0xFFFFFFFF)]
    return "\n".join(f"{inside} {outside} {count}" for inside, outside, count in lines if count > 0)


def _report(sock: _socket.socket, stage: str, error: BaseException) -> None:
    try:
        wire.send(sock, {"failed": stage, "reason": f"{type(error).__name__}: {error}"})
    except OSError:
        pass


def clean_up(spec: Any) -> None:
    """Remove the control groups and the state folder of a sandbox whose processes have ended."""
    for path in spec["cgroups"]:
        try:
            os.rmdir(path)
        except OSError:
            pass
    remove_tree(spec["state"])


def remove(path: str) -> None:
    """Delete what is at the path, be it a file, a link or a folder with all in it."""
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(path)
    else:
        try:
            os.unlink(path)
        except OSError:
            pass


def remove_tree(path: str) -> None:
    """Delete a folder and all in it, also what was made unreadable; links are deleted, never followed."""
    try:
        os.chmod(path, 0o700)
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(path)
    except OSError:
        pass
