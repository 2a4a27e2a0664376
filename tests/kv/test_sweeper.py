from __future__ import annotations

import random
import threading
from functools import partial

import pytest

from weft.core import limits
from weft.core.errors import Unavailable
from weft.kv import Namespace
from weft.kv.memory import MemoryStore
from weft.kv.sweeper import Sweeper, rounds
from weft.testing.clock import VirtualClock
from weft.testing.kv.questions import put


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(clock: VirtualClock) -> MemoryStore:
    store = MemoryStore(clock=clock)
    store.configure(Namespace(name="n"))
    store.mutate([put(b"r%d" % number, {b"k": b"v"}, ttl_s=1) for number in range(2_500)])
    clock.advance(1 + limits.MAX_LATENESS_US / 1e6)
    return store


def test_reclaims_all_at_its_rate(store: MemoryStore, clock: VirtualClock) -> None:
    started_s = clock.monotonic_s()
    assert Sweeper(partial(rounds, store), items_per_s=1_000, clock=clock).run_once() == 2_500
    assert clock.monotonic_s() - started_s == pytest.approx(2.5)
    assert store.stats("n").stored_items == 0


def test_pauses_jitter_around_the_interval(store: MemoryStore) -> None:
    pauses = [
        Sweeper(partial(rounds, store), interval_s=10, rng=random.Random(n)).next_pause_s()
        for n in range(200)
    ]
    assert 5 <= min(pauses) < 6
    assert 14 < max(pauses) <= 15
    assert len(set(pauses)) == 200


class FlakyStore(MemoryStore):
    """Fails its first sweep, and tells when the second has run."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.sweeps = 0
        self.swept = threading.Event()

    def sweep(self, *, limit: int = 10_000) -> int:
        self.sweeps += 1
        if self.sweeps == 1:
            raise Unavailable("the disk is full")
        self.swept.set()
        return super().sweep(limit=limit)


def test_the_thread_goes_on_after_an_error_and_stops(clock: VirtualClock) -> None:
    store = FlakyStore(clock)
    with Sweeper(partial(rounds, store), interval_s=0.001, clock=clock):
        assert store.swept.wait(20)
    count = store.sweeps
    assert count >= 2
    assert not any(thread.name == "weft-sweeper" for thread in threading.enumerate())
