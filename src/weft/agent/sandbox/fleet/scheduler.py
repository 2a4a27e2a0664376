"""Which request gets which box, and when boxes start, are reset and end: a step function without I/O."""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from typing import assert_never

from weft.agent.sandbox.fleet.events import (
    LEAKED,
    Cancel,
    Close,
    Decision,
    Event,
    Failed,
    Finished,
    Gone,
    Grant,
    Held,
    Member,
    Priority,
    Queued,
    Ready,
    Reason,
    Recycle,
    Reject,
    Request,
    Retire,
    Start,
    Tick,
)
from weft.agent.sandbox.fleet.members import Members
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.share import Entry, FairQueue
from weft.agent.sandbox.fleet.warm import FIRST_HOLD_US, Demand, Mean

# A request whose box fails this often will not fare better the next time.
_STARTS_PER_REQUEST = 3
_SHORTEST_RETRY_US = 100_000
_LONGEST_RETRY_US = 600_000_000
_AFTER_FAILURES_US = 10_000_000
_OVERDUE = {"leased": LEAKED, "starting": "did not open", "recycling": "did not reset"}
# What is outdated (alarms, demand) is swept out once it outnumbers what is not, and at least by so much.
_SPARE = 1_024

_Shape = tuple[str, int]


class _Box:
    __slots__ = ("member", "request", "shape", "since_us", "state")

    def __init__(self, member: str, shape: _Shape, since_us: int) -> None:
        self.member = member
        self.shape = shape
        self.state = "starting"  # then warm, leased, recycling, retiring
        self.request: _Wanted | None = None
        self.since_us = since_us


class _Wanted:
    """A request without its outcome, or with its box."""

    __slots__ = ("box", "entry", "level_us", "request", "shape", "starts")

    def __init__(self, request: Request, now_us: int) -> None:
        self.request = request
        self.shape = (request.snapshot, request.memory_bytes)
        self.entry: Entry
        self.level_us = now_us
        self.box: int | None = None
        self.starts = 0


class Scheduler:
    """All state of a fleet's queue and boxes; `step` takes an event and says what to do.

    A request is given, in fair order, a warm box of its snapshot and size, else a new one on the member with
    the most free memory; one that fits nowhere holds up those behind it, or small ones would keep it waiting
    for ever. Boxes of others that idle make room. A box that was given back is reset if somebody is likely to
    want it, and retired otherwise. Everything is O(log n), but for a member that shrinks and for `Close`.
    """

    def __init__(self, policy: Policy, *, first_box: int = 1) -> None:
        self._policy = policy
        self._queue = FairQueue(
            len(Priority),
            weights=policy.weights,
            burst=policy.burst,
            credits_per_s=policy.credits_per_s,
        )
        self._members = Members()
        self._wanted: dict[int, _Wanted] = {}
        self._boxes: dict[int, _Box] = {}
        self._warm: dict[_Shape, OrderedDict[int, None]] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()
        self._demands: dict[_Shape, Demand] = {}
        self._waiting: dict[_Shape, int] = {}
        self._stock: dict[_Shape, int] = {}
        self._bytes = {"waiting": 0, "leased": 0, "stock": 0, "retiring": 0}
        self._hold_us = Mean(FIRST_HOLD_US)
        self._numbers = itertools.count(first_box)
        self._timers: list[tuple[int, str, int, int]] = []
        self._sweep_at = _SPARE
        self._closing = False
        self._out: list[Decision] = []

    @property
    def next_tick_us(self) -> int | None:
        """When a `Tick` is due; earlier ones do no harm."""
        return self._timers[0][0] if self._timers else None

    @property
    def waiting(self) -> int:
        """Requests without an outcome that no box is being opened for."""
        return len(self._queue)

    @property
    def boxes(self) -> int:
        """Boxes of any state; zero when closed and all is given back."""
        return len(self._boxes)

    def step(self, event: Event, now_us: int) -> list[Decision]:
        """Take in what happened, at an instant no earlier than the last; carry the decisions out in order."""
        self._out = []
        self._due(now_us)
        match event:
            case Request():
                self._request(event, now_us)
            case Cancel():
                self._end(event.request, Reason.CANCELLED, None, now_us)
            case Ready():
                self._ready(event.box, now_us)
            case Finished():
                self._finished(event.request, now_us)
            case Failed():
                self._failed(event.box, event.reason, now_us)
            case Gone():
                self._gone(event.box)
            case Member():
                self._member(event, now_us)
            case Held():
                self._held(event, now_us)
            case Close():
                self._close(now_us)
            case Tick():
                pass
            case _:
                assert_never(event)
        self._dispatch(now_us)
        return self._out

    # Requests

    def _request(self, request: Request, now_us: int) -> None:
        reason, retry_us = self._refusal(request, now_us)
        if reason is not None:
            self._out.append(Reject(request.request, reason, retry_us))
            return
        wanted = self._wanted[request.request] = _Wanted(request, now_us)
        self._demand(wanted.shape, now_us).arrived(now_us)
        for home in request.homes:
            self._members.is_home(home, request.snapshot)
        cost = request.memory_bytes * self._hold_us.value
        wanted.entry = Entry(request.request, request.client, int(request.priority), cost)
        self._queue.add(wanted.entry, now_us)
        self._count_waiting(wanted, 1)
        if request.deadline_us is not None:
            self._alarm(request.deadline_us, "deadline", request.request)
        self._alarm_aging(wanted)
        self._dispatch(now_us)
        if request.request in self._queue:
            self._out.append(Queued(request.request, self._wait_us()))
        self._stock_up(wanted.shape, now_us)

    def _refusal(self, request: Request, now_us: int) -> tuple[Reason | None, int | None]:
        if self._closing:
            return Reason.CLOSING, None
        if request.request in self._wanted:
            return Reason.DUPLICATE, None
        if request.deadline_us is not None and request.deadline_us <= now_us:
            return Reason.DEADLINE, self._wait_us()
        if not self._members.largest_bytes:
            return Reason.NO_MEMBERS, _AFTER_FAILURES_US
        if request.memory_bytes > self._members.largest_bytes:
            return Reason.TOO_LARGE, None
        if len(self._queue) >= self._policy.waiting:
            own = self._queue.waiting(request.client)
            if own >= self._policy.waiting // max(1, self._queue.active + (own == 0)):
                return Reason.CLIENT_QUEUE_FULL, self._wait_us()
        return None, None

    def _wait_us(self) -> int:
        """About how long until all that waits now has its turn: Little's law over what is leased."""
        leased = max(self._bytes["leased"], 1)
        wait = self._hold_us.value * min(1e6, self._bytes["waiting"] / leased)
        return int(min(_LONGEST_RETRY_US, max(_SHORTEST_RETRY_US, wait)))

    def _end(self, number: int, reason: Reason, retry_us: int | None, now_us: int) -> None:
        """A request that has no outcome yet ends without a box; one that opens for it stays warm."""
        wanted = self._wanted.get(number)
        if wanted is None or self._is_leased(wanted):
            return
        del self._wanted[number]
        if wanted.box is None:
            self._queue.drop(number)
            self._count_waiting(wanted, -1)
        else:
            self._boxes[wanted.box].request = None
            self._count_stock(self._boxes[wanted.box], 1)
        self._out.append(Reject(number, reason, retry_us))

    def _is_leased(self, wanted: _Wanted) -> bool:
        return wanted.box is not None and self._boxes[wanted.box].state == "leased"

    # Boxes

    def _dispatch(self, now_us: int) -> None:
        while (entry := self._queue.head()) is not None:
            wanted = self._wanted[entry.key]
            if shelf := self._warm.get(wanted.shape):
                number = next(reversed(shelf))  # the one used last: its memory is still there
                self._unshelve(number)
                self._take(wanted)
                self._grant(number, wanted, now_us)
            elif member := self._members.with_room(wanted.shape):
                self._take(wanted)
                self._start(member, wanted.shape, wanted, now_us)
            else:
                self._make_room(now_us)
                return

    def _take(self, wanted: _Wanted) -> None:
        wanted.entry = self._queue.take(wanted.request.request)
        self._count_waiting(wanted, -1)

    def _grant(self, number: int, wanted: _Wanted, now_us: int) -> None:
        self._lend(number, wanted, now_us)
        self._out.append(Grant(wanted.request.request, number))
        self._stock_up(wanted.shape, now_us)

    def _lend(self, number: int, wanted: _Wanted, now_us: int) -> None:
        box = self._boxes[number]
        box.state, box.request, box.since_us, wanted.box = "leased", wanted, now_us, number
        self._bytes["leased"] += box.shape[1]
        self._alarm(now_us + self._policy.lease_us, "leased", number, now_us)

    def _held(self, event: Held, now_us: int) -> None:
        request = event.request
        wanted = self._wanted[request.request] = _Wanted(request, now_us)
        cost = request.memory_bytes * self._hold_us.value
        wanted.entry = Entry(request.request, request.client, int(request.priority), cost)
        self._boxes[event.box] = _Box(event.member, wanted.shape, now_us)
        self._members.reserve(event.member, wanted.shape)
        self._members.started(event.member)
        self._lend(event.box, wanted, now_us)

    def _start(self, member: str, shape: _Shape, wanted: _Wanted | None, now_us: int) -> None:
        number = next(self._numbers)
        box = self._boxes[number] = _Box(member, shape, now_us)
        box.request = wanted
        self._members.reserve(member, shape)
        self._alarm(now_us + self._policy.start_us, "starting", number, now_us)
        if wanted is None:
            self._count_stock(box, 1)
        else:
            wanted.box = number
            wanted.starts += 1
        self._out.append(Start(number, member, *shape))

    def _ready(self, number: int, now_us: int) -> None:
        box = self._boxes.get(number)
        if box is None or box.state not in ("starting", "recycling"):
            return
        self._members.started(box.member)
        if box.state == "starting":
            self._demand(box.shape, now_us).start_us.add(now_us - box.since_us)
        if box.request is not None:
            self._grant(number, box.request, now_us)
            return
        box.state, box.since_us = "warm", now_us
        self._warm.setdefault(box.shape, OrderedDict())[number] = None
        self._idle[number] = None
        self._alarm(now_us + self._policy.idle_us, "warm", number, now_us)
        too_many = self._bytes["stock"] > self._warm_bytes and box.shape not in self._waiting
        if self._closing or too_many or self._members.is_over(box.member):
            self._retire(number, "closing" if self._closing else "no room for it", now_us)

    def _finished(self, request: int, now_us: int) -> None:
        wanted = self._wanted.get(request)
        if wanted is None or not self._is_leased(wanted) or wanted.box is None:
            return
        number, box = wanted.box, self._boxes[wanted.box]
        self._give_back(box, now_us)
        if not self._is_useful(box, now_us) or self._members.is_over(box.member):
            self._retire(number, "nobody is likely to want it", now_us)
            return
        box.state, box.since_us = "recycling", now_us
        self._count_stock(box, 1)
        self._members.starting(box.member)
        self._alarm(now_us + self._policy.start_us, "recycling", number, now_us)
        self._out.append(Recycle(number))

    def _is_useful(self, box: _Box, now_us: int) -> bool:
        if self._closing:
            return False
        stock, waiting = self._stock.get(box.shape, 0), self._waiting.get(box.shape, 0)
        if stock < waiting:
            return True
        fits = self._bytes["stock"] + box.shape[1] <= self._warm_bytes and not self._queue
        return fits and stock < waiting + self._demand(box.shape, now_us).target(now_us)

    def _give_back(self, box: _Box, now_us: int) -> None:
        wanted = box.request
        assert wanted is not None
        held_us = now_us - box.since_us
        self._bytes["leased"] -= box.shape[1]
        self._hold_us.add(held_us)
        self._queue.correct(wanted.entry, box.shape[1] * held_us)
        box.request = None
        del self._wanted[wanted.request.request]

    def _failed(self, number: int, reason: str, now_us: int) -> None:
        box = self._boxes.get(number)
        if box is None or box.state == "retiring":
            return
        wanted = box.request
        if box.state == "leased":
            self._give_back(box, now_us)
        elif wanted is not None:
            self._start_again(wanted, now_us)
            box.request = None
            self._count_stock(box, 1)
        self._retire(number, reason, now_us)

    def _start_again(self, wanted: _Wanted, now_us: int) -> None:
        wanted.box = None
        number = wanted.request.request
        if wanted.starts == _STARTS_PER_REQUEST:
            del self._wanted[number]
            self._out.append(Reject(number, Reason.START_FAILED, _AFTER_FAILURES_US))
            return
        largest = self._members.largest_bytes
        if wanted.request.memory_bytes > largest:  # its machine has shrunk or left meanwhile
            del self._wanted[number]
            reason = Reason.TOO_LARGE if largest else Reason.NO_MEMBERS
            self._out.append(Reject(number, reason, None if largest else _AFTER_FAILURES_US))
            return
        self._queue.put_back(wanted.entry, now_us)
        self._count_waiting(wanted, 1)
        self._alarm_aging(wanted)

    def _retire(self, number: int, reason: str, now_us: int) -> None:
        box = self._boxes[number]
        if box.state == "warm":
            self._unshelve(number)
        elif box.state in ("starting", "recycling"):
            self._members.started(box.member)
            self._count_stock(box, -1)
        box.state, box.since_us = "retiring", now_us
        self._bytes["retiring"] += box.shape[1]
        self._out.append(Retire(number, reason))

    def _gone(self, number: int) -> None:
        box = self._boxes.get(number)
        if box is not None and box.state == "retiring":
            del self._boxes[number]
            self._bytes["retiring"] -= box.shape[1]
            self._members.release(box.member, box.shape[1])

    # Warm boxes

    def _unshelve(self, number: int) -> None:
        box = self._boxes[number]
        shelf = self._warm[box.shape]
        del shelf[number], self._idle[number]
        if not shelf:
            del self._warm[box.shape]
        self._count_stock(box, -1)

    def _make_room(self, now_us: int) -> None:
        """Retire what idles longest, as much as waits and is not yet on its way out."""
        while self._idle and self._bytes["retiring"] < self._bytes["waiting"]:
            self._retire(next(iter(self._idle)), "to make room", now_us)

    def _stock_up(self, shape: _Shape, now_us: int) -> None:
        """Open boxes ahead of demand, while nobody waits and the idle ones' part of the memory allows."""
        if self._queue or self._closing:
            return
        target = self._demand(shape, now_us).target(now_us)
        while self._stock.get(shape, 0) < target and self._bytes["stock"] + shape[1] <= self._warm_bytes:
            member = self._members.with_room(shape)
            if member is None:
                return
            self._start(member, shape, None, now_us)

    @property
    def _warm_bytes(self) -> float:
        """How much memory may idle."""
        return self._policy.warm_share * self._members.total_bytes

    def _demand(self, shape: _Shape, now_us: int) -> Demand:
        found = self._demands.get(shape)
        if found is None:
            if len(self._demands) >= self._sweep_at:
                self._forget_demands(now_us)
            found = self._demands[shape] = Demand(now_us)
        return found

    def _forget_demands(self, now_us: int) -> None:
        for shape, demand in list(self._demands.items()):
            if demand.is_over(now_us) and shape not in self._stock and shape not in self._waiting:
                del self._demands[shape]
                self._members.forget(shape[0])
        self._sweep_at = 2 * len(self._demands) + _SPARE

    # Members, time, the end

    def _member(self, event: Member, now_us: int) -> None:
        shrinks = self._members.change(event)
        if not shrinks:
            return
        for number in [each for each in self._idle if self._members.is_over(self._boxes[each].member)]:
            if self._members.is_over(self._boxes[number].member):
                self._retire(number, "its machine bears less than before", now_us)
        largest = self._members.largest_bytes
        reason = Reason.TOO_LARGE if largest else Reason.NO_MEMBERS
        for number, wanted in list(self._wanted.items()):
            if wanted.box is None and wanted.request.memory_bytes > largest:
                self._end(number, reason, None if largest else _AFTER_FAILURES_US, now_us)

    def _close(self, now_us: int) -> None:
        self._closing = True
        for number in list(self._wanted):
            self._end(number, Reason.CLOSING, None, now_us)
        for number in list(self._idle):
            self._retire(number, "closing", now_us)

    def _alarm(self, at_us: int, what: str, number: int, since_us: int = 0) -> None:
        heapq.heappush(self._timers, (at_us, what, number, since_us))
        if len(self._timers) > 4 * (len(self._boxes) + len(self._wanted)) + _SPARE:
            self._timers = [each for each in self._timers if self._still_means_something(each)]
            heapq.heapify(self._timers)

    def _still_means_something(self, alarm: tuple[int, str, int, int]) -> bool:
        _, what, number, since_us = alarm
        if what in ("deadline", "aging"):
            return number in self._wanted
        box = self._boxes.get(number)
        return box is not None and (box.state, box.since_us) == (what, since_us)

    def _alarm_aging(self, wanted: _Wanted) -> None:
        if wanted.entry.level:
            self._alarm(wanted.level_us + self._policy.aging_us, "aging", wanted.request.request)

    def _due(self, now_us: int) -> None:
        while self._timers and self._timers[0][0] <= now_us:
            _, what, number, since_us = heapq.heappop(self._timers)
            if what == "deadline":
                self._end(number, Reason.DEADLINE, self._wait_us(), now_us)
            elif what == "aging":
                self._age(number, now_us)
            else:
                self._overdue(what, number, since_us, now_us)

    def _age(self, number: int, now_us: int) -> None:
        wanted = self._wanted.get(number)
        if wanted is None or number not in self._queue:
            return
        if wanted.level_us + self._policy.aging_us <= now_us and wanted.entry.level:
            wanted.entry = self._queue.promote(number, now_us)
            wanted.level_us = now_us
            self._alarm_aging(wanted)

    def _overdue(self, what: str, number: int, since_us: int, now_us: int) -> None:
        """A box is still in the state that set the alarm."""
        if not self._still_means_something((0, what, number, since_us)):
            return
        if what == "warm":
            self._retire(number, "nobody wanted it", now_us)
        else:
            self._failed(number, _OVERDUE[what], now_us)

    def _count_waiting(self, wanted: _Wanted, change: int) -> None:
        _add(self._waiting, wanted.shape, change)
        self._bytes["waiting"] += change * wanted.shape[1]

    def _count_stock(self, box: _Box, change: int) -> None:
        """Boxes that are warm, or will be, and are nobody's."""
        _add(self._stock, box.shape, change)
        self._bytes["stock"] += change * box.shape[1]


def _add(counts: dict[_Shape, int], key: _Shape, change: int) -> None:
    counts[key] = counts.get(key, 0) + change
    if not counts[key]:
        del counts[key]
