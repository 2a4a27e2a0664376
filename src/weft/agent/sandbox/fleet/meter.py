"""What a fleet tells about itself: it watches what the scheduler is told and what it decides."""

from __future__ import annotations

from weft.agent.sandbox.fleet.events import (
    LEAKED,
    Decision,
    Event,
    Failed,
    Gone,
    Grant,
    Held,
    Priority,
    Ready,
    Recycle,
    Reject,
    Request,
    Retire,
    Start,
)
from weft.core.telemetry import (
    SANDBOX_FAILED,
    SANDBOX_LEAKED,
    SANDBOX_QUEUE_SECONDS,
    SANDBOX_RECYCLED,
    SANDBOX_START_SECONDS,
    SANDBOXES,
    Recorder,
)


class Meter:
    """Durations as they end, counts as they rise, and how many boxes there are."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._asked: dict[int, tuple[int, Priority]] = {}
        self._begun: dict[int, tuple[int, str]] = {}
        self.alive: set[int] = set()
        self.idle: set[int] = set()
        self.leased: set[int] = set()

    def told(self, event: Event, now_us: int) -> None:
        """Before the scheduler takes it in."""
        match event:
            case Request():
                self._asked[event.request] = now_us, event.priority
            case Ready() if event.box in self._begun:
                begun_us, how = self._begun.pop(event.box)
                self._recorder.observe(SANDBOX_START_SECONDS, (now_us - begun_us) / 1e6, how=how)
                self.idle.add(event.box)
                if how == "reset":
                    self._recorder.count(SANDBOX_RECYCLED)
            case Failed() if event.reason != LEAKED and (event.box in self.idle or event.box in self.leased):
                self._recorder.count(SANDBOX_FAILED)
            case Gone():
                self.alive.discard(event.box)
            case Held():
                self.alive.add(event.box)
                self.leased.add(event.box)

    def decided(self, decision: Decision, now_us: int) -> None:
        """Before it is carried out."""
        match decision:
            case Start():
                self.alive.add(decision.box)
                self._begun[decision.box] = now_us, "open"
            case Recycle():
                self.leased.discard(decision.box)
                self._begun[decision.box] = now_us, "reset"
            case Grant():
                asked_us, priority = self._asked.pop(decision.request)
                waited_s = (now_us - asked_us) / 1e6
                self._recorder.observe(SANDBOX_QUEUE_SECONDS, waited_s, priority=priority.name.lower())
                self.idle.discard(decision.box)
                self.leased.add(decision.box)
            case Reject():
                self._asked.pop(decision.request, None)
            case Retire():
                if decision.reason == LEAKED:
                    self._recorder.count(SANDBOX_LEAKED)
                elif self._begun.pop(decision.box, None) is not None:
                    self._recorder.count(SANDBOX_FAILED)
                self.idle.discard(decision.box)
                self.leased.discard(decision.box)

    def show(self) -> None:
        """Set the gauges."""
        for state, boxes in (("alive", self.alive), ("idle", self.idle), ("leased", self.leased)):
            self._recorder.observe(SANDBOXES, len(boxes), state=state)
