"""Every store and wrapper against the reference, under random operations at random times."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from weft.core import limits
from weft.core.telemetry import SILENT
from weft.kv import (
    ALL,
    Delete,
    Item,
    ItemWrite,
    Keys,
    KeyValueStore,
    Mutation,
    Namespace,
    PageLimits,
    Prefix,
    Put,
    Range,
)
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.wrappers.cached import CachedStore
from weft.kv.wrappers.observed import ObservedStore
from weft.testing.clock import VirtualClock
from weft.testing.kv.questions import read_pages, scan, sweep_all, token

NAMESPACES = [
    Namespace(name="n", cache_records=2),
    Namespace(name="short", ttl_s=30, compression="none", cache_records=1),
]
RECORDS = [b"r", b"r\x00", b"s" * 600]
LATENESS_S = limits.MAX_LATENESS_US / 1e6
WINDOW_US = 60_000_000
"""Event times lie this far back at most, so that none is later than tombstones live."""

keys = st.sampled_from([b"", b"a", b"a\x00", b"aa", b"b", b"\xff"])
selections = st.one_of(
    st.just(ALL),
    st.builds(lambda some: Keys(tuple(some)), st.lists(keys, max_size=3)),
    st.builds(Range, keys, st.none() | keys),
    st.builds(Prefix, keys),
)
ttls = st.none() | st.sampled_from([0.5, 10.0, 20.0, 100.0])
values = st.sampled_from([b"", b"v", b"w", b"x" * 600, b"y" * 700])
records = st.sampled_from(RECORDS)
names = st.sampled_from([namespace.name for namespace in NAMESPACES])
tokens = st.integers(0, 2).map(token)
# Few distinct instants, so that ties are frequent.
backs_us = st.sampled_from([0, 1, 2, 5_000_000, 10_000_000, WINDOW_US])
pages = st.sampled_from([PageLimits(items=1), PageLimits(items=3), PageLimits(bytes=5), PageLimits()])


@st.composite
def mutations(draw: st.DrawFn, now_us: int) -> Mutation:
    """A put or delete at an event time in the window before `now_us`."""
    where = {"namespace": draw(names), "record": draw(records)}
    when = {"event_time_us": now_us - draw(backs_us), "token": draw(tokens)}
    if draw(st.integers(0, 3)) == 0:
        return Delete(selection=draw(selections), **where, **when)
    items = draw(st.lists(st.builds(ItemWrite, keys, values, ttls), max_size=4))
    return Put(items=items, record_ttl_s=draw(st.none() | ttls), **where, **when)


class StoreMachine(RuleBasedStateMachine):
    """Applies everything to the store under test and to the reference, and compares what they answer."""

    wrap: ClassVar[Callable[[KeyValueStore, VirtualClock], KeyValueStore]] = staticmethod(
        lambda store, _: store
    )

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = VirtualClock()
        self.reference: KeyValueStore = MemoryStore(clock=self.clock)
        self.open_store()
        for namespace in NAMESPACES:
            self.reference.configure(namespace)
            self.store.configure(namespace)
        self.sent: list[list[Mutation]] = []

    def open_store(self) -> None:
        self.inner = LmdbStore.open(Path(self.folder.name) / "store", clock=self.clock)
        self.store = self.wrap(self.inner, self.clock)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    @rule(data=st.data(), around=st.booleans())
    def mutate(self, data: st.DataObject, around: bool) -> None:
        batch = data.draw(st.lists(mutations(self.clock.now_us()), min_size=1, max_size=4))
        self.sent.append(batch)
        self.reference.mutate(batch)
        (self.inner if around else self.store).mutate(batch)

    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """A retry, to one side only: it changes nothing."""
        if self.sent:
            self.store.mutate(data.draw(st.sampled_from(self.sent)))

    @rule(namespace=names, selection=selections, reverse=st.booleans(), limit=st.none() | st.integers(1, 3))
    def get(
        self,
        namespace: str,
        selection: Keys | Range | Prefix,
        reverse: bool,
        limit: int | None,
    ) -> None:
        for ask in (RECORDS, RECORDS[:1]):
            expected = self.reference.get_items(
                namespace, ask, selection, reverse=reverse, limit_per_record=limit
            )
            found = self.store.get_items(namespace, ask, selection, reverse=reverse, limit_per_record=limit)
            assert found == expected

    @rule(namespace=names, selection=selections, reverse=st.booleans(), page=pages)
    def get_pages(
        self, namespace: str, selection: Keys | Range | Prefix, reverse: bool, page: PageLimits
    ) -> None:
        expected: list[list[list[tuple[bytes, Item]]]] = [
            read_pages(store, RECORDS, selection, page=page, namespace=namespace, reverse=reverse)
            for store in (self.reference, self.store)
        ]
        assert expected[0] == expected[1]

    @rule(namespace=names)
    def scan(self, namespace: str) -> None:
        found = scan(self.store, namespace, page_items=2)
        assert sorted(found) == sorted(scan(self.reference, namespace))
        one, two = self.store.stats(namespace), self.reference.stats(namespace)
        assert (one.records, one.live_items) == (two.records, two.live_items)

    @rule(seconds=st.sampled_from([0.000001, 0.5, 5, 10, 30, 60]))
    def let_time_pass(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def let_a_week_pass(self) -> None:
        self.clock.advance(LATENESS_S + WINDOW_US / 1e6)
        self.sent.clear()

    @rule(limit=st.integers(1, 5))
    def sweep_the_store(self, limit: int) -> None:
        self.store.sweep(limit=limit)

    @rule()
    def sweep_the_reference(self) -> None:
        self.reference.sweep()

    @rule()
    def sweep_both(self) -> None:
        sweep_all(self.store)
        sweep_all(self.reference)
        for namespace in NAMESPACES:
            one, two = self.store.stats(namespace.name), self.reference.stats(namespace.name)
            assert one.stored_items == two.stored_items

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.open_store()


class CachedMachine(StoreMachine):
    wrap = staticmethod(lambda store, clock: CachedStore(store, clock=clock))


class WrappedMachine(StoreMachine):
    wrap = staticmethod(
        lambda store, clock: ObservedStore(CachedStore(store, clock=clock), SILENT, clock=clock)
    )


@pytest.mark.slow
@pytest.mark.parametrize("machine", [StoreMachine, CachedMachine, WrappedMachine])
def test_agrees_with_the_reference(machine: type[StoreMachine]) -> None:
    case = machine.TestCase
    case.settings = settings(max_examples=40, stateful_step_count=30)
    case("runTest").debug()
