"""The system calls that Python lacks, by ctypes; each raises OSError that names the call."""

from __future__ import annotations

import ctypes
import functools
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x02000000, 0x04000000, 0x08000000
CLONE_PARENT = 0x00008000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, CLONE_NEWTIME = 0x10000000, 0x20000000, 0x40000000, 0x00000080

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2

ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC, ATTR_IDMAP = 1, 2, 4, 8, 0x00100000

# The signal module would bring enum along.
SIGINT, SIGKILL, SIGPIPE, SIGCHLD, SIGXFSZ = 2, 9, 13, 17, 25

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_READ, PR_CAPBSET_DROP = 1, 4, 23, 24
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
CAPABILITIES_V3 = 0x20080522
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

AT_FDCWD, AT_REMOVEDIR, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x200, 0x1000, 0x8000
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH = 1, 4

# By architecture; numbers from 424 on are the same on each.
_MACHINES = ("x86_64", "aarch64")
CALLS = {
    "capset": (126, 91),
    "chdir": (80, 49),
    "clone": (56, 220),
    "close": (3, 57),
    "fchmodat": (268, 53),
    "fchownat": (260, 54),
    "mkdirat": (258, 34),
    "mount": (165, 40),
    "openat": (257, 56),
    "pivot_root": (155, 41),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "seccomp": (317, 277),
    "setgroups": (116, 159),
    "sethostname": (170, 161),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "setsid": (112, 157),
    "symlinkat": (266, 36),
    "umount2": (166, 39),
    "unlinkat": (263, 35),
    "unshare": (272, 97),
    "write": (1, 64),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "close_range": (436, 436),
    "mount_setattr": (442, 442),
    "landlock_create_ruleset": (444, 444),
    "landlock_add_rule": (445, 445),
    "landlock_restrict_self": (446, 446),
}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


@functools.cache
def machine() -> str:
    """The architecture as `uname -m` says it."""
    return os.uname().machine


def call_number(name: str) -> int:
    """What the kernel knows the call by, on this architecture."""
    return CALLS[name][_MACHINES.index(machine())]


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def syscall(name: str, number: int, *arguments: Any) -> int:
    """Call by number; integers are passed as longs, bytes as pointers."""
    passed = [ctypes.c_long(each) if isinstance(each, int) and each >> 31 else each for each in arguments]
    return _checked(_libc.syscall(number, *passed), name)


def clone(flags: int) -> int:
    """fork(2) with new namespaces for the child, in which it returns 0 (clone(2)).

    For a process of one thread, and a child that ends by `os._exit`: neither libc nor Python learns of it.
    """
    return syscall("clone", call_number("clone"), flags | SIGCHLD, 0, 0, 0, 0)


def close_all_but(kept: list[int]) -> None:
    """Close every descriptor from 3 on that is not kept (close_range(2))."""
    first = 3
    for fd in (*sorted(kept), 0xFFFFFFFF):
        if fd > first:
            syscall("close_range", call_number("close_range"), first, fd - 1, 0)
        first = fd + 1


def unshare(flags: int) -> None:
    """Leave the caller's namespaces for new ones (unshare(2))."""
    _checked(_libc.unshare(flags), "unshare")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2)."""
    return _checked(_libc.prctl(option, *(*arguments, 0, 0, 0, 0)[:4]), "prctl")


def mount(kind: str | None, target: str, flags: int, data: str | None = None) -> None:
    """Mount a new file system of a kind, or change a mount where the kind is None (mount(2))."""
    name = kind.encode() if kind else None
    told = data.encode() if data is not None else None
    result = _libc.mount(name, os.fsencode(target), name, flags, told)
    _checked(result, f"mount {kind or 'change'} on {target}")


def effective_capabilities() -> int:
    """Those that the calling thread has now, a bit for each (capget(2))."""
    found = ctypes.create_string_buffer(24)
    header = (CAPABILITIES_V3).to_bytes(4, "little") + bytes(4)
    _checked(_libc.capget(header, found), "capget")
    low, _, _, high, _, _ = struct.unpack("=6I", found)
    return int(low | high << 32)


@functools.cache
def last_capability() -> int:
    """The highest that the kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


@functools.cache
def landlock_abi() -> int:
    """The version of Landlock that the kernel offers, 0 where it offers none."""
    try:
        return syscall("landlock_create_ruleset", call_number("landlock_create_ruleset"), None, 0, 1)
    except (OSError, ValueError):
        return 0
