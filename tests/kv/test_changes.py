"""Following the changes ends in the state, whoever writes what, and wherever the log is cut off."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import weft.kv
from weft.core import limits
from weft.kv import (
    ALL,
    ChangesForgotten,
    Delete,
    ItemWrite,
    Keys,
    KeyValueStore,
    Mutation,
    Namespace,
    Prefix,
    Put,
    Range,
)
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.move import Moving
from weft.kv.wrappers.cached import CachedStore
from weft.kv.wrappers.routed import RoutedStore
from weft.testing.clock import VirtualClock
from weft.testing.kv.changes import Follower, read_all
from weft.testing.kv.questions import token
from weft.testing.processes import child_process

RECORDS = [b"r", b"r\x00", b"s" * 600]
NAMES = ("n", "short")
keys = st.sampled_from([b"", b"a", b"aa", b"b"])
selections = st.one_of(
    st.just(ALL),
    st.builds(lambda some: Keys(tuple(some)), st.lists(keys, max_size=3)),
    st.builds(Range, keys, st.none() | keys),
    st.builds(Prefix, keys),
)
ttls = st.none() | st.sampled_from([0.5, 10.0, 100.0])
backs_us = st.sampled_from([0, 1, 2, 5_000_000, 10_000_000])


@st.composite
def mutations(draw: st.DrawFn, now_us: int) -> Mutation:
    """Few records, keys, instants and tokens, so that many lose."""
    where = {"namespace": draw(st.sampled_from(NAMES)), "record": draw(st.sampled_from(RECORDS))}
    when = {"event_time_us": now_us - draw(backs_us), "token": token(draw(st.integers(0, 2)))}
    if draw(st.integers(0, 3)) == 0:
        return Delete(selection=draw(selections), **where, **when)
    items = draw(st.lists(st.builds(ItemWrite, keys, st.sampled_from([b"", b"v"]), ttls), max_size=4))
    return Put(items=items, record_ttl_s=draw(st.none() | ttls), **where, **when)


class FollowingMachine(RuleBasedStateMachine):
    """Followers at their own pace; logs are large, or so small that they are cut off all the time."""

    @initialize(large=st.booleans(), wrap=st.sampled_from(["memory", "lmdb", "cached", "routed"]))
    def open(self, large: bool, wrap: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = VirtualClock()
        self.home = LmdbStore.open(Path(self.folder.name) / "home", clock=self.clock)
        self.wrap = wrap
        self.store = self.wrapped()
        size = 1 << 20 if large else 70
        self.store.configure(
            Namespace(name="n", changes_bytes=size, cache_records=2),
            Namespace(name="short", changes_bytes=size, ttl_s=30, compression="none"),
        )
        self.followers = [Follower(self.store, name, limit=limit) for name in NAMES for limit in (1, 10_000)]
        self.large = large

    def wrapped(self) -> KeyValueStore:
        if self.wrap == "memory":
            return MemoryStore(clock=self.clock)
        if self.wrap == "cached":
            return CachedStore(self.home, clock=self.clock)
        if self.wrap == "routed":
            return RoutedStore(
                self.home, lambda place: weft.kv.open(place, clock=self.clock), clock=self.clock
            )
        return self.home

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for follower in self.followers:
                self.check(follower)
            self.store.close()
            self.home.close()
            self.folder.cleanup()

    @rule(data=st.data())
    def mutate(self, data: st.DataObject) -> None:
        batch = data.draw(st.lists(mutations(self.clock.now_us()), min_size=1, max_size=4))
        self.store.mutate(batch)

    @rule(data=st.data())
    def follow(self, data: st.DataObject) -> None:
        self.check(data.draw(st.sampled_from(self.followers)))

    def check(self, follower: Follower) -> None:
        follower.catch_up()
        assert follower.live(self.clock.now_us()) == read_all(self.store, follower.namespace)
        if self.large:
            assert follower.began <= 1

    @rule(name=st.sampled_from(NAMES), limit=st.integers(1, 4))
    def erase(self, name: str, limit: int) -> None:
        self.store.erase(name, limit=limit)

    @rule(limit=st.integers(1, 5))
    def sweep(self, limit: int) -> None:
        self.store.sweep(limit=limit)

    @rule(seconds=st.sampled_from([0.000001, 0.5, 5, 30, limits.MAX_LATENESS_US / 1e6 + 20]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def reopen(self) -> None:
        if self.wrap != "memory":
            self.store.close()
            self.home = LmdbStore.open(Path(self.folder.name) / "home", clock=self.clock)
            self.store = self.wrapped()
            for follower in self.followers:
                follower.store = self.store


@pytest.mark.slow
def test_followers_end_in_the_state() -> None:
    case = FollowingMachine.TestCase
    case.settings = settings(max_examples=120, stateful_step_count=30)
    case("runTest").debug()


@pytest.mark.parametrize("seed", range(8))
def test_followers_of_a_moving_namespace(tmp_path: Path, seed: int) -> None:
    """Its new home begins a log of its own, also where another namespace has moved before."""
    rng, clock = random.Random(seed), VirtualClock()
    home = LmdbStore.open(tmp_path / "home", clock=clock)
    there = LmdbStore.open(tmp_path / "there", clock=clock)
    home.configure(*(Namespace(name=name, changes_bytes=1 << 20) for name in NAMES))
    for _ in range(rng.randrange(40)):
        there.configure(Namespace(name="unrelated"))
    routed = RoutedStore(home, lambda place: there, clock=clock)
    followers = [Follower(routed, name, limit=rng.choice((1, 10_000))) for name in NAMES]
    numbers = itertools.count()

    def step(*_: object) -> None:
        for _ in range(rng.randrange(6)):
            number = next(numbers)
            where, key = rng.choice(RECORDS), b"%d" % rng.randrange(9)
            put = ItemWrite(key, b"%d" % number)
            batch: list[Mutation] = [
                Put(namespace=name, record=where, items=[put], event_time_us=0, token=token(number))
                for name in rng.sample(NAMES, rng.randrange(1, 3))
            ]
            routed.mutate(batch)
        for follower in followers:
            if rng.random() < 0.5:
                follower.catch_up()

    step()
    for name in NAMES:
        begun = there.generation()
        Moving(home, there, name, location=str(tmp_path / "there"), clock=clock, progress=step).run()
        with pytest.raises(ChangesForgotten):
            there.changes(name, after=begun + 1)
        step()
    for follower in followers:
        follower.catch_up()
        assert follower.live(clock.now_us()) == read_all(routed, follower.namespace)
        began = follower.began
        routed.put_items(follower.namespace, b"r", {b"late": b"v"})
        follower.catch_up()
        assert follower.live(clock.now_us()) == read_all(routed, follower.namespace)
        assert follower.began == began, "once it has moved, the log is followed as before"
    routed.close()


def write_for_ever(report: Callable[[object], None], folder: str, seed: int) -> None:
    """Batches of two namespaces, many of which lose, until killed."""
    rng = random.Random(seed)
    with weft.kv.open(folder) as store:
        for number in itertools.count():
            name = rng.choice(NAMES)
            where, key = b"%d" % rng.randrange(4), b"%d" % rng.randrange(6)
            if rng.random() < 0.2:
                store.delete(name, where, rng.choice((ALL, Keys((key,)), Prefix(key))))
            else:
                late_us = 1_700_000_000_000_000 + rng.randrange(100)
                store.put_items(name, where, {key: b"%d" % number}, event_time_us=late_us + number // 4)
            report(number)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_followers_of_other_processes_that_are_killed(tmp_path: Path, seed: int) -> None:
    with weft.kv.open(tmp_path, namespaces=[Namespace(name=n, changes_bytes=4_000) for n in NAMES]) as store:
        followers = [Follower(store, name) for name in NAMES]
        with child_process(write_for_ever, str(tmp_path), seed) as one:
            with child_process(write_for_ever, str(tmp_path), seed + 9) as two:
                for _ in range(60):
                    one.next_report()
                    two.next_report()
                    followers[0].catch_up()
                two.kill()
            one.kill()
        for follower in followers:
            follower.catch_up()
            assert follower.live(0) == read_all(store, follower.namespace)
