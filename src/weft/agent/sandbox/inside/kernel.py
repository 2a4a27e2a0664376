"""The system calls that Python lacks, by ctypes; each raises OSError that names the call."""

from __future__ import annotations

import ctypes
import functools
import os

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
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4

# Numbers from 424 on are the same on every architecture.
SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_CLOSE_RANGE, SYS_MOUNT_SETATTR = 428, 429, 436, 442
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_CLONE = {"x86_64": 56, "aarch64": 220}

_AT_FDCWD, _AT_EMPTY_PATH, _AT_RECURSIVE = -100, 0x1000, 0x8000
_OPEN_TREE_CLONE, _MOVE_MOUNT_F_EMPTY_PATH = 1, 4

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
raw_syscall = _libc.syscall
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
# Found now, and not in every blank for itself.
_prctl, _unshare, _mount, _umount2 = _libc.prctl, _libc.unshare, _libc.mount, _libc.umount2
_capset = _libc.capset


def machine() -> str:
    """The architecture as `uname -m` says it."""
    return os.uname().machine


def _checked(result: int, call: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
    return result


def syscall(name: str, number: int, *arguments: Any) -> int:
    """Call by number; integers are passed as longs, bytes as pointers."""
    passed = [ctypes.c_long(each) if isinstance(each, int) and each >> 31 else each for each in arguments]
    return _checked(raw_syscall(number, *passed), name)


def clone(flags: int) -> int:
    """fork(2) with new namespaces for the child, in which it returns 0 (clone(2)).

    For a process of one thread, and a child that ends by `os._exit`: neither libc nor Python learns of it.
    """
    return _checked(raw_syscall(*clone_arguments(flags)), "clone")


def clone_arguments(flags: int) -> tuple[int, ...]:
    """What `raw_syscall` takes for a `clone`."""
    return (_CLONE[machine()], flags | SIGCHLD, 0, 0, 0, 0)


def close_all_but(kept: list[int]) -> None:
    """Close every descriptor from 3 on that is not kept (close_range(2))."""
    first = 3
    for fd in (*sorted(kept), 0xFFFFFFFF):
        if fd > first:
            syscall("close_range", SYS_CLOSE_RANGE, first, fd - 1, 0)
        first = fd + 1


def unshare(flags: int) -> None:
    """Leave the caller's namespaces for new ones (unshare(2))."""
    _checked(_unshare(flags), "unshare")


def prctl(option: int, *arguments: int) -> int:
    """prctl(2)."""
    return _checked(_prctl(option, *(*arguments, 0, 0, 0, 0)[:4]), "prctl")


def mount(kind: str | None, target: str, flags: int, data: str | None = None) -> None:
    """Mount a new file system of a kind, or change a mount where the kind is None (mount(2))."""
    name = kind.encode() if kind else None
    told = data.encode() if data is not None else None
    result = _mount(name, os.fsencode(target), name, flags, told)
    _checked(result, f"mount {kind or 'change'} on {target}")


def unmount(target: str, flags: int) -> None:
    """umount2(2)."""
    _checked(_umount2(os.fsencode(target), flags), f"umount {target}")


def bind(source: str, target: str, attributes: int, userns_fd: int = 0) -> None:
    """Show `source` and all mounted below it at `target` with more restrictive attributes, in one step.

    The clone gets its attributes before it is attached, so no moment exists when it can be written.
    """
    opened = ctypes.c_int(-1)
    opening, changing, moving = binding(source, target, attributes, userns_fd, opened)
    opened.value = syscall(f"open_tree {source}", *opening)
    try:
        syscall(f"mount_setattr {source}", *changing)
        syscall(f"move_mount {target}", *moving)
    finally:
        os.close(opened.value)


def binding(
    source: str, target: str, attributes: int, userns_fd: int, opened: ctypes.c_int
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """The calls of a `bind`, by number with their arguments; what the first returns goes to `opened`."""
    attr = b"".join(each.to_bytes(8, "little") for each in (attributes, 0, 0, userns_fd))
    tree = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    how = _AT_EMPTY_PATH | _AT_RECURSIVE
    return (
        (SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(source), tree),
        (SYS_MOUNT_SETATTR, opened, b"", how, attr, len(attr)),
        (SYS_MOVE_MOUNT, opened, b"", _AT_FDCWD, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH),
    )


def pivot_root_here() -> None:
    """Make the working directory the root and let go of the old one (pivot_root(2), the "." "." idiom)."""
    syscall("pivot_root", _PIVOT_ROOT[machine()], b".", b".")
    unmount(".", MNT_DETACH)
    os.chdir("/")


@functools.cache
def last_capability() -> int:
    """The highest that the kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())


def drop_bounding_set() -> None:
    """Empty the bounding set of the calling thread; what it lacks already needs no right to drop."""
    for capability in range(last_capability() + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except PermissionError:
            if prctl(PR_CAPBSET_READ, capability):
                raise


def drop_capabilities() -> None:
    """Empty every capability set of the calling thread, the bounding set included."""
    drop_bounding_set()
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = (0x20080522).to_bytes(4, "little") + bytes(4)
    _checked(_capset(header, bytes(24)), "capset")


def install_seccomp(program: bytes) -> None:
    """Install a classic BPF program of eight-byte instructions as a system-call filter for this thread."""
    code = ctypes.create_string_buffer(program, len(program))
    header = (len(program) // 8).to_bytes(8, "little") + ctypes.addressof(code).to_bytes(8, "little")
    syscall("seccomp", _SECCOMP[machine()], 1, 0, header)


def landlock_abi() -> int:
    """The version of Landlock that the kernel offers, 0 where it offers none."""
    try:
        return syscall("landlock_create_ruleset", SYS_LANDLOCK_CREATE_RULESET, None, 0, 1)
    except OSError:
        return 0
