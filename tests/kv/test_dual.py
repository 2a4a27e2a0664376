from __future__ import annotations

import random

import pytest

from weft.core import limits
from weft.core.errors import Invalid, Unavailable
from weft.core.telemetry import Metric, Silent
from weft.kv import Capability, Mutation, Namespace
from weft.kv.memory import MemoryStore
from weft.kv.wrappers.dual import JOURNAL, DualStore, Repaired
from weft.testing.clock import VirtualClock
from weft.testing.kv.questions import NAMESPACES, delete, put, read, token


class Counting(Silent):
    def __init__(self) -> None:
        self.outcomes: list[str] = []

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        self.outcomes.append(labels["outcome"])


class Killed(BaseException):
    pass


class Flaky(MemoryStore):
    """Fails, or takes the process with it, before or after it has written."""

    fault = ""

    def mutate(self, mutations: list[Mutation]) -> None:  # type: ignore[override]
        if self.fault == "before":
            raise Unavailable("down")
        if self.fault == "kill before":
            raise Killed
        super().mutate(mutations)
        if self.fault == "after":
            raise OSError("no answer")
        if self.fault == "kill after":
            raise Killed


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def primary(clock: VirtualClock) -> MemoryStore:
    store = MemoryStore(clock=clock)
    store.configure(*NAMESPACES)
    return store


@pytest.fixture
def shadow(clock: VirtualClock) -> Flaky:
    return Flaky(clock=clock)


def debts(primary: MemoryStore) -> int:
    return len(list(DualStore(primary, MemoryStore(clock=primary._clock), clock=primary._clock)._debts()))


@pytest.mark.parametrize("seed", range(20))
def test_after_a_repair_both_are_equal_however_the_shadow_or_the_process_failed(
    primary: MemoryStore, shadow: Flaky, clock: VirtualClock, seed: int
) -> None:
    rng = random.Random(seed)
    dual = DualStore(primary, shadow, clock=clock, rng=rng)
    for number in range(60):
        shadow.fault = rng.choice(["", "", "before", "after", "kill before", "kill after"])
        record = b"%d" % rng.randrange(4)
        change = put(
            record, {b"%d" % rng.randrange(4): b"%d" % number}, at_us=clock.now_us(), token=token(number)
        )
        try:
            dual.mutate(
                [change if rng.random() < 0.7 else delete(record, at_us=clock.now_us(), token=token(number))]
            )
        except Killed:
            dual = DualStore(primary, shadow, clock=clock, rng=rng)
        clock.advance(rng.choice([0, 1]))
        if rng.random() < 0.1:
            clock.jump(-1_000)
    shadow.fault = ""
    clock.advance(100_000)
    dual.repair()
    for record in range(4):
        assert shadow.get_items("n", [b"%d" % record]) == primary.get_items("n", [b"%d" % record])
    assert dual.repair().replayed == 0


def test_a_healthy_pair_keeps_one_debt(primary: MemoryStore, shadow: Flaky, clock: VirtualClock) -> None:
    dual = DualStore(primary, shadow, clock=clock)
    for number in range(20):
        dual.put_items("n", b"r", {b"k": b"%d" % number})
    assert primary.stats(JOURNAL.name).live_items == 1
    assert read(shadow, b"r") == {b"k": b"19"}
    assert dual.namespaces() == NAMESPACES


def test_failures_are_counted_and_owed(primary: MemoryStore, shadow: Flaky, clock: VirtualClock) -> None:
    recorded = Counting()
    dual = DualStore(primary, shadow, compare=True, clock=clock, recorder=recorded)
    shadow.fault = "before"
    recorded.outcomes.clear()
    for number in range(3):
        dual.put_items("n", b"%d" % number, {b"k": b"v"})
    read(dual, b"0")
    shadow.fault = ""
    assert dual.repair() == Repaired(3, 0)
    read(dual, b"0")
    assert recorded.outcomes == ["failed"] * 3 + ["different"] + ["repaired"] * 3 + ["same"]


def test_what_is_too_old_is_not_repeated(primary: MemoryStore, shadow: Flaky, clock: VirtualClock) -> None:
    dual = DualStore(primary, shadow, clock=clock)
    shadow.fault = "before"
    dual.put_items("n", b"r", {b"k": b"v"})
    shadow.fault = ""
    clock.advance(limits.MAX_LATENESS_US / 1e6 + 1)
    assert dual.repair() == Repaired(0, 1)
    assert read(shadow, b"r") == {}


def test_a_primary_that_cannot_write_the_debt_along_is_refused(clock: VirtualClock) -> None:
    class Apart(MemoryStore):
        capabilities = MemoryStore.capabilities - {Capability.ATOMIC_BATCH}

    with pytest.raises(Invalid, match="ATOMIC_BATCH"):
        DualStore(Apart(clock=clock), MemoryStore(clock=clock), clock=clock)


def test_a_namespace_that_the_shadow_missed_is_made_by_the_repair(
    primary: MemoryStore, shadow: Flaky, clock: VirtualClock
) -> None:
    dual = DualStore(primary, shadow, clock=clock)
    primary.configure(Namespace(name="new"))
    dual.put_items("new", b"r", {b"k": b"v"})
    assert dual.repair().replayed == 1
    assert read(shadow, b"r", "new") == {b"k": b"v"}
