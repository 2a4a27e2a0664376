"""A simulated fleet: invented clients, machines and durations, a virtual clock, and schedulers to compare."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from typing import Any, Protocol

import msgspec

from weft.agent.sandbox.fleet.events import (
    Decision,
    Event,
    Finished,
    Gone,
    Grant,
    Member,
    Priority,
    Ready,
    Recycle,
    Request,
    Retire,
    Start,
    Tick,
)
from weft.agent.sandbox.fleet.members import Members
from weft.core.randomness import derived_random

BOX_BYTES = 256 << 20
BOXES_PER_MEMBER = 500
CLIENTS = 300
SPAN_S = 60.0
HOLD_S = 30.0
LOAD = 1.4
"""Asked for over what there is, on average; the bursts go far beyond."""
START_S, RESET_S, CLOSE_S = 0.030, 0.006, 0.003
_STARTS_AT_ONCE = 16
_SAMPLE_US = 2_000_000
_Party = tuple[str, Priority]
_PRIORITIES = [Priority.INTERACTIVE, Priority.NORMAL, Priority.BATCH]


class Stepping(Protocol):
    """A scheduler, as the simulation drives it."""

    def step(self, event: Event, now_us: int) -> list[Decision]:
        """Take in an event, and decide."""


class Arrival(msgspec.Struct, frozen=True):
    """A request, its instant, and for how long its box will be held."""

    at_us: int
    request: Request
    hold_us: int


class Outcome(msgspec.Struct):
    """What one scheduler made of the arrivals."""

    waits_s: dict[Priority, list[float]]
    fairness: float
    """Jain's index, over clients and priorities, of what a client held over its max-min fair part of what its
    priority held: 1 is even, 1/n is all to one."""
    utilisation: float
    """Memory held by clients over all there is, while requests arrive."""
    cold: float
    """The part of the grants that waited for their box to open."""
    peak_boxes: int


def arrivals(boxes: int, seed: int) -> list[Arrival]:
    """Clients that come in bursts, a few of them large: on and off by turns, their sizes by Pareto."""
    total = int(LOAD * boxes * SPAN_S / HOLD_S)
    sizes = derived_random(seed, "sizes")
    weights = [sizes.paretovariate(1.2) for _ in range(CLIENTS)]
    found: list[tuple[int, str, str, int, Priority]] = []
    for number, weight in enumerate(weights):
        rng = derived_random(seed, f"client {number}")
        count = round(total * weight / sum(weights))
        mix = rng.choice([(8, 2, 0), (1, 8, 1), (0, 2, 8)])
        for at_us in _bursts(rng, count):
            snapshot = f"{number}/{int(rng.paretovariate(1.5)) % 4}"
            [priority] = rng.choices(_PRIORITIES, mix)
            hold_us = int(1e6 * min(20 * HOLD_S, HOLD_S / 2 * rng.paretovariate(2.0)))
            found.append((at_us, f"client {number}", snapshot, hold_us, priority))
    found.sort()
    return [
        Arrival(at_us, Request(number, client, snapshot, BOX_BYTES, priority), hold_us)
        for number, (at_us, client, snapshot, hold_us, priority) in enumerate(found)
    ]


def _bursts(rng: random.Random, count: int) -> list[int]:
    """Instants of arrivals: while on, evenly at random; a quarter come all at once when it goes on."""
    spans: list[tuple[float, float]] = []
    at = rng.expovariate(1 / 8)
    while at < SPAN_S or not spans:
        length = rng.expovariate(1 / 5)
        spans.append((min(at, SPAN_S), min(at + length, SPAN_S)))
        at += length + rng.expovariate(1 / 15)
    instants = []
    for begin, end in rng.choices(spans, [end - begin + 1e-6 for begin, end in spans], k=count):
        instants.append(int(1e6 * (begin if rng.random() < 0.25 else rng.uniform(begin, end))))
    return instants


class Simulation:
    """Machines that do what a scheduler decides, with random durations, until every request is done."""

    def __init__(self, scheduler: Stepping, boxes: int, coming: list[Arrival], seed: int) -> None:
        self._scheduler = scheduler
        self._coming = {each.request.request: each for each in coming}
        self._rng = derived_random(seed, "machines")
        self._order = itertools.count()
        self._agenda: list[tuple[int, int, Any]] = [
            (each.at_us, next(self._order), each.request) for each in coming
        ]
        heapq.heapify(self._agenda)
        self._boxes = boxes
        self._opened: set[int] = set()
        self._running: Counter[_Party] = Counter()
        self._waiting: Counter[_Party] = Counter()
        self._held: Counter[_Party] = Counter()
        self._fair: dict[_Party, float] = {}
        self._leased: list[int] = []
        self._cold = 0
        self._outcome = Outcome({each: [] for each in Priority}, 0.0, 0.0, 0.0, 0)

    def run(self) -> Outcome:
        """Play it to the end."""
        members = max(1, self._boxes // BOXES_PER_MEMBER)
        per_member = self._boxes // members * BOX_BYTES
        for number in range(members):
            self._step(Member(f"m{number}", per_member, _STARTS_AT_ONCE), 0)
        sample_us = _SAMPLE_US
        while self._agenda:
            now_us, _, event = heapq.heappop(self._agenda)
            while sample_us <= min(now_us, int(SPAN_S * 1e6)):
                self._sample()
                self._step(Tick(), sample_us)
                sample_us += _SAMPLE_US
            self._step(event, now_us)
        assert not +self._waiting, "every request was served"
        return self._result()

    def _step(self, event: Event, now_us: int) -> None:
        if isinstance(event, Request):
            self._waiting[_party(event)] += 1
        elif isinstance(event, Finished):
            self._running[_party(self._coming[event.request].request)] -= 1
        for decision in self._scheduler.step(event, now_us):
            if isinstance(decision, Start):
                self._later(now_us, START_S, Ready(decision.box))
                self._opened.add(decision.box)
                self._outcome.peak_boxes = max(self._outcome.peak_boxes, len(self._opened))
            elif isinstance(decision, Grant):
                self._granted(decision, event, now_us)
            elif isinstance(decision, Recycle):
                self._later(now_us, RESET_S, Ready(decision.box))
            elif isinstance(decision, Retire):
                self._opened.discard(decision.box)
                self._later(now_us, CLOSE_S, Gone(decision.box))

    def _later(self, now_us: int, mean_s: float, event: Event) -> None:
        delay_us = int(1e6 * mean_s * (0.5 + self._rng.expovariate(2)))
        heapq.heappush(self._agenda, (now_us + delay_us, next(self._order), event))

    def _granted(self, grant: Grant, event: Event, now_us: int) -> None:
        arrival = self._coming[grant.request]
        request = arrival.request
        self._waiting[_party(request)] -= 1
        self._running[_party(request)] += 1
        self._outcome.waits_s[request.priority].append((now_us - arrival.at_us) / 1e6)
        self._cold += isinstance(event, Ready) and event.box == grant.box and now_us > arrival.at_us
        heapq.heappush(self._agenda, (now_us + arrival.hold_us, next(self._order), Finished(grant.request)))

    def _sample(self) -> None:
        self._leased.append(sum(self._running.values()))
        for priority in Priority:
            wanted = {at: self._running[at] + n for at, n in self._waiting.items() if at[1] is priority}
            held = sum(self._running[at] for at in wanted)
            for party, part in _fair_parts({at: n for at, n in wanted.items() if n}, held).items():
                self._fair[party] = self._fair.get(party, 0.0) + part
                self._held[party] += self._running[party]

    def _result(self) -> Outcome:
        ratios = [self._held[party] / fair for party, fair in self._fair.items() if fair]
        self._outcome.fairness = sum(ratios) ** 2 / (len(ratios) * sum(each * each for each in ratios))
        self._outcome.utilisation = sum(self._leased) / (len(self._leased) * self._boxes)
        self._outcome.cold = self._cold / len(self._coming)
        return self._outcome


def _party(request: Request) -> _Party:
    return request.client, request.priority


def _fair_parts(wanted: dict[_Party, int], total: float) -> dict[_Party, float]:
    """Max-min: nobody gets more than they want, and what that frees is shared evenly by the rest."""
    parts, left = {}, len(wanted)
    for client, want in sorted(wanted.items(), key=lambda each: each[1]):
        parts[client] = min(want, total / left)
        total -= parts[client]
        left -= 1
    return parts


class Fifo:
    """First come, first served, on the emptiest machine; each request gets a new box."""

    def __init__(self) -> None:
        self._members = Members()
        self._queue: deque[Request] = deque()
        self._numbers = itertools.count()
        self._boxes: dict[int, tuple[str, Request]] = {}
        self._leases: dict[int, int] = {}

    def step(self, event: Event, now_us: int) -> list[Decision]:
        """As a scheduler does."""
        out: list[Decision] = []
        match event:
            case Member():
                self._members.change(event)
            case Request():
                self._queue.append(event)
            case Ready():
                member, request = self._boxes[event.box]
                self._members.started(member)
                self._leases[request.request] = event.box
                out.append(Grant(request.request, event.box))
            case Finished():
                out.append(Retire(self._leases.pop(event.request), "used"))
            case Gone():
                member, request = self._boxes.pop(event.box)
                self._members.release(member, request.memory_bytes)
        while self._queue:
            shape = ("", self._queue[0].memory_bytes)
            at = self._members.with_room(shape)
            if at is None:
                break
            number = next(self._numbers)
            self._members.reserve(at, shape)
            self._boxes[number] = at, self._queue.popleft()
            out.append(Start(number, at, *shape))
        return out


class RandomPlacement:
    """Each request goes to a machine by chance, and waits there until its turn."""

    def __init__(self, seed: int) -> None:
        self._rng = derived_random(seed, "placement")
        self._queues: list[Fifo] = []
        self._at: dict[int, int] = {}

    def step(self, event: Event, now_us: int) -> list[Decision]:
        """As a scheduler does; boxes are numbered apart by their machine."""
        match event:
            case Member():
                self._queues.append(Fifo())
                return self._in(len(self._queues) - 1, event, now_us)
            case Request():
                self._at[event.request] = self._rng.randrange(len(self._queues))
                return self._in(self._at[event.request], event, now_us)
            case Finished():
                return self._in(self._at.pop(event.request), event, now_us)
            case Ready() | Gone():
                box, at = divmod(event.box, len(self._queues))
                return self._in(at, type(event)(box), now_us)
        return []

    def _in(self, at: int, event: Event, now_us: int) -> list[Decision]:
        decisions = self._queues[at].step(event, now_us)
        return [
            msgspec.structs.replace(each, box=each.box * len(self._queues) + at)
            if isinstance(each, Start | Grant | Retire)
            else each
            for each in decisions
        ]
