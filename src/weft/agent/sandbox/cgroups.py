"""Control groups for one sandbox, where the host allows them: bounds on all its processes together."""

from __future__ import annotations

import contextlib
import itertools
import os

_V1 = {"memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), "pids": ("pids.max",)}
_V2 = {"memory": ("memory.max",), "pids": ("pids.max",)}
_ROOT = "/sys/fs/cgroup"
_numbers = itertools.count()


def create(memory_bytes: int, processes: int) -> dict[str, str]:
    """New groups below the caller's own, by controller ("memory", "pids"), as far as they are to be had."""
    amounts = {"memory": memory_bytes, "pids": processes}
    name = f"weft-{os.getpid()}-{next(_numbers)}"
    made: dict[str, str] = {}
    for controller, amount in amounts.items():
        for parent, files in _places(controller):
            path = f"{parent}/{name}"
            if _create(path, files, amount):
                made[controller] = path
                break
    return made


def _create(path: str, files: tuple[str, ...], amount: int) -> bool:
    try:
        os.makedirs(path, exist_ok=True)
        for number, file in enumerate(files):
            # Only the first file bounds memory itself; swap accounting is not compiled into every kernel.
            with contextlib.nullcontext() if number == 0 else contextlib.suppress(FileNotFoundError):
                _write(f"{path}/{file}", amount)
    except OSError:
        remove([path])
        return False
    return True


def _write(path: str, amount: int) -> None:
    # Without O_CREAT: a missing controller is a missing file, not a new one.
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, str(amount).encode())
    finally:
        os.close(fd)


def remove(paths: list[str]) -> None:
    """Remove groups whose processes have gone."""
    for path in paths:
        with contextlib.suppress(OSError):
            os.rmdir(path)


def _places(controller: str) -> list[tuple[str, tuple[str, ...]]]:
    """Folders below which such a group may be made, version 1 first, with the files that bound it."""
    places: list[tuple[str, tuple[str, ...]]] = []
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as lines:
        for line in lines:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                places.insert(0, (f"{_ROOT}/{controllers}{path}".rstrip("/"), _V1[controller]))
            elif controllers == "":
                places.append((f"{_ROOT}{path}".rstrip("/"), _V2[controller]))
    return places
