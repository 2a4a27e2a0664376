"""The sandboxes of one machine: a few threads open, examine, reset and close them, as a scheduler decides."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import msgspec

from weft.agent.sandbox.fleet.events import Event, Failed, Gone, Ready
from weft.agent.sandbox.fleet.reset import Look, can_reset, look, reset
from weft.agent.sandbox.provider import DEFAULT_LIMITS, Limits, Sandbox, SandboxFailed, SandboxProvider
from weft.core.errors import WeftError


class Ground(msgspec.Struct, frozen=True):
    """What a sandbox is opened on: a folder, further ones to show, and names not to show."""

    folder: str
    toolchain: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()


class Grounds(Protocol):
    """Where a machine finds the snapshots that requests name."""

    def take(self, snapshot: str) -> Ground:
        """The snapshot on this machine, which stays as it is until `give_back`; may take long, may raise."""

    def give_back(self, snapshot: str) -> None:
        """One box fewer stands on it."""


class _Box:
    """`sandbox` is None before it has opened, and where it could not."""

    __slots__ = ("ending", "fresh", "opening", "sandbox", "snapshot", "taken")

    def __init__(self, snapshot: str) -> None:
        self.snapshot = snapshot
        self.sandbox: Sandbox | None = None
        self.fresh: Look | None = None
        self.opening = True
        self.ending = False
        self.taken = False


class Machine:
    """Does as it is told, and answers each order by an event. Orders may come twice, or late."""

    def __init__(
        self,
        provider: SandboxProvider,
        grounds: Grounds,
        report: Callable[[Event], None],
        *,
        starts_at_once: int = 2,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """`report` is called from any thread, and from within `end`."""
        self._provider = provider
        self._grounds = grounds
        self._report = report
        self._limits = limits
        self._lock = threading.Lock()
        self._boxes: dict[int, _Box] = {}
        self._ended_first: set[int] = set()
        self._workers = ThreadPoolExecutor(2 * starts_at_once, thread_name_prefix="weft-machine")

    def open(self, number: int, snapshot: str) -> None:
        """Open a box; `Ready` or `Failed` follows, unless it is ended first."""
        with self._lock:
            if number in self._ended_first:
                self._ended_first.remove(number)
                return
            if number in self._boxes:
                return
            self._boxes[number] = _Box(snapshot)
        self._workers.submit(self._open, number, self._boxes[number])

    def reset(self, number: int) -> None:
        """Bring the box back to new and prove it; `Ready`, or `Failed` where it is not."""
        self._workers.submit(self._reset, number)

    def end(self, number: int) -> None:
        """Close the box, whoever holds it; `Gone` follows."""
        with self._lock:
            box = self._boxes.get(number)
            if box is None:
                self._ended_first.add(number)
            elif box.opening or box.ending:
                box.ending = True
                return
            else:
                box.ending = True
        if box is None:
            self._report(Gone(number))
        else:
            self._workers.submit(self._close, number, box)

    def sandbox(self, number: int) -> Sandbox | None:
        """The open sandbox of that number."""
        with self._lock:
            box = self._boxes.get(number)
        return None if box is None else box.sandbox

    def healthy(self, number: int) -> bool:
        """Whether the sandbox still answers; one that idled may have been killed."""
        sandbox = self.sandbox(number)
        return sandbox is not None and answers(sandbox)

    @property
    def boxes(self) -> list[int]:
        """The numbers of all that exist, in whatever state."""
        with self._lock:
            return list(self._boxes)

    def close(self) -> None:
        """Wait for what was ordered; everything that was not ended stays open."""
        self._workers.shutdown()

    def _open(self, number: int, box: _Box) -> None:
        outcome: Event = Ready(number)
        try:
            ground = self._grounds.take(box.snapshot)
            box.taken = True
            box.sandbox, box.fresh = self._opened(ground)
        except Exception as error:
            outcome = Failed(number, _sentence(error))
        with self._lock:
            box.opening = False
        if box.ending:
            self._close(number, box)
        else:
            self._report(outcome)

    def _opened(self, ground: Ground) -> tuple[Sandbox, Look | None]:
        sandbox = self._provider.open(
            ground.folder, limits=self._limits, toolchain=ground.toolchain, hidden=ground.hidden
        )
        try:
            return sandbox, look(sandbox) if can_reset(sandbox) else None
        except BaseException:
            sandbox.close()
            raise

    def _reset(self, number: int) -> None:
        with self._lock:
            box = self._boxes.get(number)
        if box is None or box.sandbox is None:
            return
        try:
            if box.fresh is None:
                raise SandboxFailed(f"`{self._provider.name}` cannot prove a reset", hint="open a new one")
            reset(box.sandbox, box.fresh)
        except Exception as error:
            self._report(Failed(number, _sentence(error)))
        else:
            self._report(Ready(number))

    def _close(self, number: int, box: _Box) -> None:
        try:
            if box.sandbox is not None:
                box.sandbox.close()
        finally:
            if box.taken:
                self._grounds.give_back(box.snapshot)
            with self._lock:
                del self._boxes[number]
            self._report(Gone(number))


def answers(sandbox: Sandbox) -> bool:
    """Whether the sandbox is alive."""
    try:
        sandbox.stat(".")
    except SandboxFailed:
        return False
    return True


def _sentence(error: Exception) -> str:
    return error.message if isinstance(error, WeftError) else f"{error}"
