"""The lock table: nobody is hurt by another's flight."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread

import pytest

from weft.authz.serving.flights import Flights
from weft.core.telemetry import SILENT


class Stopped(BaseException):
    """Like an interrupt: nobody catches it on the way."""


def in_flight(flights: Flights[int], work: Callable[[], int]) -> tuple[Thread, list[object]]:
    """A leader, in a thread of its own, and what becomes of it."""
    outcome: list[object] = []

    def lead() -> None:
        try:
            outcome.append(flights.run("key", work, lambda _: True))
        except (Stopped, ValueError) as error:
            outcome.append(error)

    thread = Thread(target=lead)
    thread.start()
    return thread, outcome


@pytest.mark.parametrize("error", [ValueError("failed"), Stopped()])
def test_a_leader_that_fails_or_is_stopped_takes_nobody_along(error: BaseException) -> None:
    flights: Flights[int] = Flights(SILENT, patience_s=30)
    began, go_on = Event(), Event()

    def work() -> int:
        began.set()
        assert go_on.wait(30)
        raise error

    leader, led = in_flight(flights, work)
    assert began.wait(30)
    waiter, waited = in_flight(flights, lambda: 7)
    go_on.set()
    leader.join(30)
    waiter.join(30)
    assert (led, waited) == ([error], [7])
    assert flights.run("key", lambda: 8, lambda _: True) == 8, "the next one begins anew"
    assert not flights._flights


def test_who_gives_up_waiting_leaves_the_leader_alone() -> None:
    flights: Flights[int] = Flights(SILENT, patience_s=0.01)
    began, go_on = Event(), Event()

    def work() -> int:
        began.set()
        assert go_on.wait(30)
        return 1

    leader, led = in_flight(flights, work)
    assert began.wait(30)
    assert flights.run("key", lambda: 7, lambda _: True) == 7
    assert not led
    go_on.set()
    leader.join(30)
    assert led == [1]


def test_a_result_that_does_not_suit_is_not_taken() -> None:
    flights: Flights[int] = Flights(SILENT, patience_s=30)
    began, go_on = Event(), Event()

    def work() -> int:
        began.set()
        assert go_on.wait(30)
        return 1

    leader, led = in_flight(flights, work)
    assert began.wait(30)
    answers: list[int] = []
    waiter = Thread(target=lambda: answers.append(flights.run("key", lambda: 2, lambda result: result > 1)))
    waiter.start()
    go_on.set()
    waiter.join(30)
    leader.join(30)
    assert (led, answers) == ([1], [2])


def test_an_interrupted_waiter_leaves_the_leader_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    flights: Flights[int] = Flights(SILENT, patience_s=30)
    began, go_on = Event(), Event()

    def work() -> int:
        began.set()
        assert go_on.wait(30)
        return 1

    leader, led = in_flight(flights, work)
    assert began.wait(30)
    [flight] = flights._flights.values()

    def interrupted(timeout: float | None = None) -> bool:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(flight.landed, "wait", interrupted)
        with pytest.raises(Stopped):
            flights.run("key", lambda: 7, lambda _: True)
    go_on.set()
    leader.join(30)
    assert led == [1]
