"""Control groups for one sandbox, where the host allows them: bounds on all its processes together."""

from __future__ import annotations

import itertools
import os

from . import marks

_V1 = {"memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), "pids": ("pids.max",)}
_V2 = {"memory": ("memory.max",), "pids": ("pids.max",)}
_ROOT = "/sys/fs/cgroup"
_numbers = itertools.count()


def create(memory_bytes: int, processes: int, name: str = "") -> dict[str, str]:
    """New groups below the caller's own, by controller ("memory", "pids"), as far as they are to be had."""
    amounts = {"memory": memory_bytes, "pids": processes}
    name = name or marks.name(marks.mark(), f"g{next(_numbers)}")
    made: dict[str, str] = {}
    for controller, amount in amounts.items():
        for parent, files in _places(controller):
            path = f"{parent}/{name}"
            if _create(path, files, amount):
                made[controller] = path
                break
    return made


def doors(groups: list[str]) -> list[str]:
    """The files through which a process enters the groups.

    A thread that moves itself waits for nobody; a process that is moved waits for every fork on the host to
    be over, which takes ten milliseconds. Version 2 knows no other.
    """
    return [f"{path}/{'tasks' if os.path.exists(f'{path}/tasks') else 'cgroup.procs'}" for path in groups]


def enter(doors: list[str]) -> None:
    """Move the calling thread, the only one of its process, through the doors of its groups."""
    for door in doors:
        _write(door, 0)


def remove(paths: list[str]) -> None:
    """Remove groups whose processes have gone."""
    for path in paths:
        try:
            os.rmdir(path)
        except OSError:
            pass


def named(name: str) -> list[str]:
    """Where `create` makes groups of that name, be they there or not."""
    found = [f"{parent}/{name}" for controller in _V1 for parent, _ in _places(controller)]
    return list(dict.fromkeys(found))


def remove_left() -> None:
    """Remove the groups of owners that have been killed together with all who would have removed them."""
    for parent in {parent for controller in _V1 for parent, _ in _places(controller)}:
        try:
            remove([f"{parent}/{each}" for each in os.listdir(parent) if marks.is_left(each)])
        except OSError:
            continue


def _create(path: str, files: tuple[str, ...], amount: int) -> bool:
    try:
        os.makedirs(path, exist_ok=True)
        _write(f"{path}/{files[0]}", amount)
        for file in files[1:]:
            # Only the first file bounds memory itself; swap accounting is not compiled into every kernel.
            try:
                _write(f"{path}/{file}", amount)
            except FileNotFoundError:
                pass
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


def _places(controller: str) -> list[tuple[str, tuple[str, ...]]]:
    """Folders below which such a group may be made, version 1 first, with the files that bound it."""
    places: list[tuple[str, tuple[str, ...]]] = []
    try:
        with open("/proc/self/cgroup") as lines:
            for line in lines:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if controller in controllers.split(","):
                    places.insert(0, (f"{_ROOT}/{controllers}{path}".rstrip("/"), _V1[controller]))
                elif controllers == "":
                    places.append((f"{_ROOT}{path}".rstrip("/"), _V2[controller]))
    except OSError:
        pass
    return places
