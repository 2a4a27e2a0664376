"""The system-call filter: no sockets but Unix ones, and no call that reaches for the kernel's inside.

Written as classic BPF (kernel: Documentation/userspace-api/seccomp_filter.rst). A refused call fails with
EPERM, so that programs report it; one of a foreign architecture kills: its numbers mean other calls.
"""

from __future__ import annotations

import functools
import struct

from .kernel import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)

# Refused whatever the arguments: name -> (number on x86_64, number on aarch64); -1 where there is none.
REFUSED: dict[str, tuple[int, int]] = {
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "unshare": (272, 97),
    "setns": (308, 268),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "syslog": (103, 116),
    "vhangup": (153, 58),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "iopl": (172, -1),
    "ioperm": (173, -1),
    "modify_ldt": (154, -1),
    "uselib": (134, -1),
    "ustat": (136, -1),
    "sysfs": (139, -1),
    "_sysctl": (156, -1),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
}

_SOCKET, _SOCKETPAIR = (41, 198), (53, 199)
_CLONE, _CLONE3, _IOCTL = (56, 220), (435, 435), (16, 29)
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_AF_UNIX = 1
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_NEW_NAMESPACES = (
    CLONE_NEWNS
    | CLONE_NEWCGROUP
    | CLONE_NEWUTS
    | CLONE_NEWIPC
    | CLONE_NEWUSER
    | CLONE_NEWPID
    | CLONE_NEWNET
    | CLONE_NEWTIME
)

_EPERM, _ENOSYS = 1, 38
_KILL, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16


def supported(machine: str) -> bool:
    """Whether the filter knows this architecture."""
    return machine in _AUDIT_ARCH


@functools.cache
def program(machine: str) -> bytes:
    """The filter for one architecture, as the kernel takes it."""
    column = list(_AUDIT_ARCH).index(machine)
    refuse, absent = _return(_ERRNO | _EPERM), _return(_ERRNO | _ENOSYS)
    steps = [_load(_ARCH_AT), _jump(_IF_EQUAL, _AUDIT_ARCH[machine], 1, 0), _return(_KILL), _load(_NUMBER_AT)]
    if machine == "x86_64":
        steps += [_jump(_IF_AT_LEAST, _X32_BIT, 0, 1), _return(_KILL)]
    cases = {numbers[column]: [refuse] for numbers in REFUSED.values() if numbers[column] >= 0}
    # The flags of clone3 lie in memory, which a filter cannot read; libc falls back to clone on ENOSYS.
    cases[_CLONE3[column]] = [absent]
    unix = [_jump(_IF_EQUAL, _AF_UNIX, 1, 0)]
    cases[_SOCKET[column]] = cases[_SOCKETPAIR[column]] = _by_argument(0, unix, refuse)
    cases[_CLONE[column]] = _by_argument(0, [_jump(_IF_ANY_BIT, _NEW_NAMESPACES, 0, 1)], refuse)
    typing = [_jump(_IF_EQUAL, _TIOCSTI, 1, 0), _jump(_IF_EQUAL, _TIOCLINUX, 0, 1)]
    cases[_IOCTL[column]] = _by_argument(1, typing, refuse)
    return b"".join([*steps, *_find(sorted(cases.items()))])


def _find(cases: list[tuple[int, list[bytes]]]) -> list[bytes]:
    """Come to the case of the loaded number by halving, and to the permission where there is none.

    When a filter is installed, the kernel runs it for every number that there is.
    """
    if not cases:
        return [_return(_ALLOW)]
    if len(cases) == 1:
        [(number, body)] = cases
        return [_jump(_IF_EQUAL, number, 0, len(body)), *body, _return(_ALLOW)]
    middle = len(cases) // 2
    lower = _find(cases[:middle])
    return [_jump(_IF_AT_LEAST, cases[middle][0], len(lower), 0), *lower, *_find(cases[middle:])]


def _by_argument(argument: int, tests: list[bytes], verdict: bytes) -> list[bytes]:
    """Load the low half of an argument, test it, give the verdict, else allow."""
    return [_load(_ARGUMENTS_AT + 8 * argument), *tests, verdict, _return(_ALLOW)]


def _load(offset: int) -> bytes:
    return struct.pack("<HBBI", _LOAD, 0, 0, offset)


def _jump(test: int, value: int, if_true: int, if_false: int) -> bytes:
    return struct.pack("<HBBI", test, if_true, if_false, value)


def _return(verdict: int) -> bytes:
    return struct.pack("<HBBI", _RETURN, 0, 0, verdict)
