"""A sandbox but for its workspace: a process in namespaces of its own that becomes the executor when told.

What takes long does not depend on the workspace, so it is done ahead of need. A blank becomes one sandbox,
once: nothing that a command could have touched is ever used again.
"""

from __future__ import annotations

import os
import select

from . import cgroups, confine, executor, kernel, rootfs, wire
from .plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any, NoReturn

_HOSTNAME = b"sandbox"
_DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/pts"]
_NAMESPACES = (
    kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
)


class Maker:
    """The template, as each blank needs to know it."""

    def __init__(self) -> None:
        self.uid, self.gid = os.getuid(), os.getgid()
        self.pidfd = os.pidfd_open(os.getpid())


class Recipe:
    """What does not depend on the workspace, read once for all blanks that are made by it."""

    def __init__(self, raw: bytes) -> None:
        told: Any = wire.unpack(raw)
        self.rlimits: dict[str, int] = told["rlimits"]
        self.birth = Plan()
        self.birth.call("prctl", kernel.PR_SET_PDEATHSIG, kernel.SIGKILL, 0, 0, 0)
        self.birth.call("setsid")
        self.surroundings = Plan()
        self.surroundings.call("unshare", kernel.CLONE_NEWCGROUP)
        self.surroundings.call("sethostname", _HOSTNAME, len(_HOSTNAME))
        rootfs.prepare(
            self.surroundings,
            readable=told["readable"],
            hidden=told["hidden"],
            tmp_bytes=told["tmp_bytes"],
        )


def fork_arguments(*, as_other: bool) -> tuple[int, ...]:
    """For `kernel.raw_syscall`: a sibling in new namespaces, the first process of its own. Root's, which
    becomes somebody else, needs none of users until then."""
    users = 0 if as_other else kernel.CLONE_NEWUSER
    return kernel.clone_arguments(_NAMESPACES | users | kernel.CLONE_PARENT)


def become(
    sock: _socket.socket,
    maker: Maker,
    recipe: Recipe,
    doors: list[str],
    other: int | None,
    idmap_fd: int,
) -> NoReturn:
    """In the child: make all that can be made, wait for the order, complete the sandbox and serve it.

    `doors` are those of its control groups. `other` is whom root's inside runs as, and `idmap_fd` the
    namespace that exchanges them with the workspace's owner, 0 where there is none.
    """
    try:
        host_proc = _prepare(recipe, maker, doors, mapped=other is None)
        order: Any = wire.receive(sock)
        _complete(order, other, idmap_fd, host_proc)
        _confine(recipe, order, maker)
        wire.send(sock, {"ready": True})
    except wire.Closed:
        os._exit(0)
    except rootfs.OverlayRefused as error:
        _fail(sock, "overlay", error)
    except BaseException as error:
        _fail(sock, "confinement", error)
    try:
        executor.serve(sock, order["workspace"], order["environment"])
    except (wire.Closed, OSError):
        pass
    os._exit(0)


def _prepare(recipe: Recipe, maker: Maker, doors: list[str], *, mapped: bool) -> int:
    """All that can be made; the host's /proc, for what is still to be written there."""
    recipe.birth.run()
    if mapped:
        map_self(maker.uid, maker.gid)
    cgroups.enter(doors)
    host_proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    recipe.surroundings.run()
    return host_proc


def _complete(order: Any, other: int | None, idmap_fd: int, host_proc: int) -> None:
    rootfs.finish(
        state=order["state"],
        workspace=order["workspace"],
        copy=order["copy"],
        covered=order["covered"],
        idmap_fd=idmap_fd,
    )
    if idmap_fd:
        os.close(idmap_fd)
    if other is not None:
        _leave_root(other, host_proc)
    os.close(host_proc)


def _confine(recipe: Recipe, order: Any, maker: Maker) -> None:
    confine.limit(recipe.rlimits)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 0)
    # Forgotten when the user changed; so is a template that has ended since, which sends no signal any more.
    kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
    if select.select([maker.pidfd], [], [], 0)[0]:
        raise wire.Closed
    os.close(maker.pidfd)
    kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    confine.renounce()
    confine.landlock([order["workspace"], "/tmp", "/dev/shm"], _DEVICES)
    confine.filter_calls()


def _leave_root(uid: int, host_proc: int) -> None:
    """Become a user who owns nothing on the host, alone in a user namespace of its own."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    kernel.unshare(kernel.CLONE_NEWUSER)
    kernel.prctl(kernel.PR_SET_DUMPABLE, 1)
    map_self(uid, uid, host_proc)


def map_self(uid: int, gid: int, proc: int | None = None) -> None:
    """Map the caller to itself and nobody else, in the user namespace that it has just come to."""
    lines = {"setgroups": "deny", "uid_map": f"{uid} {uid} 1", "gid_map": f"{gid} {gid} 1"}
    for name, text in lines.items():
        path = f"self/{name}" if proc is not None else f"/proc/self/{name}"
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc)
        os.write(file, text.encode())
        os.close(file)


def _fail(sock: _socket.socket, stage: str, error: BaseException) -> NoReturn:
    try:
        wire.send(sock, {"failed": stage, "reason": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(1)
