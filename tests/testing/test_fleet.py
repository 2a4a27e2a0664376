"""The simulated fleet repeats by its seed, and shows what the scheduler is for."""

from __future__ import annotations

import pytest

from weft.agent.sandbox.fleet.events import Priority
from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.scheduler import Scheduler
from weft.testing.sandbox.fleet import Fifo, Outcome, RandomPlacement, Simulation, arrivals

BOXES = 1_000


def simulated(seed: int) -> dict[str, Outcome]:
    coming = arrivals(BOXES, seed)
    schedulers = {
        "weft": Scheduler(Policy(waiting=len(coming))),
        "fifo": Fifo(),
        "random": RandomPlacement(seed),
    }
    return {name: Simulation(each, BOXES, coming, seed).run() for name, each in schedulers.items()}


def p95(outcome: Outcome, priority: Priority) -> float:
    waits = sorted(outcome.waits_s[priority])
    return waits[len(waits) * 95 // 100]


def test_a_seed_explains_everything() -> None:
    coming = arrivals(500, 7)
    assert coming == arrivals(500, 7) != arrivals(500, 8)
    first, second = (Simulation(Scheduler(Policy(waiting=9_999)), 500, coming, 7).run() for _ in range(2))
    assert first == second


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_who_is_waited_for_waits_less_and_clients_hold_even_parts(seed: int) -> None:
    outcomes = simulated(seed)
    weft, fifo = outcomes["weft"], outcomes["fifo"]
    assert p95(fifo, Priority.INTERACTIVE) > 1.0, "the fleet is too small for what comes"
    assert p95(weft, Priority.INTERACTIVE) < p95(fifo, Priority.INTERACTIVE) / 2
    assert weft.fairness > fifo.fairness
    assert weft.utilisation > 0.98 * fifo.utilisation
    assert weft.cold < 1
    assert all(each.peak_boxes <= BOXES for each in outcomes.values())
