"""The shell of the scheduler: it knows the time, hears what happened, and has machines do what is decided."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import Future
from typing import Protocol

from weft.agent.sandbox.fleet.events import (
    Close,
    Decision,
    Event,
    Failed,
    Gone,
    Grant,
    Held,
    Member,
    Priority,
    Reason,
    Recycle,
    Reject,
    Request,
    Retire,
    Start,
    Tick,
)
from weft.agent.sandbox.fleet.meter import Meter
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.scheduler import Scheduler
from weft.core.clock import Clock
from weft.core.errors import Unavailable
from weft.core.telemetry import SILENT, Recorder


class NoSandbox(Unavailable):
    """There is no sandbox: `reason` says why, `retry_after_s` when it makes sense to try again."""

    code = "no_sandbox"

    def __init__(self, reason: Reason, retry_after_s: float | None, detail: str = "") -> None:
        hint = "as things are, trying again does not help"
        if retry_after_s is not None:
            hint = f"try again in {retry_after_s:.1f} s"
        message = f"no sandbox: {reason.value}" + (f" ({detail})" if detail else "")
        super().__init__(message, hint=hint, reason=reason.name.lower(), retry_after_s=retry_after_s)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Orders(Protocol):
    """A machine, here or elsewhere. Orders return at once; what comes of them is told by events."""

    def open(self, number: int, snapshot: str) -> None:
        """Open a box; `Ready` or `Failed` follows."""

    def reset(self, number: int) -> None:
        """Bring the box back to new; `Ready` or `Failed` follows."""

    def end(self, number: int) -> None:
        """Close the box; `Gone` follows."""


class Dispatcher:
    """Runs a scheduler over machines. Any thread may call; each request has a future of its box."""

    def __init__(self, policy: Policy, clock: Clock, *, first: int = 1, recorder: Recorder = SILENT) -> None:
        """Boxes and requests are numbered from `first`."""
        self.lock = threading.RLock()
        self.moved = threading.Condition(self.lock)
        self._scheduler = Scheduler(policy, first_box=first)
        self._meter = Meter(recorder)
        self._clock = clock
        self._numbers = itertools.count(first)
        self._events: deque[Event] = deque()
        self._busy = False
        self._pending: dict[int, Future[Grant]] = {}
        self._machines: dict[str, Orders] = {}
        self._places: dict[int, str] = {}
        self._trouble = ""
        self._closed = False
        self._timer = threading.Thread(target=self._tick, name="weft-fleet-timer", daemon=True)
        self._timer.start()

    # Machines

    def join(self, machine: Orders, offer: Member) -> None:
        """A machine has come, or can bear more or less than before."""
        with self.lock:
            self._machines[offer.member] = machine
            self.feed(offer)

    def leave(self, member: str, reason: str) -> None:
        """The machine has gone with all that ran there; who only waited for it goes on waiting."""
        with self.lock:
            self._machines.pop(member, None)
            self.feed(Member(member, 0, 0))
            for box in [box for box, at in self._places.items() if at == member]:
                self.feed(Failed(box, reason))
                self.feed(Gone(box))  # also of those that were on their way out

    def place(self, box: int) -> str | None:
        """The member that has the box."""
        with self.lock:
            return self._places.get(box)

    # Requests

    def request(
        self,
        client: str,
        snapshot: str,
        memory_bytes: int,
        priority: Priority,
        deadline_s: float | None,
        homes: tuple[str, ...] = (),
    ) -> tuple[int, Future[Grant]]:
        """Ask for a box: the request's number, and what becomes of it, a grant or `NoSandbox`."""
        with self.lock:
            number = next(self._numbers)
            outcome = self._pending[number] = Future()
            deadline_us = None if deadline_s is None else self._now_us() + int(deadline_s * 1e6)
            self.feed(Request(number, client, snapshot, memory_bytes, priority, deadline_us, homes))
        return number, outcome

    def feed(self, event: Event) -> None:
        """Something happened; the decisions are carried out before this returns."""
        with self.lock:
            self._events.append(event)
            if self._busy:  # from within an order: after what was decided before
                return
            self._busy = True
            try:
                while self._events:
                    self._step(self._events.popleft())
            finally:
                self._busy = False
            self._meter.show()
            self.moved.notify_all()

    @property
    def boxes(self) -> int:
        """Boxes of any state."""
        with self.lock:
            return self._scheduler.boxes

    @property
    def leased(self) -> int:
        """Boxes that somebody holds."""
        with self.lock:
            return len(self._meter.leased)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        with self.lock:
            return self._scheduler.waiting

    def close(self, wait_s: float) -> None:
        """Reject what waits, and end all boxes: leased ones when given back, or after `wait_s`."""
        with self.lock:
            self._closed = True
            self.feed(Close())
            if not self.moved.wait_for(lambda: not self._scheduler.boxes, wait_s):
                for number in list(self._places):
                    self.feed(Failed(number, "the pool closes"))
                self.moved.wait_for(lambda: not self._scheduler.boxes)
        self._timer.join()

    def _step(self, event: Event) -> None:
        if isinstance(event, Failed):
            self._trouble = event.reason
        elif isinstance(event, Gone):
            self._places.pop(event.box, None)
        elif isinstance(event, Held):
            self._places[event.box] = event.member
        now_us = self._now_us()
        self._meter.told(event, now_us)
        for decision in self._scheduler.step(event, now_us):
            self._meter.decided(decision, now_us)
            self._carry_out(decision)

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Grant():
                self._pending.pop(decision.request).set_result(decision)
            case Reject():
                after_us = decision.retry_after_us
                detail = self._trouble if decision.reason is Reason.START_FAILED else ""
                error = NoSandbox(decision.reason, None if after_us is None else after_us / 1e6, detail)
                self._pending.pop(decision.request).set_exception(error)
            case Start():
                self._places[decision.box] = decision.member
                self._machines[decision.member].open(decision.box, decision.snapshot)
            case Recycle():
                self._machines[self._places[decision.box]].reset(decision.box)
            case Retire():
                machine = self._machines.get(self._places[decision.box])
                if machine is None:
                    self.feed(Gone(decision.box))
                else:
                    machine.end(decision.box)

    def _now_us(self) -> int:
        return int(self._clock.monotonic_s() * 1e6)

    def _tick(self) -> None:
        with self.lock:
            while not (self._closed and not self._scheduler.boxes):
                due_us = self._scheduler.next_tick_us
                wait_s = None if due_us is None else max(0.0, (due_us - self._now_us()) / 1e6)
                if wait_s == 0.0:
                    self.feed(Tick())
                else:
                    self.moved.wait(wait_s)
