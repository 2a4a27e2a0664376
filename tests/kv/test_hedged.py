from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from weft.core.errors import NotFound, Unavailable
from weft.kv import Mutation, Namespace, Page
from weft.kv.memory import MemoryStore
from weft.kv.wrappers.hedged import HedgedStore, Latencies
from weft.testing.clock import VirtualClock
from weft.testing.kv.questions import read


class Gated(MemoryStore):
    """Answers when its gate is open."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.gate = threading.Event()
        self.gate.set()
        self.calls = 0
        self.down = False

    def get_items(self, *args: object, **options: object) -> Page:  # type: ignore[override]
        self._wait()
        return super().get_items(*args, **options)  # type: ignore[arg-type]

    def mutate(self, mutations: list[Mutation]) -> None:  # type: ignore[override]
        self._wait()
        super().mutate(mutations)

    def _wait(self) -> None:
        self.calls += 1
        assert self.gate.wait(30)
        if self.down:
            raise Unavailable("down")


@pytest.fixture
def stores() -> Iterator[tuple[Gated, Gated, HedgedStore]]:
    clock = VirtualClock()
    one, two = Gated(clock), Gated(clock)
    hedged = HedgedStore(one, two, floor_s=0.0001, extra_load=0.05, clock=clock)
    for number, store in enumerate((one, two)):
        store.configure(Namespace(name="n"))
        store.put_items("n", b"r", {b"k": b"%d" % number})
    for _ in range(50):
        read(hedged, b"r")
        hedged.put_items("n", b"w", {b"k": b""})
    hedged._reads, hedged._writes = _calm(), _calm()
    one.calls = two.calls = 0
    yield one, two, hedged
    for store in (one, two):
        store.gate.set()
    hedged.close()


def _calm() -> Latencies:
    """As if all calls had taken no time; the test decides when one takes long."""
    latencies = Latencies()
    for _ in range(50):
        latencies.add(0)
    return latencies


Stores = tuple[Gated, Gated, HedgedStore]


def test_a_slow_read_is_answered_by_the_second(stores: Stores) -> None:
    one, two, hedged = stores
    one.gate.clear()
    assert read(hedged, b"r") == {b"k": b"1"}
    assert (one.calls, two.calls) == (1, 1)


def test_a_slow_second_does_not_hold_up_the_first(stores: Stores) -> None:
    one, two, hedged = stores
    for store in (one, two):
        store.gate.clear()
    threading.Timer(0.02, one.gate.set).start()
    assert read(hedged, b"r") == {b"k": b"0"}


def test_a_store_that_is_down_has_not_answered(stores: Stores) -> None:
    one, two, hedged = stores
    one.down = True
    assert read(hedged, b"r") == {b"k": b"1"}
    two.down = True
    with pytest.raises(Unavailable):
        read(hedged, b"r")


def test_a_refusal_is_an_answer(stores: Stores) -> None:
    _, two, hedged = stores
    with pytest.raises(NotFound):
        hedged.get_items("missing", [b"r"])
    assert two.calls == 0


def test_the_extra_load_is_bounded(stores: Stores) -> None:
    one, two, hedged = stores
    one.down = True
    answered = 0
    for _ in range(200):
        try:
            read(hedged, b"r")
            answered += 1
        except Unavailable:
            pass
    assert two.calls == answered
    assert 10 <= answered <= 10 + 200 * 0.05


def test_a_slow_write_is_sent_again_and_both_arrive_once(stores: Stores) -> None:
    one, two, hedged = stores
    one.gate.clear()
    hedged.put_items("n", b"r", {b"k": b"new"}, event_time_us=hedged._clock.now_us() + 1)
    assert MemoryStore.get_items(two, "n", [b"r"]).items()[0].value == b"new"
    one.gate.set()
    hedged._pool.shutdown()
    assert MemoryStore.get_items(one, "n", [b"r"]) == MemoryStore.get_items(two, "n", [b"r"])


def test_the_threshold_follows_what_was_measured() -> None:
    latencies = Latencies(kept=100, needed=10)
    for number in range(9):
        latencies.add(number)
    assert latencies.quantile_s(0.5) is None
    latencies.add(9)
    assert latencies.quantile_s(0.5) == 5
    for _ in range(100):
        latencies.add(3)
    assert latencies.quantile_s(0.99) == 3
