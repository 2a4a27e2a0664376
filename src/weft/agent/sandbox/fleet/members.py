"""The machines of a fleet: what each has free, and which is the best place for a new box."""

from __future__ import annotations

import heapq
import itertools

from weft.agent.sandbox.fleet.events import Member

# So many of the members that last opened a snapshot, and hold its files in memory, are tried first.
_HOMES = 3


class _State:
    __slots__ = ("free_bytes", "memory_bytes", "starts", "starts_at_once", "version")

    def __init__(self) -> None:
        self.memory_bytes = 0
        self.free_bytes = 0
        self.starts = 0
        self.starts_at_once = 0
        self.version = 0


class Members:
    """What is reserved where; O(log n) by a heap of members whose outdated entries are dropped when met."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self.largest_bytes = 0
        self._states: dict[str, _State] = {}
        self._heap: list[tuple[int, int, str]] = []
        self._homes: dict[str, list[str]] = {}
        self._versions = itertools.count(1)

    def change(self, member: Member) -> bool:
        """Take in what the member can bear; says whether that is less memory than before."""
        state = self._states.setdefault(member.member, _State())
        grown = member.memory_bytes - state.memory_bytes
        self.total_bytes += grown
        state.memory_bytes = member.memory_bytes
        state.free_bytes += grown
        state.starts_at_once = member.starts_at_once
        self._offer(member.member)
        self._drop_if_left(member.member)
        self.largest_bytes = max((each.memory_bytes for each in self._states.values()), default=0)
        return grown < 0

    def is_home(self, name: str, snapshot: str) -> None:
        """The member has the snapshot."""
        homes = self._homes.setdefault(snapshot, [])
        if name not in homes:
            homes.insert(0, name)
            del homes[_HOMES:]

    def forget(self, snapshot: str) -> None:
        """Nobody asks for the snapshot any longer."""
        self._homes.pop(snapshot, None)

    def with_room(self, shape: tuple[str, int]) -> str | None:
        """A member that can open the box now: one that has opened this snapshot, else the emptiest."""
        snapshot, memory_bytes = shape
        for home in self._homes.get(snapshot, ()):
            state = self._states.get(home)
            if state is not None and _can_start(state) and state.free_bytes >= memory_bytes:
                return home
        while self._heap:
            free, version, name = self._heap[0]
            state = self._states.get(name)
            if state is not None and state.version == version and _can_start(state):
                return name if -free >= memory_bytes else None
            heapq.heappop(self._heap)
        return None

    def reserve(self, name: str, shape: tuple[str, int]) -> None:
        """Set memory and a start aside for a new box."""
        snapshot, memory_bytes = shape
        state = self._states[name]
        state.free_bytes -= memory_bytes
        state.starts += 1
        self._offer(name)
        self.is_home(name, snapshot)

    def starting(self, name: str) -> None:
        """A box is being reset, which takes as much as a start."""
        self._states[name].starts += 1
        self._offer(name)

    def started(self, name: str) -> None:
        """A start or reset has ended, well or not."""
        self._states[name].starts -= 1
        self._offer(name)

    def release(self, name: str, memory_bytes: int) -> None:
        """The memory of a box is free again."""
        self._states[name].free_bytes += memory_bytes
        self._offer(name)
        self._drop_if_left(name)

    def is_over(self, name: str) -> bool:
        """Whether more is reserved than the member now bears."""
        return self._states[name].free_bytes < 0

    def _offer(self, name: str) -> None:
        state = self._states[name]
        state.version = next(self._versions)
        if _can_start(state):
            heapq.heappush(self._heap, (-state.free_bytes, state.version, name))
        if len(self._heap) > 4 * len(self._states) + 64:
            self._heap = [
                (-each.free_bytes, each.version, at) for at, each in self._states.items() if _can_start(each)
            ]
            heapq.heapify(self._heap)

    def _drop_if_left(self, name: str) -> None:
        state = self._states[name]
        if not state.memory_bytes and not state.free_bytes:
            del self._states[name]


def _can_start(state: _State) -> bool:
    return state.starts < state.starts_at_once and state.free_bytes > 0
