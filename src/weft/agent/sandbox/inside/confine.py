"""The layers that bind a process to itself: resource limits, no privileges, Landlock, seccomp.

Each adds its steps to a plan, for a process that has no other thread.
"""

from __future__ import annotations

import os
import resource
import struct

from . import kernel, seccomp
from .plan import (
    GONE_UNLESS_ZERO,
    MAY_BE_REFUSED,
    MUST_BE_ZERO,
    MUST_SUCCEED,
    OPENED,
    RULESET,
    Plan,
    Register,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Access rights of Landlock by the ABI that brought them (kernel: Documentation/userspace-api/landlock.rst).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_ALL_OF_ABI_1 = (1 << 13) - 1
_NET_BIND_AND_CONNECT, _SCOPE_ABSTRACT_AND_SIGNAL = 3, 3
_PATH_BENEATH = 1
_TERMINALS = "/dev/pts"
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", _TERMINALS)
"""What a sandbox has below /dev that is to be written to."""

_SECCOMP_SET_MODE_FILTER = 1
_POLLIN = 1


def limit(plan: Plan, limits: dict[str, int], *, result: int = MUST_SUCCEED) -> None:
    """Set both the soft and the hard limit of each resource, such as {"NPROC": 100}.

    Who has less already is refused to raise it: where that may be, it is a `result` to go on with.
    """
    for name, value in limits.items():
        which = getattr(resource, f"RLIMIT_{name}")
        told = struct.pack("=2Q", value, value)
        plan.call("prlimit64", 0, which, told, None, result=result, what=f"limit {name}")


def become(plan: Plan, uid: int) -> None:
    """Be another user, of a group of the same number and of no other."""
    plan.call("setgroups", 0, None)
    plan.call("setresgid", uid, uid, uid)
    plan.call("setresuid", uid, uid, uid)


def end_with(plan: Plan, process: Register) -> None:
    """End when the parent does, be it dead already: `process` is its pidfd.

    What was asked for is forgotten when the user changes; so is a parent that has ended since.
    """
    plan.call("prctl", kernel.PR_SET_PDEATHSIG, kernel.SIGKILL, 0, 0, 0)
    polled = plan.put(struct.pack("=ihh", 0, _POLLIN, 0))
    plan.poke(polled, 0, process)
    plan.call("ppoll", polled, 1, bytes(16), None, result=GONE_UNLESS_ZERO)


def adopt(plan: Plan) -> None:
    """Be nobody's to look into, and the parent of all orphans below."""
    plan.call("prctl", kernel.PR_SET_DUMPABLE, 0, 0, 0, 0)
    plan.call("prctl", kernel.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def empty_bounding_set(plan: Plan) -> None:
    """Let no program that is executed have any capability. What is lacking already needs no right to drop."""
    for each in range(kernel.last_capability() + 1):
        what = f"drop capability {each}"
        plan.call("prctl", kernel.PR_CAPBSET_DROP, each, 0, 0, 0, result=MAY_BE_REFUSED, what=what)
        plan.call("prctl", kernel.PR_CAPBSET_READ, each, 0, 0, 0, result=MUST_BE_ZERO, what=what)


def renounce(plan: Plan) -> None:
    """Give up every capability, and the way to gain any by executing a file."""
    plan.call("prctl", kernel.PR_CAP_AMBIENT, kernel.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    plan.call("capset", struct.pack("=Ii", kernel.CAPABILITIES_V3, 0), bytes(24))
    plan.call("prctl", kernel.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def landlock(plan: Plan, writable: Iterable[str], devices: Iterable[str]) -> None:
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
    attributes = struct.pack(f"={len(parts)}Q", *parts)
    plan.call("landlock_create_ruleset", attributes, len(attributes), 0, into=RULESET)
    _allow(plan, "/", _READ_FILE | _READ_DIR | _EXECUTE)
    for path in writable:
        _allow(plan, path, files & ~(_MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV))
    for path in devices:
        allowed = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
        _allow(plan, path, files & (allowed | _READ_DIR if path == _TERMINALS else allowed))
    plan.call("landlock_restrict_self", RULESET, 0)
    plan.close(RULESET)


def _allow(plan: Plan, path: str, rights: int) -> None:
    plan.open(path, os.O_PATH)
    rule = plan.put(struct.pack("=Qi", rights, 0))
    plan.poke(rule, 8, OPENED)
    plan.call("landlock_add_rule", RULESET, _PATH_BENEATH, rule, 0, what=f"landlock_add_rule {path}")
    plan.close()


def filter_calls(plan: Plan) -> None:
    """Install the system-call filter; the last layer, since it refuses what the others need."""
    program = seccomp.program(kernel.machine())
    told = plan.put(struct.pack("=QQ", len(program) // 8, 0))
    plan.point(told, 8, plan.put(program))
    plan.call("seccomp", _SECCOMP_SET_MODE_FILTER, 0, told)
