"""The fleet of one machine: leases of sandboxes around folders, over any provider."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, cast

import msgspec

from weft.agent.sandbox.fleet.dispatcher import Dispatcher, NoSandbox
from weft.agent.sandbox.fleet.events import Cancel, Failed, Finished, Grant, Member, Priority
from weft.agent.sandbox.fleet.machine import Ground, Machine, answers
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.provider import DEFAULT_LIMITS, Limits, Sandbox, SandboxFailed, SandboxProvider
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.telemetry import SILENT, Recorder

__all__ = ["BOX_BYTES", "NoSandbox", "Pool", "Wanted"]

_MEMBER = "here"
# Of a thousand at once each takes 2.3 MiB: the executor, and the kernel's part of namespaces and mounts. What
# commands use comes on top.
BOX_BYTES = 4 << 20
# Holders may finish a longer command before the pool closes below them.
_CLOSE_S = 60.0


class _Here:
    """A snapshot's name is the ground itself, and how often its folder has changed: nothing to fetch."""

    def take(self, snapshot: str) -> Ground:
        return msgspec.json.decode(snapshot, type=tuple[int, Ground])[1]

    def give_back(self, snapshot: str) -> None:
        pass


class Pool:
    """Leases sandboxes by priority and fair share, keeps some warm, and uses none again without a proof.

    A warm sandbox stands on the workspace as it was when it opened: a commit through a lease makes the others
    of that workspace stale, and so does `changed`, to be called after changes from outside.
    """

    def __init__(
        self,
        provider: SandboxProvider,
        *,
        memory_bytes: int,
        box_bytes: int = BOX_BYTES,
        starts_at_once: int = 2,
        policy: Policy | None = None,
        limits: Limits = DEFAULT_LIMITS,
        clock: Clock = SYSTEM_CLOCK,
        recorder: Recorder = SILENT,
    ) -> None:
        """`memory_bytes` is for all sandboxes, `box_bytes` what one of them takes, as measured."""
        self._box_bytes = box_bytes
        self._clock = clock
        self._generations: dict[str, int] = {}
        self._dispatcher = Dispatcher(policy or Policy(), clock, recorder=recorder)
        self._machine = Machine(
            provider, _Here(), self._dispatcher.feed, starts_at_once=starts_at_once, limits=limits
        )
        self._dispatcher.join(self._machine, Member(_MEMBER, memory_bytes, starts_at_once))

    @contextmanager
    def lease(
        self,
        workspace: str | os.PathLike[str],
        *,
        client: str,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
        toolchain: Iterable[str | os.PathLike[str]] = (),
        hidden: Iterable[str] = (),
    ) -> Iterator[Sandbox]:
        """A sandbox around the workspace until the block ends; `NoSandbox` where there is none in time."""
        wanted = self.request(
            workspace,
            client=client,
            priority=priority,
            deadline_s=deadline_s,
            toolchain=toolchain,
            hidden=hidden,
        )
        try:
            box = wanted.result()
        except BaseException:
            wanted.cancel()
            raise
        try:
            yield box
        finally:
            wanted.finish()

    def request(
        self,
        workspace: str | os.PathLike[str],
        *,
        client: str,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
        toolchain: Iterable[str | os.PathLike[str]] = (),
        hidden: Iterable[str] = (),
    ) -> Wanted:
        """Ask for a sandbox without waiting for it; `toolchain` and `hidden` as where one is opened."""
        root = os.path.realpath(workspace)
        ground = Ground(root, tuple(sorted(os.fspath(each) for each in toolchain)), tuple(sorted(hidden)))
        end_s = None if deadline_s is None else self._clock.monotonic_s() + deadline_s

        def ask() -> tuple[int, Future[Grant]]:
            left_s = None if end_s is None else end_s - self._clock.monotonic_s()
            with self._dispatcher.lock:
                snapshot = msgspec.json.encode((self._generations.get(root, 0), ground)).decode()
                return self._dispatcher.request(client, snapshot, self._box_bytes, priority, left_s)

        return Wanted(self, root, ask)

    def changed(self, workspace: str | os.PathLike[str]) -> None:
        """The workspace is no longer as it was: sandboxes that were opened on it are not handed out again."""
        root = os.path.realpath(workspace)
        with self._dispatcher.lock:
            self._generations[root] = self._generations.get(root, 0) + 1

    def close(self, wait_s: float = _CLOSE_S) -> None:
        """Reject what waits, and close all sandboxes: leased ones when given back, or after `wait_s`."""
        self._dispatcher.close(wait_s)
        self._machine.close()

    @property
    def open_boxes(self) -> int:
        """Sandboxes that exist, in whatever state; zero after `close`."""
        return self._dispatcher.boxes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(_CLOSE_S if error is None else 0.0)


class Wanted:
    """A request to the pool, and the lease that it becomes."""

    def __init__(self, pool: Pool, root: str, ask: Callable[[], tuple[int, Future[Grant]]]) -> None:
        self._pool = pool
        self._root = root
        self._ask = ask
        self._number, self._granted = ask()
        self._lock = threading.Lock()
        self._lease: _Lease | None = None

    def result(self, timeout_s: float | None = None) -> Sandbox:
        """Wait for the sandbox; `NoSandbox` where there is none, `TimeoutError` where the time ends first.

        It is alive: one that idled and was killed meanwhile is replaced.
        """
        with self._lock:
            while self._lease is None:
                number = self._granted.result(timeout_s).box
                box = self._pool._machine.sandbox(number)
                if box is None or answers(box):
                    self._lease = _Lease(box, lambda: self._pool.changed(self._root))
                else:
                    self._pool._dispatcher.feed(Failed(number, "the sandbox no longer answers"))
                    self._number, self._granted = self._ask()
        return cast(Sandbox, self._lease)

    def cancel(self) -> None:
        """No longer wanted, or given back if it was already granted."""
        self._pool._dispatcher.feed(Cancel(self._number))
        self.finish()

    def finish(self) -> None:
        """Give the sandbox back; what is still held of it raises from now on."""
        if self._lease is not None:
            self._lease.end()
        self._pool._dispatcher.feed(Finished(self._number))


class _Lease:
    """The sandbox, as long as it is leased."""

    def __init__(self, box: Sandbox | None, committed: Any) -> None:
        self._box = box
        self._committed = committed

    def end(self) -> None:
        self._box = None

    def close(self) -> None:
        """The lease ends with its block; the sandbox is not the holder's to close."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def commit(self) -> Any:
        changes = self._held().commit()
        if changes:
            self._committed()
        return changes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._held(), name)

    def _held(self) -> Sandbox:
        if self._box is None:
            raise SandboxFailed("the lease has ended", hint="lease a sandbox again")
        return self._box
