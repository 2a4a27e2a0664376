"""The layers that sandboxes are made of: which this host offers, and how to make it offer the others."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from typing import Final

import msgspec

from weft.agent.sandbox import native
from weft.agent.sandbox.inside import cgroups, kernel, seccomp

_ENTRY: Final = "import sys; sys.path.insert(0, {!r}); from inside.probes import main; main()"
_KERNEL: Final = "boot Linux {} or newer"
_CONTAINER: Final = "run outside the container, or give it {}"
_OPEN: Final = "--security-opt seccomp=unconfined --security-opt apparmor=unconfined"
HOW_TO_BOUND_ALL: Final = (
    "let this process make control groups: run as root, or under systemd with Delegate=yes and a sub-group"
)
_FIXES: Final = {
    "user namespaces": _CONTAINER.format(_OPEN),
    "mounts": _CONTAINER.format(_OPEN),
    "processes": _CONTAINER.format("--security-opt systempaths=unconfined"),
    "network": _CONTAINER.format(_OPEN),
    "overlay": "keep temporary files (TMPDIR) on ext4, xfs or btrfs, on Linux 5.11 or newer; else the "
    "workspace is copied",
    "idmapped mounts": _KERNEL.format("5.12") + ", or run as an ordinary user; else the workspace is copied",
    "no_new_privs": _KERNEL.format("3.5"),
    "seccomp": "boot a kernel with CONFIG_SECCOMP_FILTER",
}
# Each denies user namespaces to ordinary users where it has that value.
_SWITCHES: Final = {
    "kernel/unprivileged_userns_clone": ("0", "1"),
    "kernel/apparmor_restrict_unprivileged_userns": ("1", "0"),
    "user/max_user_namespaces": ("0", "10000"),
}
_COMPILER: Final = "install a C compiler (apt-get install gcc libc6-dev), then weft again"
_OPTIONAL: Final = frozenset({"overlay", "idmapped mounts", "control groups"})


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """One layer: whether it is to be had here, for this user, and what to do where it is not."""

    name: str
    available: bool
    needed: bool
    """Whether the default provider refuses to go without; it works around the others."""
    detail: str = ""
    fix: str = ""


def layers() -> list[Layer]:
    """Every layer, found by trying it rather than by reading versions."""
    if sys.platform != "linux":
        return [
            Layer(name="Linux", available=False, needed=True, fix="use Linux, or a virtual machine of it")
        ]
    return [*_probed(), _landlock(), _control_groups(), _compiled()]


def _probed() -> list[Layer]:
    source = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory(prefix="weft-doctor-") as folder:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _ENTRY.format(source), folder],
            capture_output=True,
            text=True,
            check=True,
        )
    told = dict(line.split("\t") for line in done.stdout.splitlines())
    if not seccomp.supported(kernel.machine()):
        told["seccomp"] = f"there is no filter for {kernel.machine()}"
    if os.geteuid() != 0:
        del told["idmapped mounts"]  # only root has somebody else work on the workspace
    return [
        Layer(
            name=name,
            available=not reason,
            needed=name not in _OPTIONAL,
            detail=reason.lower(),
            fix=_fix(name) if reason else "",
        )
        for name, reason in told.items()
    ]


def _fix(name: str) -> str:
    if name not in ("user namespaces", "mounts"):
        return _FIXES[name]
    closed = [f"sysctl -w {file.replace('/', '.')}={opened}" for file, opened in _closed_switches()]
    return " && ".join(closed) or _FIXES[name]


def _closed_switches() -> list[tuple[str, str]]:
    found = []
    for file, (closed, opened) in _SWITCHES.items():
        try:
            with open(f"/proc/sys/{file}") as switch:
                if switch.read().strip() == closed:
                    found.append((file, opened))
        except OSError:
            continue
    return found


def _landlock() -> Layer:
    abi = kernel.landlock_abi()
    covers = ["files", *(["TCP"] if abi >= 4 else []), *(["sockets and signals"] if abi >= 6 else [])]
    return Layer(
        name="Landlock",
        available=abi > 0,
        needed=True,
        detail=f"ABI {abi}: {', '.join(covers)}" if abi else "not offered by this kernel",
        fix="" if abi else _KERNEL.format("5.13") + ", with `landlock` in lsm= of its command line",
    )


def _control_groups() -> Layer:
    groups = cgroups.create(1 << 30, 64)
    cgroups.remove(list(groups.values()))
    versions = {name: 2 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 1 for name in groups}
    return Layer(
        name="control groups",
        available="memory" in groups,
        needed=False,
        detail=", ".join(f"{name} (v{version})" for name, version in versions.items())
        or "none can be made by this process",
        fix="" if "memory" in groups else HOW_TO_BOUND_ALL,
    )


def _compiled() -> Layer:
    built = bool(native.program())
    return Layer(
        name="compiled inside",
        available=built,
        needed=False,
        detail="" if built else "a sandbox takes three times the memory, and half as long again to open",
        fix="" if built else _COMPILER,
    )
