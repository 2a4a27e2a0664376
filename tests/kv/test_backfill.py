"""Writes of events long past, made now: nothing that they hide may show, whatever is swept when."""

from __future__ import annotations

import tempfile

from hypothesis import given
from hypothesis import strategies as st

from weft.core import limits
from weft.kv import Delete, Item, ItemWrite, Keys, KeyValueStore, Mutation, Namespace, Put, Range, Token
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.testing.clock import VirtualClock
from weft.testing.kv.questions import selects, sweep_all

DAY_US = 24 * 3_600 * 1_000_000
STEPS = 10
KEYS = [b"a", b"b", b"c"]

keys = st.sampled_from(KEYS)
selections = st.one_of(
    st.builds(lambda some: Keys(tuple(some)), st.lists(keys, min_size=1, max_size=2)),
    st.builds(Range, keys, st.none() | keys),
)


@st.composite
def mutations(draw: st.DrawFn, now_us: int) -> Mutation:
    """A write of an event up to forty days ago, under a token of today or of the event's day."""
    event_us = now_us - draw(st.sampled_from([0, 1, 8, 20, 30, 40])) * DAY_US
    instant_us = draw(st.sampled_from([now_us, event_us]))
    token = Token(instant_us, draw(st.integers(0, 2)).to_bytes(16, "big"))
    if draw(st.booleans()):
        selection = draw(selections)
        return Delete(namespace="n", record=b"r", selection=selection, event_time_us=event_us, token=token)
    items = draw(st.lists(st.builds(ItemWrite, keys, st.just(b"v"), st.none() | st.just(60.0)), min_size=1))
    return Put(namespace="n", record=b"r", items=items, event_time_us=event_us, token=token)


def hidden(item: Item, sent: list[Mutation], now_us: int) -> bool:
    """Whether a write to the same key that still counts, dead or alive, is newer or a delete as new."""
    return any(
        _writes(mutation, item.key)
        and (version := (mutation.event_time_us, mutation.token)) >= item.version
        and (isinstance(mutation, Delete) or version > item.version)
        and now_us < max(mutation.event_time_us, mutation.token.instant_us) + limits.MAX_LATENESS_US
        for mutation in sent
    )


def _writes(mutation: Mutation, key: bytes) -> bool:
    if isinstance(mutation, Delete):
        return selects(mutation.selection, key)
    return any(item.key == key for item in mutation.items)


def check(store: KeyValueStore, clock: VirtualClock, data: st.DataObject) -> None:
    store.configure(Namespace(name="n"))
    sent: list[Mutation] = []
    for _ in range(STEPS):
        batch = data.draw(st.lists(mutations(clock.now_us()), min_size=1, max_size=3))
        store.mutate(batch)
        sent += batch
        for _ in range(2):
            shown = store.get_items("n", [b"r"]).items()
            assert [item for item in shown if hidden(item, sent, clock.now_us())] == []
            if data.draw(st.booleans()):
                sweep_all(store)
        clock.advance(data.draw(st.sampled_from([0, 3_600, 2 * 24 * 3_600])))


@given(st.data())
def test_memory(data: st.DataObject) -> None:
    clock = VirtualClock()
    check(MemoryStore(clock=clock), clock, data)


@given(st.data())
def test_lmdb(data: st.DataObject) -> None:
    clock = VirtualClock()
    with tempfile.TemporaryDirectory() as folder, LmdbStore.open(folder, clock=clock) as store:
        check(store, clock, data)
