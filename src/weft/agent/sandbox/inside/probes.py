"""Tries each layer of a sandbox by itself, each in a process that takes on nothing else."""

from __future__ import annotations

import os
import sys

from . import confine, kernel, plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OVERLAY = "lowerdir={0}/lower,upperdir={0}/upper,workdir={0}/work,userxattr,index=off,volatile"


def main() -> None:
    """Print a line for each layer: its name, and the reason where it is not to be had.

    argv holds an empty folder, on the file system that is to hold the state of sandboxes.
    """
    folder = sys.argv[1]
    for name in ("lower", "upper", "work", "merged"):
        os.mkdir(f"{folder}/{name}")
    for name, probe in PROBES.items():
        print(name, _tried(probe, folder), sep="\t")


def _tried(probe: Callable[[str], None], folder: str) -> str:
    """The reason why a probe fails, empty where it succeeds."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            probe(folder)
        except OSError as error:
            os.write(write_end, (error.strerror or str(error)).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with open(read_end, "rb") as told:
        reason = told.read().decode()
    status = os.waitpid(pid, 0)[1]
    return reason or ("" if status == 0 else f"ended with {os.waitstatus_to_exitcode(status)}")


def user_namespace(folder: str) -> None:
    """A user namespace in which the caller is root and nobody else is there."""
    uid, gid = os.getuid(), os.getgid()
    kernel.unshare(kernel.CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def mounts(folder: str) -> None:
    """A mount namespace, and something mounted in it."""
    _own_mounts()
    kernel.mount("tmpfs", f"{folder}/merged", kernel.MS_NOSUID)


def processes(folder: str) -> None:
    """A process namespace with the /proc that belongs to it."""
    _own_mounts()
    kernel.unshare(kernel.CLONE_NEWPID)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        try:
            kernel.mount("proc", f"{folder}/merged", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
        except OSError as error:
            os.write(write_end, f"{error.errno}".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    if number := os.read(read_end, 16):
        raise OSError(int(number), os.strerror(int(number)))


def network(folder: str) -> None:
    """Namespaces for the network, for messages between processes, the host's name and control groups."""
    _unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS | kernel.CLONE_NEWCGROUP)


def overlay(folder: str) -> None:
    """An overlay whose upper layer is on the file system of the folder."""
    _own_mounts()
    kernel.mount("overlay", f"{folder}/merged", kernel.MS_NOSUID | kernel.MS_NODEV, _OVERLAY.format(folder))


def idmapped(folder: str) -> None:
    """A mount that shows files as another user's."""
    ready, made = os.pipe()
    if (child := os.fork()) == 0:
        try:
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(made, b"x")
            os.read(os.pipe()[0], 1)
        finally:
            os._exit(0)
    try:
        os.close(made)
        os.read(ready, 1)
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "w") as file:
                file.write("0 1000 1")
        userns = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
        _own_mounts()
        mapped = plan.Plan("idmapped mounts")
        mapped.bind(f"{folder}/lower", f"{folder}/merged", kernel.ATTR_IDMAP, idmap=plan.IDMAP)
        plan.run(mapped.raw(), {plan.IDMAP: userns})
    finally:
        os.kill(child, kernel.SIGKILL)


def no_new_privileges(folder: str) -> None:
    """The promise of a process that no program gives it rights."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def call_filter(folder: str) -> None:
    """The filter of system calls that commands get."""
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    filtered = plan.Plan("seccomp")
    confine.filter_calls(filtered)
    plan.run(filtered.raw())


PROBES = {
    "user namespaces": user_namespace,
    "mounts": mounts,
    "processes": processes,
    "network": network,
    "overlay": overlay,
    "idmapped mounts": idmapped,
    "no_new_privs": no_new_privileges,
    "seccomp": call_filter,
}


def _own_mounts() -> None:
    _unshare(kernel.CLONE_NEWNS)
    kernel.mount(None, "/", kernel.MS_REC | kernel.MS_PRIVATE)


def _unshare(flags: int) -> None:
    """As the caller where it may, else as root of a user namespace."""
    try:
        kernel.unshare(flags)
    except PermissionError:
        user_namespace("")
        kernel.unshare(flags)
