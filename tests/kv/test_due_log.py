"""The log of what falls due: few entries a batch, and nothing is looked at often or reclaimed late."""

from __future__ import annotations

import random

import pytest

from weft.kv import Keys, Namespace
from weft.kv.lmdb import LmdbStore
from weft.kv.lmdb_rows import Rows
from weft.kv.lmdb_sweep import Sweep
from weft.testing.clock import START_US, VirtualClock
from weft.testing.kv.questions import delete, put, sweep_all, token

ITEMS = 1_000
LONG_AGO_US = START_US - 90 * 24 * 3_600 * 1_000_000
"""So long that an item is forgotten at the instant it expires."""
SWEEP_EVERY_S = 60
AGE_S = (START_US - LONG_AGO_US) / 1e6


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def store(tmp_path, clock):
    with LmdbStore.open(tmp_path / "store", clock=clock) as store:
        store.configure(Namespace(name="n"))
        yield store


def old(record, key, *, ttl_s, later_us=0):
    at_us = LONG_AGO_US + later_us
    return put(record, {key: b"v"}, at_us=at_us, ttl_s=ttl_s, token=token(0, at_us))


def expiring(spread_s, rng):
    """One put per item, expiring within `spread_s` from now, and when each does."""
    after_s = [rng.uniform(1, spread_s) for _ in range(ITEMS)]
    puts = [old(b"r%d" % (n % 9), b"%d" % n, ttl_s=AGE_S + one) for n, one in enumerate(after_s)]
    return puts, sorted(after_s)


def entries(store):
    with store._env.read() as txn:
        return txn.stat(db=Rows(store._handles, txn).due)["entries"]


@pytest.mark.parametrize("spread_s", [5, 3_600, 60 * 24 * 3_600])
def test_a_batch_makes_few_entries_however_far_it_reaches(store, spread_s):
    puts, _ = expiring(spread_s, random.Random(1))
    store.mutate(puts)
    assert 1 < entries(store) <= 16


def test_deletes_of_one_instant_are_kept_apart_batch_by_batch(store):
    for number in range(5):
        store.mutate([delete(b"r", Keys((b"%d" % number,)), token=token(number))])
    assert entries(store) == 5


@pytest.mark.parametrize("spread_s", [50, 3_600, 60 * 24 * 3_600])
def test_everything_is_reclaimed_when_it_is_due_and_looked_at_a_few_times(
    store, clock, spread_s, monkeypatch
):
    looked_at = []
    sweep_items = Sweep._sweep_items
    monkeypatch.setattr(
        Sweep,
        "_sweep_items",
        lambda self, due, keys: looked_at.append(len(keys)) or sweep_items(self, due, keys),
    )
    puts, ends_s = expiring(spread_s, random.Random(2))
    store.mutate(puts)
    steps = min(400, 1 + spread_s // SWEEP_EVERY_S)
    for step in range(1, steps + 1):
        clock.advance(spread_s / steps)
        gone = sum(1 for end_s in ends_s if end_s <= step * spread_s / steps)
        store.sweep()
        assert store.stats("n").stored_items == ITEMS - gone
    assert entries(store) == 0
    assert ITEMS <= sum(looked_at) <= 4 * ITEMS


def test_what_was_overwritten_is_swept_when_its_new_expiry_says(store, clock):
    store.mutate([old(b"r", b"k", ttl_s=AGE_S + 10)])
    store.mutate([old(b"r", b"k", ttl_s=AGE_S + 1_000, later_us=1)])
    clock.advance(11)
    assert sweep_all(store) == 0
    clock.advance(1_000)
    assert sweep_all(store) == 1
    assert store.stats("n").stored_items == 0
