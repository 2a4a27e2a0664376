"""The scheduler against its promises, over random histories; and each promise by an example."""

from __future__ import annotations

import itertools

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

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
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.scheduler import Scheduler

SECOND_US = 1_000_000
POLICY = Policy(waiting=12, aging_us=10 * SECOND_US, burst=2, lease_us=1_000 * SECOND_US)


class Shell:
    """Does what the scheduler decides, as slowly as the test likes, and checks each decision."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self.scheduler = Scheduler(policy)
        self.now_us = 0
        self.numbers = itertools.count(1)
        self.capacity: dict[str, Member] = {}
        self.boxes: dict[int, Start] = {}
        self.state: dict[int, str] = {}  # opening, idle, leased, resetting, closing
        self.waiting: dict[int, Request] = {}
        self.outcomes: dict[int, Grant | Reject] = {}
        self.leases: dict[int, int] = {}
        self.granted: list[int] = []
        self.decisions: list[Decision] = []

    def step(self, event: Event) -> list[Decision]:
        decisions = self.scheduler.step(event, self.now_us)
        self.decisions += decisions
        for decision in decisions:
            self.carry_out(decision)
        return decisions

    def carry_out(self, decision: Decision) -> None:
        match decision:
            case Queued():
                assert decision.request in self.waiting
                assert decision.wait_us > 0
            case Reject():
                self.settle(decision)
                never = {Reason.CANCELLED, Reason.CLOSING, Reason.TOO_LARGE}
                assert (decision.retry_after_us is None) == (decision.reason in never)
            case Grant():
                request = self.waiting[decision.request]
                self.settle(decision)
                assert self.state[decision.box] in ("opened", "idle"), "a box is handed out once"
                box = self.boxes[decision.box]
                assert (box.snapshot, box.memory_bytes) == (request.snapshot, request.memory_bytes)
                assert request.deadline_us is None or self.now_us < request.deadline_us
                self.state[decision.box] = "leased"
                self.leases[decision.request] = decision.box
                self.granted.append(decision.request)
            case Start():
                assert decision.box not in self.boxes
                self.boxes[decision.box] = decision
                self.state[decision.box] = "opening"
                member = self.capacity[decision.member]
                assert self.reserved(decision.member) <= member.memory_bytes, "never above capacity"
                assert self.starting(decision.member) <= member.starts_at_once
            case Recycle():
                assert self.state[decision.box] == "returned"
                self.state[decision.box] = "resetting"
            case Retire():
                assert self.state[decision.box] != "closing"
                self.state[decision.box] = "closing"
                self.leases = {at: box for at, box in self.leases.items() if box != decision.box}

    def settle(self, outcome: Grant | Reject) -> None:
        assert outcome.request not in self.outcomes, "one outcome for each request"
        del self.waiting[outcome.request]
        self.outcomes[outcome.request] = outcome

    def reserved(self, member: str) -> int:
        return sum(box.memory_bytes for box in self.boxes.values() if box.member == member)

    def starting(self, member: str) -> int:
        busy = ("opening", "resetting")
        return sum(self.state[at] in busy for at, box in self.boxes.items() if box.member == member)

    def inside(self, *states: str) -> list[int]:
        return sorted(at for at, state in self.state.items() if state in states)

    # What happens

    def member(self, name: str, memory_bytes: int, starts_at_once: int = 100) -> None:
        self.capacity[name] = Member(name, memory_bytes, starts_at_once)
        self.step(self.capacity[name])

    def request(
        self,
        client: str = "ann",
        snapshot: str = "s",
        memory_bytes: int = 1,
        priority: Priority = Priority.NORMAL,
        deadline_us: int | None = None,
    ) -> int:
        number = next(self.numbers)
        self.waiting[number] = Request(number, client, snapshot, memory_bytes, priority, deadline_us)
        self.step(self.waiting[number])
        return number

    def held(self, member: str, **request: object) -> int:
        """A machine says that somebody holds a box since before the scheduler began."""
        number = next(self.numbers)
        wanted = Request(number, **{"client": "ann", "snapshot": "s", "memory_bytes": 1} | request)  # type: ignore[arg-type]
        box = -number
        self.boxes[box] = Start(box, member, wanted.snapshot, wanted.memory_bytes)
        self.state[box] = "leased"
        self.leases[number] = box
        self.outcomes[number] = Grant(number, box)
        self.step(Held(wanted, box, member))
        return number

    def ready(self, box: int) -> None:
        self.state[box] = "opened" if self.state[box] == "opening" else "idle"
        self.step(Ready(box))
        if self.state[box] == "opened":
            self.state[box] = "idle"

    def finish(self, request: int) -> None:
        box = self.leases.pop(request)
        self.state[box] = "returned"
        self.step(Finished(request))
        assert self.state[box] in ("resetting", "closing"), (
            "nothing goes from one holder to the next as it is"
        )

    def gone(self, box: int) -> None:
        del self.boxes[box], self.state[box]
        self.step(Gone(box))

    def wait(self, us: int) -> None:
        """Let time pass, with a tick when the scheduler asks for one."""
        end_us = self.now_us + us
        while (due_us := self.scheduler.next_tick_us) is not None and due_us <= end_us:
            self.now_us = max(self.now_us, due_us)
            self.step(Tick())
        self.now_us = end_us

    def settle_boxes(self) -> None:
        """Every machine does at once what it was told."""
        while busy := self.inside("opening", "resetting", "closing"):
            for box in busy:
                if self.state.get(box) == "closing":
                    self.gone(box)
                elif box in self.state:
                    self.ready(box)

    def drain(self) -> None:
        """Until nothing waits and nothing is held."""
        self.settle_boxes()
        while self.leases:
            self.finish(min(self.leases))
            self.settle_boxes()


requests = st.fixed_dictionaries(
    {
        "client": st.sampled_from("abc"),
        "snapshot": st.sampled_from("xy"),
        "memory_bytes": st.sampled_from([1, 1, 2, 4]),
        "priority": st.sampled_from(Priority),
    }
)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.shell = Shell()
        self.shell.member("m", 6, 3)
        self.closed = False

    @rule(request=requests, deadline_s=st.none() | st.integers(0, 30))
    def request(self, request: dict[str, object], deadline_s: int | None) -> None:
        deadline_us = None if deadline_s is None else self.shell.now_us + deadline_s * SECOND_US
        number = self.shell.request(**request, deadline_us=deadline_us)  # type: ignore[arg-type]
        if self.closed:
            assert self.shell.outcomes[number].reason is Reason.CLOSING  # type: ignore[union-attr]

    @precondition(lambda self: any(each.memory_bytes for each in self.shell.capacity.values()))
    @rule(request=requests, data=st.data())
    def held(self, request: dict[str, object], data: st.DataObject) -> None:
        up = [name for name, each in self.shell.capacity.items() if each.memory_bytes]
        self.shell.held(data.draw(st.sampled_from(sorted(up))), **request)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, 40))
        waits = number in self.shell.waiting
        self.shell.step(Cancel(number))
        assert number not in self.shell.waiting
        if waits:
            assert self.shell.outcomes[number] == Reject(number, Reason.CANCELLED, None)

    @precondition(lambda self: self.shell.inside("opening", "resetting"))
    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        self.shell.ready(data.draw(st.sampled_from(self.shell.inside("opening", "resetting"))))

    @precondition(lambda self: self.shell.leases)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self.shell.finish(data.draw(st.sampled_from(sorted(self.shell.leases))))

    @precondition(lambda self: self.shell.inside("closing"))
    @rule(data=st.data())
    def gone(self, data: st.DataObject) -> None:
        self.shell.gone(data.draw(st.sampled_from(self.shell.inside("closing"))))

    @precondition(lambda self: self.shell.boxes)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        box = data.draw(st.sampled_from(sorted(self.shell.boxes)))
        self.shell.step(Failed(box, "broken"))
        assert self.shell.state[box] == "closing"

    @rule(name=st.sampled_from("mn"), memory_bytes=st.integers(0, 9), starts=st.integers(1, 4))
    def change(self, name: str, memory_bytes: int, starts: int) -> None:
        self.shell.member(name, memory_bytes, starts)

    @rule(seconds=st.sampled_from([0, 1, 5, 11, 61, 1_001]))
    def wait(self, seconds: int) -> None:
        self.shell.wait(seconds * SECOND_US)

    @precondition(lambda self: self.shell.now_us > 100 * SECOND_US)
    @rule()
    def close(self) -> None:
        self.shell.step(Close())
        self.closed = True
        assert not self.shell.waiting
        assert not self.shell.inside("idle")

    @invariant()
    def deadlines_are_kept(self) -> None:
        for request in self.shell.waiting.values():
            assert request.deadline_us is None or request.deadline_us > self.shell.now_us

    @invariant()
    def the_queue_is_bounded(self) -> None:
        assert self.shell.scheduler.waiting <= 2 * POLICY.waiting

    @invariant()
    def what_waits_could_not_start(self) -> None:
        """Work is not held up: with something waiting, no machine is empty."""
        shell = self.shell
        if shell.scheduler.waiting and not shell.boxes:
            raise AssertionError("it waits, though everything is free")

    @invariant()
    def every_box_is_accounted_for(self) -> None:
        assert self.shell.scheduler.boxes == len(self.shell.boxes)

    def teardown(self) -> None:
        shell = self.shell
        shell.member("m", 9)
        shell.drain()
        assert not shell.waiting, "every request gets its outcome once boxes are given back"
        shell.step(Close())
        shell.settle_boxes()
        assert not shell.boxes
        assert shell.scheduler.boxes == 0
        assert set(shell.scheduler._bytes.values()) == {0}
        assert not shell.scheduler._stock
        assert not shell.scheduler._waiting
        assert not shell.scheduler._wanted


TestHistories = Histories.TestCase


def reasons(shell: Shell) -> list[Reason]:
    return [each.reason for each in shell.outcomes.values() if isinstance(each, Reject)]


def test_a_box_goes_to_the_next_only_after_it_was_reset() -> None:
    shell = Shell()
    shell.member("m", 1)
    first, second = shell.request(), shell.request()
    shell.settle_boxes()
    assert shell.granted == [first]
    shell.finish(first)
    [box] = shell.inside("resetting")
    assert shell.granted == [first]
    shell.ready(box)
    assert shell.granted == [first, second]


def test_a_box_whose_reset_fails_is_retired_and_the_next_gets_a_new_one() -> None:
    shell = Shell()
    shell.member("m", 1)
    first, second = shell.request(), shell.request()
    shell.settle_boxes()
    shell.finish(first)
    [box] = shell.inside("resetting")
    shell.step(Failed(box, "a process is left"))
    assert shell.state[box] == "closing"
    shell.settle_boxes()
    assert shell.granted == [first, second]
    assert shell.leases[second] != box


def test_a_burst_waits_in_turn_with_the_others() -> None:
    shell = Shell(Policy(burst=2, credits_per_s=0.0))
    shell.member("m", 1)
    hog = [shell.request("hog") for _ in range(50)]
    shell.settle_boxes()
    others = [shell.request(name) for name in ("ann", "bob")]
    shell.drain()
    place = [shell.granted.index(each) for each in others]
    assert max(place) <= 1 + 3 + 2, "the one that ran, its burst and one more, and each other"
    assert len(shell.granted) == len(hog) + 2


def test_weights_are_shares() -> None:
    shell = Shell(Policy(burst=0, weights={"big": 3.0}))
    shell.member("m", 1)
    names = {shell.request(name): name for _ in range(40) for name in ("big", "small")}
    shell.drain()
    first = [names[each] for each in shell.granted[:40]]
    assert abs(first.count("big") - 30) <= 2


def test_priorities_go_first_and_age() -> None:
    shell = Shell(Policy(aging_us=10 * SECOND_US, burst=0))
    shell.member("m", 1)
    held = shell.request("x")
    shell.settle_boxes()
    batch = shell.request("batch", priority=Priority.BATCH)
    shell.wait(SECOND_US)
    quick = shell.request("quick", priority=Priority.INTERACTIVE)
    shell.finish(held)
    shell.settle_boxes()
    assert shell.granted[-1] == quick
    served = 0
    for _ in range(60):  # a client that never stops asking for the highest priority
        shell.request("quick", priority=Priority.INTERACTIVE)
        shell.request("quick", priority=Priority.INTERACTIVE)
        shell.wait(SECOND_US)
        shell.finish(shell.granted[-1])
        shell.settle_boxes()
        served += 1
        if batch in shell.granted:
            break
    assert 18 <= served <= 24, "two promotions, and then its turn"


def test_the_queue_is_shared_too() -> None:
    shell = Shell(Policy(waiting=10))
    shell.member("m", 1)
    for _ in range(30):
        shell.request("hog")
    assert reasons(shell) == [Reason.CLIENT_QUEUE_FULL] * 19
    shell.request("ann")
    assert len(reasons(shell)) == 19, "another client still gets in"
    retries = {each.retry_after_us for each in shell.outcomes.values() if isinstance(each, Reject)}
    assert all(each is not None and 100_000 <= each <= 600_000_000 for each in retries)


def test_rejections_say_why_and_when() -> None:
    shell = Shell()
    shell.request()
    shell.member("m", 4)
    shell.request(memory_bytes=5)
    shell.request(deadline_us=0)
    shell.request(memory_bytes=4)
    shell.request(deadline_us=5 * SECOND_US)
    shell.wait(5 * SECOND_US)
    assert reasons(shell) == [Reason.NO_MEMBERS, Reason.TOO_LARGE, Reason.DEADLINE, Reason.DEADLINE]


def test_a_request_whose_boxes_never_open_is_told_so() -> None:
    shell = Shell()
    shell.member("m", 1)
    number = shell.request()
    for _ in range(3):
        [box] = shell.inside("opening")
        shell.step(Failed(box, "no space"))
        shell.gone(box)
    assert shell.outcomes[number] == Reject(number, Reason.START_FAILED, 10 * SECOND_US)


def test_a_lease_that_is_never_given_back_is_taken_back() -> None:
    shell = Shell()
    shell.member("m", 1)
    shell.request()
    shell.settle_boxes()
    shell.wait(1_000 * SECOND_US)
    [box] = shell.inside("closing")
    assert Retire(box, LEAKED) in shell.decisions
    shell.gone(box)
    again = shell.request()
    shell.settle_boxes()
    assert again in shell.leases


def test_a_large_request_is_not_overtaken_for_ever() -> None:
    shell = Shell()
    shell.member("m", 4)
    small = [shell.request("a") for _ in range(4)]
    shell.settle_boxes()
    large = shell.request("b", memory_bytes=4)
    for number in small:
        shell.request("c")
        shell.finish(number)
        shell.settle_boxes()
    assert shell.granted[-1] == large


def test_boxes_are_kept_warm_as_the_demand_asks_and_go_when_it_ends() -> None:
    shell = Shell(Policy(warm_share=0.5))
    shell.member("m", 20)
    for _ in range(30):
        number = shell.request()
        shell.settle_boxes()
        shell.finish(number)
        shell.settle_boxes()
        shell.wait(SECOND_US)
    assert 1 <= len(shell.inside("idle")) <= 10
    begun = len(shell.decisions)
    shell.request()
    assert isinstance(shell.decisions[begun], Grant), "at once, from the warm ones"
    shell.wait(600 * SECOND_US)
    shell.settle_boxes()
    assert not shell.inside("idle")


def test_what_idles_makes_room_for_another_snapshot() -> None:
    shell = Shell(Policy(warm_share=1.0))
    shell.member("m", 1)
    for _ in range(5):
        number = shell.request()
        shell.settle_boxes()
        shell.finish(number)
        shell.settle_boxes()
    assert shell.inside("idle")
    other = shell.request(snapshot="other")
    shell.settle_boxes()
    assert other in shell.leases


def test_nothing_is_kept_for_what_is_over() -> None:
    shell = Shell()
    shell.member("m", 2)
    for number in range(5_000):
        request = shell.request(f"client{number}", snapshot=f"snapshot{number}")
        shell.settle_boxes()
        shell.finish(request)
        shell.settle_boxes()
        shell.wait(SECOND_US)
        shell.decisions.clear()
    scheduler = shell.scheduler
    kept = [scheduler._timers, scheduler._demands, scheduler._queue._clients, scheduler._members._homes]
    assert max(map(len, kept)) < 3_000
    assert len(scheduler._members._heap) < 200


def test_a_start_that_fails_on_a_machine_that_shrank_holds_nobody_up() -> None:
    shell = Shell()
    shell.member("m", 4)
    number = shell.request(memory_bytes=4)
    shell.member("m", 1)
    [box] = shell.inside("opening")
    shell.step(Failed(box, "broken"))
    assert shell.outcomes[number] == Reject(number, Reason.TOO_LARGE, None)


def test_what_was_held_before_it_began_counts_and_comes_back() -> None:
    shell = Shell()
    shell.member("m", 2)
    old = shell.held("m", memory_bytes=2)
    new = shell.request(memory_bytes=2)
    shell.settle_boxes()
    assert not shell.granted, "the machine is full"
    shell.finish(old)
    shell.settle_boxes()
    assert shell.granted == [new]


def test_machines_that_have_the_snapshot_come_first() -> None:
    shell = Shell()
    for name in "abc":
        shell.member(name, 2)
    for _ in range(4):
        number = next(shell.numbers)
        shell.waiting[number] = Request(number, "ann", "s", 1, homes=("b", "c"))
        shell.step(shell.waiting[number])
    assert sorted(box.member for box in shell.boxes.values()) == ["b", "b", "c", "c"]
    shell.request()
    assert "a" in {box.member for box in shell.boxes.values()}, "where there is room"
