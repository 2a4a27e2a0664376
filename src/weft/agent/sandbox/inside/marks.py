"""Marks in names: whose a folder or a control group is, so that what a dead owner left can be told."""

from __future__ import annotations

import os

_KIND = "weft-sandbox-"


def mark() -> str:
    """Tells the calling process from every other: the boot, its namespace of processes, its id, its start."""
    return f"{_world()}-{os.getpid()}-{_start_of(os.getpid())}"


def name(of: str, what: str) -> str:
    """The name of something that belongs to the process of that mark."""
    return f"{_KIND}{of}-{what}"


def is_left(named: str) -> bool:
    """Whether the name is one of `name` whose process has ended, as far as can be told from here.

    A process of another machine or namespace, which shares the folder, cannot be looked for: it may live.
    """
    boot, _, rest = named.removeprefix(_KIND).partition("-")
    space, *numbers = rest.split("-")
    if not named.startswith(_KIND) or f"{boot}-{space}" != _world() or len(numbers) < 2:
        return False
    return not numbers[0].isdigit() or _start_of(int(numbers[0])) != numbers[1]


def _world() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        boot = file.read(8)
    return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"


def _start_of(pid: int) -> str:
    """When the process began, in the kernel's ticks; empty where there is none, or nobody has reaped it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]
