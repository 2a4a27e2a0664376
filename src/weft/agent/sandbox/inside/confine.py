"""The layers that bind a process to itself: resource limits, no privileges, Landlock, seccomp."""

from __future__ import annotations

import os
import resource
import struct

from . import kernel, seccomp

# Access rights of Landlock by the ABI that brought them (kernel: Documentation/userspace-api/landlock.rst).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_ABI_1 = (1 << 13) - 1
_NET_BIND_AND_CONNECT, _SCOPE_ABSTRACT_AND_SIGNAL = 3, 3
_PATH_BENEATH = 1


def limit(limits: dict[str, int]) -> None:
    """Set both the soft and the hard limit of each resource, such as {"NPROC": 100}."""
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def renounce() -> None:
    """Give up every capability, and the way to gain any by executing a file."""
    kernel.drop_capabilities()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)


def landlock(writable: list[str], devices: list[str]) -> None:
    """Everything may be read and executed, only what is below `writable` changed; no TCP; no outside sockets.

    Rights that this kernel's Landlock does not know yet are left to the other layers.
    """
    abi = kernel.landlock_abi()
    files = _ALL_OF_ABI_1
    files |= _REFER if abi >= 2 else 0
    files |= _TRUNCATE if abi >= 3 else 0
    files |= _IOCTL_DEV if abi >= 5 else 0
    parts = [files]
    if abi >= 4:
        parts.append(_NET_BIND_AND_CONNECT)
    if abi >= 6:
        parts.append(_SCOPE_ABSTRACT_AND_SIGNAL)
    attr = struct.pack(f"<{len(parts)}Q", *parts)
    ruleset = kernel.syscall(
        "landlock_create_ruleset", kernel.SYS_LANDLOCK_CREATE_RULESET, attr, len(attr), 0
    )
    try:
        _allow(ruleset, "/", _READ_FILE | _READ_DIR | _EXECUTE)
        for path in writable:
            _allow(ruleset, path, files & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV))
        for path in devices:
            allowed = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
            _allow(ruleset, path, files & (allowed | _READ_DIR if os.path.isdir(path) else allowed))
        kernel.syscall("landlock_restrict_self", kernel.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    where = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("<Qi", rights, where)
        kernel.syscall("landlock_add_rule", kernel.SYS_LANDLOCK_ADD_RULE, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(where)


def filter_calls() -> None:
    """Install the system-call filter; the last layer, since it refuses what the others need."""
    kernel.install_seccomp(seccomp.program(kernel.machine()))
