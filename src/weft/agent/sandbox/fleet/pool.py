"""The fleet of one machine: threads that do what the scheduler decides, over any provider of sandboxes."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, cast

from weft.agent.sandbox.fleet.events import (
    Cancel,
    Close,
    Decision,
    Event,
    Failed,
    Finished,
    Gone,
    Grant,
    Member,
    Priority,
    Ready,
    Reason,
    Recycle,
    Reject,
    Request,
    Retire,
    Start,
    Tick,
)
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.reset import Look, can_reset, look, reset
from weft.agent.sandbox.fleet.scheduler import Scheduler
from weft.agent.sandbox.provider import DEFAULT_LIMITS, Limits, Sandbox, SandboxFailed, SandboxProvider
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Unavailable, WeftError

_MEMBER = "here"
# The keeper, the executor and the kernel's part of namespaces and mounts; what commands use comes on top.
BOX_BYTES = 16 << 20
# Holders may finish a longer command before the pool closes below them.
_CLOSE_S = 60.0


class NoSandbox(Unavailable):
    """The pool gives no sandbox: `reason` says why, `retry_after_s` when it makes sense to try again."""

    code = "no_sandbox"

    def __init__(self, reason: Reason, retry_after_s: float | None, detail: str = "") -> None:
        hint = "as things are, trying again does not help"
        if retry_after_s is not None:
            hint = f"try again in {retry_after_s:.1f} s"
        message = f"no sandbox: {reason.value}" + (f" ({detail})" if detail else "")
        super().__init__(message, hint=hint, reason=reason.name.lower(), retry_after_s=retry_after_s)
        self.reason = reason
        self.retry_after_s = retry_after_s


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
    ) -> None:
        """`memory_bytes` is for all sandboxes, `box_bytes` what one of them takes, as measured."""
        self._provider = provider
        self._box_bytes = box_bytes
        self._limits = limits
        self._clock = clock
        self._lock = threading.RLock()
        self._moved = threading.Condition(self._lock)
        self._scheduler = Scheduler(policy or Policy())
        self._numbers = itertools.count(1)
        self._generations: dict[str, int] = {}
        self._pending: dict[int, Future[int]] = {}
        self._boxes: dict[int, tuple[Sandbox, Look | None]] = {}
        self._opening: set[int] = set()
        self._given_up: set[int] = set()
        self._trouble = ""
        self._closed = False
        self._workers = ThreadPoolExecutor(2 * starts_at_once, thread_name_prefix="weft-pool")
        self._feed(Member(_MEMBER, memory_bytes, starts_at_once))
        self._timer = threading.Thread(target=self._tick, name="weft-pool-timer", daemon=True)
        self._timer.start()

    @contextmanager
    def lease(
        self,
        workspace: str | os.PathLike[str],
        *,
        client: str,
        priority: Priority = Priority.NORMAL,
        deadline_s: float | None = None,
    ) -> Iterator[Sandbox]:
        """A sandbox around the workspace until the block ends; `NoSandbox` where there is none in time."""
        end_s = None if deadline_s is None else self._clock.monotonic_s() + deadline_s
        while True:
            left_s = None if end_s is None else end_s - self._clock.monotonic_s()
            wanted = self.request(workspace, client=client, priority=priority, deadline_s=left_s)
            try:
                box = wanted.result()
                if _is_healthy(box):
                    break
            except BaseException:
                wanted.cancel()
                raise
            wanted.finish()
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
    ) -> Wanted:
        """Ask for a sandbox without waiting for it."""
        root = os.path.realpath(workspace)
        with self._lock:
            number = next(self._numbers)
            self._pending[number] = Future()
            wanted = Wanted(self, number, root, self._pending[number])
            deadline_us = None if deadline_s is None else self._now_us() + int(deadline_s * 1e6)
            snapshot = f"{self._generations.get(root, 0)} {root}"
            self._feed(Request(number, client, snapshot, self._box_bytes, priority, deadline_us))
        return wanted

    def changed(self, workspace: str | os.PathLike[str]) -> None:
        """The workspace is no longer as it was: sandboxes that were opened on it are not handed out again."""
        root = os.path.realpath(workspace)
        with self._lock:
            self._generations[root] = self._generations.get(root, 0) + 1

    def close(self, wait_s: float = _CLOSE_S) -> None:
        """Reject what waits, and close all sandboxes: leased ones when given back, or after `wait_s`."""
        with self._lock:
            self._closed = True
            self._feed(Close())
            self._moved.notify_all()
            if not self._moved.wait_for(lambda: not self._scheduler.boxes, wait_s):
                for number in list(self._boxes):
                    self._feed(Failed(number, "the pool closes"))
                self._moved.wait_for(lambda: not self._scheduler.boxes)
        self._timer.join()
        self._workers.shutdown()

    @property
    def open_boxes(self) -> int:
        """Sandboxes that exist, in whatever state; zero after `close`."""
        with self._lock:
            return self._scheduler.boxes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(_CLOSE_S if error is None else 0.0)

    # What the scheduler is told, and what it decides

    def _now_us(self) -> int:
        return int(self._clock.monotonic_s() * 1e6)

    def _feed(self, event: Event) -> None:
        with self._lock:
            for decision in self._scheduler.step(event, self._now_us()):
                self._carry_out(decision)
            self._moved.notify_all()

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Grant():
                self._pending.pop(decision.request).set_result(decision.box)
            case Reject():
                after_us = decision.retry_after_us
                error = NoSandbox(
                    decision.reason, None if after_us is None else after_us / 1e6, self._trouble
                )
                self._pending.pop(decision.request).set_exception(error)
            case Start():
                self._opening.add(decision.box)
                self._workers.submit(self._open, decision.box, decision.snapshot.partition(" ")[2])
            case Recycle():
                self._workers.submit(self._reset, decision.box)
            case Retire():
                self._workers.submit(self._end, decision.box)

    def _tick(self) -> None:
        with self._lock:
            while not (self._closed and not self._scheduler.boxes):
                due_us = self._scheduler.next_tick_us
                wait_s = None if due_us is None else max(0.0, (due_us - self._now_us()) / 1e6)
                if wait_s == 0.0:
                    self._feed(Tick())
                else:
                    self._moved.wait(wait_s)

    # What workers do

    def _open(self, number: int, root: str) -> None:
        try:
            box = self._provider.open(root, limits=self._limits)
            try:
                fresh = look(box) if can_reset(box) else None
            except BaseException:
                box.close()
                raise
        except Exception as error:
            self._opened(number, None, None)
            self._failed(number, error)
        else:
            self._opened(number, box, fresh)
            self._feed(Ready(number))

    def _opened(self, number: int, box: Sandbox | None, fresh: Look | None) -> None:
        with self._lock:
            self._opening.remove(number)
            if box is not None:
                self._boxes[number] = box, fresh
            late = number in self._given_up
        if late:
            self._end(number)

    def _reset(self, number: int) -> None:
        box, fresh = self._boxes[number]
        try:
            if fresh is None:
                raise SandboxFailed(f"`{self._provider.name}` cannot prove a reset", hint="open a new one")
            reset(box, fresh)
        except Exception as error:
            self._failed(number, error)
        else:
            self._feed(Ready(number))

    def _failed(self, number: int, error: Exception) -> None:
        with self._lock:
            self._trouble = error.message if isinstance(error, WeftError) else f"{error}"
            self._feed(Failed(number, self._trouble))

    def _end(self, number: int) -> None:
        with self._lock:
            if number in self._opening:
                self._given_up.add(number)
                return
            self._given_up.discard(number)
            box, _ = self._boxes.pop(number, (None, None))
        try:
            if box is not None:
                box.close()
        finally:
            self._feed(Gone(number))


def _is_healthy(box: Sandbox) -> bool:
    """Whether it still answers; one that idled may have been killed."""
    try:
        box.stat(".")
    except SandboxFailed:
        return False
    return True


class Wanted:
    """A request to the pool, and the lease that it becomes."""

    def __init__(self, pool: Pool, number: int, root: str, granted: Future[int]) -> None:
        self._pool = pool
        self._number = number
        self._root = root
        self._granted = granted
        self._lease: _Lease | None = None

    def result(self, timeout_s: float | None = None) -> Sandbox:
        """Wait for the sandbox; `NoSandbox` where there is none, `TimeoutError` where the time ends first."""
        number = self._granted.result(timeout_s)
        with self._pool._lock:
            if self._lease is None:
                box = self._pool._boxes.get(number, (None, None))[0]
                self._lease = _Lease(box, lambda: self._pool.changed(self._root))
        return cast(Sandbox, self._lease)

    def cancel(self) -> None:
        """No longer wanted, or given back if it was already granted."""
        self._pool._feed(Cancel(self._number))
        self.finish()

    def finish(self) -> None:
        """Give the sandbox back; what is still held of it raises from now on."""
        if self._lease is not None:
            self._lease.end()
        self._pool._feed(Finished(self._number))


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
