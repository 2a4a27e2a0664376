"""The file tree of a sandbox, built in a mount namespace of its own from what the host allows to be seen."""

from __future__ import annotations

import os

from . import kernel
from .kernel import ATTR_NODEV, ATTR_NOSUID, ATTR_RDONLY, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY

_READ_ONLY = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV
_ROOT = "/proc"
_DEVICES = ("null", "zero", "full", "random", "urandom")
_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}
_OVERLAY = "lowerdir=lower,upperdir=upper,workdir=work,userxattr,index=off,volatile"


class OverlayRefused(Exception):
    """The kernel or the file system does not allow the workspace to be an overlay."""


def prepare(*, readable: list[str], hidden: list[str], tmp_bytes: int) -> None:
    """Make the new tree but for the workspace; the host's is there beside it until `finish`.

    It stands on the host's /proc, which is everywhere and where no workspace is. `hidden` are paths of the
    host, covered where that can be done.
    """
    kernel.mount(None, "/", kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("tmpfs", _ROOT, MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for name in ("proc", "dev", "tmp", "run", "home"):
        os.mkdir(f"{_ROOT}/{name}")
    kernel.mount("tmpfs", f"{_ROOT}/tmp", MS_NOSUID | MS_NODEV, f"size={tmp_bytes},mode=1777")
    for path in readable:
        _show(path)
    _hide(hidden, required=False)
    _devices(f"{_ROOT}/dev", tmp_bytes)
    kernel.mount("proc", f"{_ROOT}/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)


def finish(*, state: str, workspace: str, copy: str | None, covered: list[str], idmap_fd: int) -> None:
    """Add the workspace and enter the new tree; afterwards nothing else of the host can be named.

    `state` holds lower/, upper/ and work/. `copy` is a plain copy to use in place of an overlay. `covered`
    are paths of the workspace, which must be covered.
    """
    os.makedirs(_ROOT + workspace, exist_ok=True)
    if copy is not None:
        kernel.bind(copy, _ROOT + workspace, ATTR_NOSUID | ATTR_NODEV)
    else:
        _overlay(state, workspace, _ROOT + workspace, idmap_fd)
    if covered:
        _hide([f"{workspace}/{path}" for path in covered], required=True)
    os.chdir(_ROOT)
    kernel.pivot_root_here()
    kernel.mount(None, "/", kernel.MS_REMOUNT | kernel.MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _show(path: str) -> None:
    """Bring one host path, or the symbolic link that it is, to the same place, read-only."""
    target = _ROOT + path
    if os.path.islink(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        if not os.path.lexists(target):
            os.symlink(os.readlink(path), target)
    elif os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
        kernel.bind(path, target, _READ_ONLY)
    elif os.path.exists(path):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o444))
        kernel.bind(path, target, _READ_ONLY)


def _hide(paths: list[str], *, required: bool) -> None:
    """Cover each path that is there by something empty that nobody may open."""
    folder, file = f"{_ROOT}/.hidden-folder", f"{_ROOT}/.hidden-file"
    os.mkdir(folder, 0)
    os.close(os.open(file, os.O_CREAT | os.O_WRONLY, 0))
    for path in paths:
        target = _ROOT + path
        try:
            if os.path.lexists(target) and not os.path.islink(target):
                kernel.bind(folder if os.path.isdir(target) else file, target, _READ_ONLY)
        except PermissionError:
            if required:
                raise
    os.rmdir(folder)
    os.unlink(file)


def _devices(dev: str, shm_bytes: int) -> None:
    kernel.mount("tmpfs", dev, MS_NOSUID, "size=64k,mode=755")
    for name in _DEVICES:
        os.close(os.open(f"{dev}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        kernel.bind(f"/dev/{name}", f"{dev}/{name}", ATTR_NOSUID)
    for name, target in _LINKS.items():
        os.symlink(target, f"{dev}/{name}")
    os.mkdir(f"{dev}/shm")
    kernel.mount("tmpfs", f"{dev}/shm", MS_NOSUID | MS_NODEV, f"size={shm_bytes},mode=1777")
    os.mkdir(f"{dev}/pts")
    kernel.mount("devpts", f"{dev}/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    kernel.mount(None, dev, kernel.MS_REMOUNT | kernel.MS_BIND | MS_RDONLY | MS_NOSUID)


def _overlay(state: str, workspace: str, target: str, idmap_fd: int) -> None:
    attributes = _READ_ONLY | (kernel.ATTR_IDMAP if idmap_fd else 0)
    os.chdir(state)
    try:
        kernel.bind(workspace, f"{state}/lower", attributes, idmap_fd)
        kernel.mount("overlay", target, MS_NOSUID | MS_NODEV, _OVERLAY)
    except OSError as error:
        raise OverlayRefused(str(error)) from error
