"""The dispatcher over machines that answer when the test says so, or never again."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from weft.agent.sandbox.fleet.dispatcher import Dispatcher, NoSandbox
from weft.agent.sandbox.fleet.events import (
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
