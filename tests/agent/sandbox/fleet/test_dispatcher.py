"""The dispatcher over machines that answer when the test says so, or never again."""

from __future__ import annotations

from concurrent.futures import Future

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weft.agent.sandbox.fleet.dispatcher import Dispatcher, NoSandbox
from weft.agent.sandbox.fleet.events import (
    Event,
    Failed,
    Finished,
    Gone,
    Grant,
    Held,
    Member,
    Priority,
    Ready,
    Request,
)
from weft.agent.sandbox.fleet.policy import Policy
from weft.core.clock import SYSTEM_CLOCK


class Silent:
    """A machine that notes its orders."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        self.orders: list[tuple[str, int]] = []

    def open(self, number: int, snapshot: str) -> None:
        self.orders.append(("open", number))

    def reset(self, number: int) -> None:
        self.orders.append(("reset", number))

    def end(self, number: int) -> None:
        self.orders.append(("end", number))


class Prompt(Silent):
    """A machine that answers from within the order."""

    def open(self, number: int, snapshot: str) -> None:
        super().open(number, snapshot)
        self.dispatcher.feed(Ready(number))

    def reset(self, number: int) -> None:
        super().reset(number)
        self.dispatcher.feed(Ready(number))

    def end(self, number: int) -> None:
        super().end(number)
        self.dispatcher.feed(Gone(number))


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher(Policy(warm_share=0.5), SYSTEM_CLOCK, first=1_000)


def ask(dispatcher: Dispatcher, snapshot: str = "s") -> tuple[int, Future[Grant]]:
    return dispatcher.request("ann", snapshot, 1, Priority.NORMAL, None)


def test_orders_that_are_answered_at_once_are_carried_out_in_turn(dispatcher: Dispatcher) -> None:
    machine = Prompt(dispatcher)
    dispatcher.join(machine, Member("m", 2, 2))
    asked = [ask(dispatcher) for _ in range(20)]
    served = 0
    while served < len(asked):
        for number, outcome in asked:
            if outcome.done() and dispatcher.place(outcome.result().box):
                dispatcher.feed(Finished(number))
        served = sum(outcome.done() for _, outcome in asked)
    dispatcher.close(0.0)
    assert dispatcher.boxes == 0
    assert dispatcher.leased == 0


def test_of_a_machine_that_leaves_nothing_counts_on(dispatcher: Dispatcher) -> None:
    """Boxes that open, are held, are reset, and are on their way out, none of which it will tell about."""
    lost, other = Silent(dispatcher), Prompt(dispatcher)
    dispatcher.join(lost, Member("lost", 4, 4))
    (held, first), (ended, second), (_, opening) = (ask(dispatcher) for _ in range(3))
    for _, box in lost.orders[:2]:
        dispatcher.feed(Ready(box))
    dispatcher.feed(Finished(ended))
    dispatcher.feed(Failed(second.result().box, "broken"))
    assert ("end", second.result().box) in lost.orders
    dispatcher.join(other, Member("other", 1, 1))
    dispatcher.leave("lost", "lost")
    assert opening.result(1).box in [box for what, box in other.orders if what == "open"], "elsewhere"
    assert dispatcher.place(first.result().box) is None
    assert dispatcher.boxes == 1
    dispatcher.feed(Finished(held))  # which comes too late, and means nothing
    # What idles makes room for another snapshot, which it would not if ends were awaited for ever.
    number, outcome = ask(dispatcher, "another")
    dispatcher.feed(Finished(opening.result().request))
    assert outcome.result(1).request == number
    dispatcher.leave("other", "lost")
    assert dispatcher.boxes == 0
    with pytest.raises(NoSandbox, match="no machine of the fleet is up"):
        ask(dispatcher)[1].result(1)


def test_a_box_that_is_ready_after_its_machine_left_is_nobodys(dispatcher: Dispatcher) -> None:
    machine = Silent(dispatcher)
    dispatcher.join(machine, Member("m", 1, 1))
    _, outcome = ask(dispatcher)
    [(_, box)] = machine.orders
    dispatcher.leave("m", "lost")
    dispatcher.feed(Ready(box))
    dispatcher.feed(Gone(box))
    assert isinstance(outcome.exception(1), NoSandbox)
    assert dispatcher.boxes == 0


def test_numbers_begin_where_it_is_told(dispatcher: Dispatcher) -> None:
    machine = Prompt(dispatcher)
    dispatcher.join(machine, Member("m", 2, 2))
    dispatcher.feed(Held(Request(7, "ann", "s", 1), 8, "m"))
    assert dispatcher.leased == 1
    assert dispatcher.place(8) == "m"
    number, outcome = ask(dispatcher)
    assert (number, outcome.result().box) == (1_000, 1_000)
    dispatcher.feed(Finished(7))
    assert dispatcher.place(8) is None or dispatcher.leased == 1


class Forgetful(Silent):
    """A machine that is answered for by the test, and gets no order once it has left."""

    def __init__(self, dispatcher: Dispatcher, memory_bytes: int) -> None:
        super().__init__(dispatcher)
        self.memory_bytes = memory_bytes
        self.left = False
        self.boxes: set[int] = set()

    def open(self, number: int, snapshot: str) -> None:
        self.noted("open", number)
        assert number not in self.boxes
        self.boxes.add(number)
        assert len(self.boxes) <= self.memory_bytes, "never more than it bears"

    def reset(self, number: int) -> None:
        self.noted("reset", number)
        assert number in self.boxes

    def end(self, number: int) -> None:
        self.noted("end", number)
        assert number in self.boxes

    def noted(self, what: str, number: int) -> None:
        assert not self.left, "nothing is asked of a machine that has left"
        self.orders.append((what, number))


class Fleets(RuleBasedStateMachine):
    """Machines come, answer in any order, and go with whatever they had; clients come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.dispatcher = Dispatcher(Policy(warm_share=0.4, burst=1), SYSTEM_CLOCK)
        self.machines: dict[str, Forgetful] = {}
        self.lost: list[Event] = []
        self.asked: dict[int, Future[Grant]] = {}
        self.finished: set[int] = set()

    @rule(name=st.sampled_from("abc"), memory_bytes=st.integers(1, 4))
    def join(self, name: str, memory_bytes: int) -> None:
        if name not in self.machines:
            self.machines[name] = Forgetful(self.dispatcher, memory_bytes)
            self.dispatcher.join(self.machines[name], Member(name, memory_bytes, 2))

    @precondition(lambda self: self.machines)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.machines)))
        machine = self.machines.pop(name)
        machine.left = True
        self.dispatcher.leave(name, "lost")
        self.lost += [
            event for box in machine.boxes for event in (Ready(box), Failed(box, "late"), Gone(box))
        ]
        assert not [box for box in machine.boxes if self.dispatcher.place(box)]

    @rule(
        client=st.sampled_from("xyz"), snapshot=st.sampled_from("st"), homes=st.sets(st.sampled_from("abc"))
    )
    def request(self, client: str, snapshot: str, homes: set[str]) -> None:
        number, outcome = self.dispatcher.request(
            client, snapshot, 1, Priority.NORMAL, None, tuple(sorted(homes))
        )
        self.asked[number] = outcome

    @precondition(lambda self: any(machine.orders for machine in self.machines.values()))
    @rule(data=st.data(), well=st.booleans())
    def answer(self, data: st.DataObject, well: bool) -> None:
        busy = sorted(name for name, machine in self.machines.items() if machine.orders)
        machine = self.machines[data.draw(st.sampled_from(busy))]
        order = data.draw(st.sampled_from(machine.orders))
        machine.orders.remove(order)
        self.reply(machine, order, well)

    def reply(self, machine: Forgetful, order: tuple[str, int], well: bool = True) -> None:
        what, box = order
        if what == "end":
            machine.boxes.remove(box)
            self.dispatcher.feed(Gone(box))
        else:
            self.dispatcher.feed(Ready(box) if well else Failed(box, "broken"))

    @precondition(lambda self: self.lost)
    @rule(data=st.data())
    def hear_of_the_lost(self, data: st.DataObject) -> None:
        before = self.dispatcher.boxes, self.dispatcher.leased
        self.dispatcher.feed(data.draw(st.sampled_from(self.lost)))
        assert (self.dispatcher.boxes, self.dispatcher.leased) == before

    @precondition(lambda self: self.held())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.held()))
        self.finished.add(number)
        self.dispatcher.feed(Finished(number))

    def held(self) -> list[int]:
        granted = [
            number for number, outcome in self.asked.items() if outcome.done() and not outcome.exception()
        ]
        return [number for number in granted if number not in self.finished]

    @invariant()
    def no_box_has_two_holders(self) -> None:
        boxes = [self.asked[number].result().box for number in self.held()]
        assert len(boxes) == len(set(boxes))
        assert self.dispatcher.leased <= len(boxes)

    @invariant()
    def who_waits_waits_for_something(self) -> None:
        if not any(machine.boxes for machine in self.machines.values()) and self.machines:
            assert all(outcome.done() for outcome in self.asked.values())

    def teardown(self) -> None:
        while (held := self.held()) or any(machine.orders for machine in self.machines.values()):
            for number in held:
                self.finish_one(number)
            for machine in self.machines.values():
                for order in list(machine.orders):
                    machine.orders.remove(order)
                    self.reply(machine, order)
        if self.machines:
            assert all(outcome.done() for outcome in self.asked.values()), "every request gets its outcome"
        for name in list(self.machines):
            self.dispatcher.leave(name, "lost")
        assert all(outcome.done() for outcome in self.asked.values())
        assert (self.dispatcher.boxes, self.dispatcher.leased, self.dispatcher.waiting) == (0, 0, 0)
        self.dispatcher.close(0.0)

    def finish_one(self, number: int) -> None:
        self.finished.add(number)
        self.dispatcher.feed(Finished(number))


TestFleets = Fleets.TestCase
