"""Control groups for one sandbox, where the host allows them: bounds on all its processes together."""

from __future__ import annotations

import itertools
import os

from . import marks

_V1 = {"memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"), "pids": ("pids.max",)}
_V2 = {"memory": ("memory.max",), "pids": ("pids.max",)}
_ROOT = "/sys/fs/cgroup"
_numbers = itertools.count()
# So many are kept that nobody is in.
_KEPT = 8


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


def remove_of(mark: str) -> None:
    """Remove the groups of templates that were killed, whose owner has this mark and lives."""
    prefix = marks.name(mark, "")
    for parent in {parent for controller in _V1 for parent, _ in _places(controller)}:
        try:
            named = [each for each in os.listdir(parent) if each.startswith(prefix)]
        except OSError:
            continue
        templates = {each: each.removeprefix(prefix).partition("-")[0] for each in named}
        dead = [
            each for each, pid in templates.items() if pid.isdigit() and not os.path.exists(f"/proc/{pid}")
        ]
        remove([f"{parent}/{each}" for each in dead])


class Stock:
    """Groups that serve again once all that was in them has ended: to make and to remove one takes a kernel
    longer than to start a process. What it still counts for the last is files in memory, which give way."""

    def __init__(self, name: str) -> None:
        """`name` begins the names of the groups."""
        self._name = name
        self._made = 0
        self._free: dict[tuple[int, int], list[dict[str, str]]] = {}

    def take(self, memory_bytes: int, processes: int) -> dict[str, str]:
        """Groups with these bounds that nobody is in, as `create` makes them."""
        free = self._free.get((memory_bytes, processes), [])
        while free:
            groups = free.pop()
            if all(map(os.path.isdir, groups.values())):
                return groups
        self._made += 1
        return create(memory_bytes, processes, f"{self._name}-{self._made}")

    def give_back(self, memory_bytes: int, processes: int, groups: dict[str, str]) -> None:
        """All that was in them has ended."""
        if len(groups) < len(_V1):
            # The next may get all of them.
            remove(list(groups.values()))
            return
        self._free.setdefault((memory_bytes, processes), []).append(groups)
        while sum(map(len, self._free.values())) > _KEPT:
            oldest = next(iter(self._free))
            remove(list(self._free[oldest].pop(0).values()))
            if not self._free[oldest]:
                del self._free[oldest]

    def remove(self) -> None:
        """Remove what nobody has taken."""
        for free in self._free.values():
            for groups in free:
                remove(list(groups.values()))
        self._free.clear()


def _create(path: str, files: tuple[str, ...], amount: int) -> bool:
    shared = os.path.isdir(path)
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
        if not shared:
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
