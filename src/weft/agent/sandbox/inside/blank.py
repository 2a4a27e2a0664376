"""What makes a sandbox: the plan of a blank, which is all but the workspace, and the plan that completes it.

What takes long does not depend on the workspace, so it is done ahead of need. A blank becomes one sandbox,
once: nothing that a command could have touched is ever used again.
"""

from __future__ import annotations

import functools
import os

from . import confine, kernel, rootfs, wire
from .plan import HOST_PROC, IDMAP, MAKER, MAY_BE_REFUSED, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_HOSTNAME = b"sandbox"
_WRITABLE = ("/tmp", "/dev/shm")
_STAGE = "confinement"
_NAMESPACES = (
    kernel.CLONE_NEWPID | kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
)


def flags(*, as_other: bool) -> int:
    """Of clone(2): the first process of its own in new namespaces, a sibling of who forks it. Root's, which
    becomes somebody else, needs no namespace of users until then."""
    users = 0 if as_other else kernel.CLONE_NEWUSER
    return _NAMESPACES | users | kernel.CLONE_PARENT | kernel.SIGCHLD


class Recipe:
    """What all blanks of one kind have in common, with the host as it is now."""

    def __init__(self, raw: bytes, *, as_other: bool) -> None:
        told: Any = wire.unpack(raw)
        birth = Plan(_STAGE)
        birth.call("prctl", kernel.PR_SET_PDEATHSIG, kernel.SIGKILL, 0, 0, 0)
        birth.call("setsid")
        if not as_other:
            _map_self(birth, os.getuid(), os.getgid(), "/proc/")
        surroundings = Plan(_STAGE)
        surroundings.open("/proc", os.O_PATH, into=HOST_PROC)
        surroundings.call("unshare", kernel.CLONE_NEWCGROUP)
        surroundings.call("sethostname", _HOSTNAME, len(_HOSTNAME))
        rootfs.prepare(
            surroundings, readable=told["readable"], hidden=told["hidden"], tmp_bytes=told["tmp_bytes"]
        )
        self._birth, self._surroundings = birth.raw(), surroundings.raw()

    def plan(self, doors: Sequence[str]) -> bytes:
        """Of one blank, which enters its control groups through these doors."""
        entry = Plan(_STAGE)
        for door in doors:
            entry.write(door, "0")
        return self._birth + entry.raw() + self._surroundings


def completion(
    *,
    state: str,
    workspace: str,
    mode: int,
    copy: str | None,
    covered: Sequence[str],
    idmapped: bool,
    other: int | None,
    rlimits: dict[str, int],
) -> bytes:
    """The rest: the workspace, another user where the inside is not its owner, and the layers.

    `copy` is a plain copy to use in place of an overlay on a new folder, `state`. `mode` is that of the
    workspace, `covered` are paths of it. One that is `idmapped` shows its owner's files as those of `other`.
    """
    ground = rootfs.ground(workspace=workspace, copy=copy, covered=covered, idmapped=idmapped)
    if copy is None:
        ground = rootfs.upper(state, owner=other, mode=mode) + ground
    return ground + _enter(idmapped, other) + _layers(workspace, tuple(rlimits.items()))


@functools.lru_cache(64)
def _enter(idmapped: bool, other: int | None) -> bytes:
    plan = Plan(_STAGE)
    rootfs.enter(plan)
    if idmapped:
        plan.close(IDMAP)
    if other is not None:
        _leave_root(plan, other)
    plan.close(HOST_PROC)
    return plan.raw()


@functools.lru_cache(64)
def _layers(workspace: str, rlimits: tuple[tuple[str, int], ...]) -> bytes:
    plan = Plan(_STAGE)
    confine.limit(plan, dict(rlimits))
    confine.adopt(plan)
    confine.end_with(plan, MAKER)
    plan.close(MAKER)
    confine.empty_bounding_set(plan)
    confine.renounce(plan)
    confine.landlock(plan, [workspace, *_WRITABLE], confine.DEVICES)
    confine.filter_calls(plan)
    return plan.raw()


def guest(
    workspace: str,
    rlimits: dict[str, int],
    uid: int | None,
    *,
    devices: Sequence[str] = confine.DEVICES,
    landlocked: bool = True,
) -> bytes:
    """The layers of an executor that another program holds, within that program's walls.

    `uid` is who it becomes, where it starts as root.
    """
    plan = Plan(_STAGE)
    confine.empty_bounding_set(plan)
    if uid is not None:
        confine.become(plan, uid)
        # Forgotten when the user changes. Engines have threads, the end of one of which would count as death.
        plan.call("prctl", kernel.PR_SET_PDEATHSIG, kernel.SIGKILL, 0, 0, 0)
    confine.limit(plan, rlimits, result=MAY_BE_REFUSED)
    confine.adopt(plan)
    confine.renounce(plan)
    if landlocked:
        confine.landlock(plan, [workspace, *_WRITABLE], devices)
    confine.filter_calls(plan)
    return plan.raw()


def _leave_root(plan: Plan, uid: int) -> None:
    """Become a user who owns nothing on the host, alone in a user namespace of its own."""
    confine.become(plan, uid)
    plan.call("prctl", kernel.PR_SET_DUMPABLE, 1, 0, 0, 0)
    plan.call("unshare", kernel.CLONE_NEWUSER)
    plan.call("prctl", kernel.PR_SET_DUMPABLE, 1, 0, 0, 0)
    _map_self(plan, uid, uid, "")


def _map_self(plan: Plan, uid: int, gid: int, proc: str) -> None:
    """Map the caller to itself and nobody else, in the user namespace that it has just come to."""
    plan.write(f"{proc}self/setgroups", "deny")
    plan.write(f"{proc}self/uid_map", f"{uid} {uid} 1")
    plan.write(f"{proc}self/gid_map", f"{gid} {gid} 1")
