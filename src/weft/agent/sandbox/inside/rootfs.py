"""The file tree of a sandbox, built in a mount namespace of its own from what the host allows to be seen."""

from __future__ import annotations

import functools
import os

from . import kernel
from .kernel import ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY
from .plan import IDMAP, MAY_BE_REFUSED, MAY_EXIST, MUST_SUCCEED, Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_READ_ONLY = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV
_ROOT = "/proc"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_LOWER = "/dev"
"""Where the workspace is mounted on the host's tree, which is given up at once: a folder that is everywhere
and has served by then."""
_OVERLAY = f"lowerdir={_LOWER},upperdir=upper,workdir=work,userxattr,index=off,volatile"


def prepare(plan: Plan, *, readable: list[str], hidden: list[str], tmp_bytes: int) -> None:
    """How to make the new tree but for the workspace, with the host's beside it until `enter`.

    It stands on the host's /proc, which is everywhere and where no workspace is. `hidden` are paths of the
    host, covered where they are shown. Looks at the host now, not when the plan is run.
    """
    plan.mount(None, "/", kernel.MS_REC | kernel.MS_PRIVATE)
    plan.mount("tmpfs", _ROOT, MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for name in ("proc", "dev", "tmp", "run", "home"):
        plan.folder(f"{_ROOT}/{name}")
    plan.mount("tmpfs", f"{_ROOT}/tmp", MS_NOSUID | MS_NODEV, f"size={tmp_bytes},mode=1777")
    for path in readable:
        _show(plan, path)
    places = {os.path.realpath(path) for path in hidden if os.path.lexists(path)}
    bound = [path for path in readable if os.path.isdir(path) and not os.path.islink(path)]
    shown = [path for path in places if any(path.startswith(f"{each}/") for each in bound)]
    _hide(plan, sorted(shown), result=MAY_BE_REFUSED)
    _devices(plan, f"{_ROOT}/dev", tmp_bytes)
    plan.mount("proc", f"{_ROOT}/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)


def upper(state: str, *, owner: int | None, mode: int) -> bytes:
    """How to make the folder of the state and go there, and in it an empty upper layer, which gives the
    merged folder its owner (none for who makes it) and its mode."""
    place = Plan("state")
    place.folder(state, 0o700)
    place.call("chdir", os.fsencode(state), what=f"chdir {state}")
    return place.raw() + _empty_upper(owner, mode)


@functools.lru_cache(64)
def _empty_upper(owner: int | None, mode: int) -> bytes:
    plan = Plan("state")
    for name in ("upper", "work"):
        plan.folder(name)
    if owner is not None:
        plan.give("upper", owner)
    plan.mode("upper", mode)
    return plan.raw()


def ground(*, workspace: str, copy: str | None, covered: Sequence[str], idmapped: bool) -> bytes:
    """How to add the workspace, below the `upper` layer in the folder that the process is in.

    `copy` is a plain copy to use in place of an overlay. `covered` are paths of the workspace, which must be
    covered.
    """
    cover = Plan("confinement")
    if covered:
        _hide(cover, [f"{workspace}/{path}" for path in covered], result=MUST_SUCCEED)
    shown = _overlay(workspace, idmapped) if copy is None else _bound(workspace, copy)
    return shown + cover.raw()


@functools.lru_cache(64)
def _overlay(workspace: str, idmapped: bool) -> bytes:
    plan, target = Plan("overlay"), _ROOT + workspace
    plan.folders(target, _ROOT, MAY_EXIST)
    attributes = _READ_ONLY | (kernel.ATTR_IDMAP if idmapped else 0)
    plan.bind(workspace, _LOWER, attributes, idmap=IDMAP if idmapped else None)
    plan.mount("overlay", target, MS_NOSUID | MS_NODEV, _OVERLAY)
    return plan.raw()


def _bound(workspace: str, copy: str) -> bytes:
    plan, target = Plan("confinement"), _ROOT + workspace
    plan.folders(target, _ROOT, MAY_EXIST)
    plan.bind(copy, target, ATTR_NOSUID | ATTR_NODEV)
    return plan.raw()


def enter(plan: Plan) -> None:
    """Enter the new tree (pivot_root(2), the "." "." idiom): nothing else of the host can be named then."""
    plan.call("chdir", _ROOT.encode())
    plan.call("pivot_root", b".", b".")
    plan.call("umount2", b".", kernel.MNT_DETACH)
    plan.call("chdir", b"/")
    plan.mount(None, "/", kernel.MS_REMOUNT | kernel.MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _show(plan: Plan, path: str) -> None:
    """Bring one host path, or the symbolic link that it is, to the same place, read-only."""
    target = _ROOT + path
    if not os.path.lexists(path):
        return
    plan.folders(os.path.dirname(target), _ROOT)
    if os.path.islink(path):
        plan.link(target, os.readlink(path))
        return
    if os.path.isdir(path):
        plan.folders(target, _ROOT)
    else:
        plan.file(target, 0o444)
    plan.bind(path, target, _READ_ONLY)


def _hide(plan: Plan, paths: Sequence[str], *, result: int) -> None:
    """Cover each path that is there by something empty that nobody may open."""
    folder, file = f"{_ROOT}/.hidden-folder", f"{_ROOT}/.hidden-file"
    plan.folder(folder, 0)
    plan.file(file, 0)
    for path in paths:
        if os.path.lexists(path) and not os.path.islink(path):
            source = folder if os.path.isdir(path) else file
            plan.bind(source, _ROOT + path, _READ_ONLY, result=result)
    plan.remove(folder, file)


def _devices(plan: Plan, dev: str, shm_bytes: int) -> None:
    for name in _DEVICES:
        plan.file(f"{dev}/{name}", 0o666)
        plan.bind(f"/dev/{name}", f"{dev}/{name}", ATTR_NOSUID)
    for name, target in _LINKS.items():
        plan.link(f"{dev}/{name}", target)
    plan.folder(f"{dev}/shm")
    plan.mount("tmpfs", f"{dev}/shm", MS_NOSUID | MS_NODEV, f"size={shm_bytes},mode=1777")
    plan.folder(f"{dev}/pts")
    plan.mount("devpts", f"{dev}/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
