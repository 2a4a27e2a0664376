"""Users that own nothing of the host, one for each of root's sandboxes at a time."""

from __future__ import annotations

import os
import select

from . import kernel

# The namespaces of so many users are kept; a busy host has that many sandboxes alive, and a descriptor each.
_KEPT = 64


class Users:
    """Ids from a first one on. Each has a namespace that exchanges it with the owner of a workspace, for an
    idmapped mount. Nothing lives in that namespace, so it serves again when the id does."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._count = 0
        self._exchanges: dict[int, tuple[tuple[int, int], int]] = {}

    def take(self, first: int) -> int:
        """An id that no running sandbox of this template has."""
        if self._free:
            return self._free.pop()
        self._count += 1
        return first + self._count - 1

    def give_back(self, uid: int) -> None:
        """Its sandbox has ended."""
        self._free.append(uid)

    def exchange(self, uid: int, owner: tuple[int, int]) -> int:
        """The namespace in which the user and group of the owner change places with the id."""
        known = self._exchanges.get(uid)
        if known and known[0] == owner:
            return known[1]
        if known:
            os.close(self._exchanges.pop(uid)[1])
        fd = _namespace(_exchange(owner[0], uid), _exchange(owner[1], uid))
        self._exchanges[uid] = owner, fd
        return fd

    def forget_surplus(self) -> None:
        """Close the oldest namespaces, where there are more than are kept."""
        while len(self._exchanges) > _KEPT:
            os.close(self._exchanges.pop(next(iter(self._exchanges)))[1])


def _namespace(uid_map: str, gid_map: str) -> int:
    """A user namespace with these maps, as a descriptor; the process that it took to make it has ended."""
    parent = os.getpid()
    child = kernel.clone(kernel.CLONE_NEWUSER)
    if child == 0:
        try:
            kernel.prctl(kernel.PR_SET_PDEATHSIG, kernel.SIGKILL)
            kernel.close_all_but([])
            if os.getppid() == parent:
                select.poll().poll()  # until it is killed
        finally:
            os._exit(0)
    try:
        for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
            with open(f"/proc/{child}/{name}", "w") as file:
                file.write(text)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.kill(child, kernel.SIGKILL)
        os.waitpid(child, 0)


def _exchange(one: int, other: int) -> str:
    """An identity map of all ids but two, which change places."""
    low, high = min(one, other), max(one, other)
    lines = [(0, 0, low), (low, high, 1), (low + 1, low + 1, high - low - 1), (high, low, 1)]
    lines.append((high + 1, high + 1, 0xFFFFFFFF - high - 1))
    if low == high:
        lines = [(0, 0, 0xFFFFFFFF)]
    return "\n".join(f"{inside} {outside} {count}" for inside, outside, count in lines if count > 0)
