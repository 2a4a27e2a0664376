"""Versions: which of two writes wins, in any order of arrival."""

from __future__ import annotations

import pytest

from weft.core import limits
from weft.kv import (
    ALL,
    ItemWrite,
    Keys,
    KeyValueStore,
    Mutation,
    Prefix,
    Put,
    Range,
    Selection,
)
from weft.testing.clock import START_US
from weft.testing.kv.fixtures import Backend, KeyValueStoreFixtures
from weft.testing.kv.questions import (
    change,
    change_record,
    delete,
    put,
    read,
    scan,
    sweep_all,
    token,
)

LONG_AGO_US = START_US - 30 * 24 * 3_600 * 1_000_000


class VersionContract(KeyValueStoreFixtures):
    """The later event wins; repetition changes nothing."""

    def test_the_later_event_wins_in_any_order(self, store: KeyValueStore) -> None:
        for record, order in ((b"r", (1, 2, 3)), (b"s", (3, 2, 1)), (b"t", (2, 3, 1))):
            for at in order:
                store.mutate([put(record, {b"k": b"%d" % at}, at_us=START_US + at)])
            assert read(store, record) == {b"k": b"3"}

    @pytest.mark.parametrize("apart", [True, False])
    def test_equal_events_are_settled_the_same_way(self, store: KeyValueStore, apart: bool) -> None:
        ties: list[tuple[Mutation, Mutation, dict[bytes, bytes]]] = [
            (put(b"r", {b"k": b"a"}, token=token(2)), put(b"r", {b"k": b"b"}, token=token(1)), {b"k": b"a"}),
            (put(b"r", {b"k": b"a"}), put(b"r", {b"k": b"b"}), {b"k": b"b"}),
            (put(b"r", {b"k": b"a"}), put(b"r", {b"k": b"ab"}), {b"k": b"ab"}),
            (
                put(b"r", {b"k": b"a" * 5_000}),
                put(b"r", {b"k": b"a" * 4_999 + b"b"}),
                {b"k": b"a" * 4_999 + b"b"},
            ),
            (put(b"r", {b"k": b"a"}), delete(b"r", Keys((b"k",))), {}),
            (put(b"r", {b"k": b"a"}), delete(b"r"), {}),
            (put(b"r", {b"k": b"a"}, token=token(2)), delete(b"r", token=token(1)), {b"k": b"a"}),
            (put(b"r", {b"k": b"a"}, token=token(1)), delete(b"r", Keys((b"k",)), token=token(2)), {}),
        ]
        for number, (one, two, wanted) in enumerate(ties):
            for order in ((one, two), (two, one)):
                record = b"%d-%d" % (number, order[0] is one)
                moved = [change_record(mutation, record) for mutation in order]
                for batch in [[moved[0]], [moved[1]]] if apart else [moved]:
                    store.mutate(batch)
                assert read(store, record) == wanted, (number, order)

    def test_a_longer_expiry_settles_the_last_tie(self, store: KeyValueStore) -> None:
        for record, order in ((b"r", (1, 2, None)), (b"s", (None, 2, 1)), (b"t", (2, None, 1))):
            for ttl_s in order:
                store.mutate([put(record, {b"k": b"v"}, ttl_s=ttl_s)])
            assert store.get_items("n", [record]).items()[0].expires_at_us is None

    def test_applying_a_batch_again_changes_nothing(self, store: KeyValueStore) -> None:
        batch: list[Mutation] = [
            put(b"r", {b"a": b"1", b"b": b"1"}, token=token(1), ttl_s=9),
            delete(b"r", Keys((b"a",)), at_us=START_US + 1, token=token(1)),
            delete(b"s", Prefix(b"x"), token=token(1)),
            put(b"s", {b"x": b"1", b"y": b"1"}, token=token(1), record_ttl_s=9),
        ]
        store.mutate(batch)
        before = [store.get_items("n", [b"r", b"s"]), store.stats("n")]
        store.mutate(batch)
        assert [store.get_items("n", [b"r", b"s"]), store.stats("n")] == before
        store.put_items("n", b"r", {b"b": b"2"})
        store.mutate(batch)
        assert read(store, b"r") == {b"b": b"2"}

    @pytest.mark.parametrize("selection", [ALL, Keys((b"k",)), Range(b"a", b"z"), Prefix(b"k")])
    def test_late_writes_stay_deleted(self, backend: Backend, selection: Selection) -> None:
        store = backend.store
        store.mutate([delete(b"r", selection, at_us=START_US)])
        store.mutate([put(b"r", {b"k": b"late"}, at_us=START_US - 1)])
        assert read(backend.truth, b"r") == {}
        assert scan(store) == []
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6 - 1)
        sweep_all(store)
        store.mutate([put(b"r", {b"k": b"late"}, at_us=START_US - 2)])
        assert read(backend.truth, b"r") == {}
        store.mutate([put(b"r", {b"k": b"new"}, at_us=START_US + 1)])
        assert read(backend.truth, b"r") == {b"k": b"new"}

    @pytest.mark.parametrize("selection", [ALL, Keys((b"k",)), Range(b"a", b"z"), Prefix(b"k")])
    def test_a_delete_of_long_ago_protects_from_its_writing_on(
        self, backend: Backend, selection: Selection
    ) -> None:
        """As in a backfill: the event is older than tombstones live, its token is new."""
        store = backend.store
        store.mutate([delete(b"r", selection, at_us=LONG_AGO_US, token=token(1))])
        for _ in range(2):
            sweep_all(store)
            store.mutate([put(b"r", {b"k": b"late"}, at_us=LONG_AGO_US - 1, token=token(2))])
            assert read(backend.truth, b"r") == {}
            backend.clock.advance(limits.MAX_LATENESS_US / 1e6 - 1)
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6)
        assert sweep_all(store) > 0
        assert store.stats("n").stored_items == 0

    @pytest.mark.parametrize("selection", [ALL, Keys((b"k",)), Range(b"a", b"z"), Prefix(b"k")])
    def test_a_delete_is_kept_from_when_it_was_written_whatever_its_token(
        self, backend: Backend, selection: Selection
    ) -> None:
        """As in a backfill by tokens that follow from the events."""
        store = backend.store
        store.mutate([delete(b"r", selection, at_us=LONG_AGO_US, token=token(1, LONG_AGO_US))])
        for _ in range(2):
            sweep_all(store)
            store.mutate([put(b"r", {b"k": b"late"}, at_us=LONG_AGO_US - 1, token=token(2, LONG_AGO_US - 1))])
            assert read(backend.truth, b"r") == {}
            backend.clock.advance(limits.MAX_LATENESS_US / 1e6 - 1)
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6)
        assert sweep_all(store) > 0
        assert store.stats("n").stored_items == 0

    @pytest.mark.parametrize("again", [0, 5])
    def test_a_delete_that_is_written_again_or_after_a_later_one_is_kept_from_then(
        self, backend: Backend, again: int
    ) -> None:
        store, day_s = backend.store, 24 * 3_600
        for at_us in (LONG_AGO_US + 5, LONG_AGO_US + again):
            store.mutate([delete(b"r", Keys((b"k",)), at_us=at_us, token=token(1, at_us))])
            backend.clock.advance(4 * day_s)
            sweep_all(store)
        backend.clock.advance(2 * day_s)
        sweep_all(store)
        store.mutate([put(b"r", {b"k": b"late"}, at_us=LONG_AGO_US - 1, token=token(2, LONG_AGO_US - 1))])
        assert read(backend.truth, b"r") == {}
        backend.clock.advance(2 * day_s)
        assert sweep_all(store) > 0
        assert store.stats("n").stored_items == 0

    @pytest.mark.parametrize("selection", [Keys((b"k",)), ALL])
    @pytest.mark.parametrize("later", [delete(b"r", Keys((b"k",))), delete(b"r"), put(b"r", {b"k": b"v"})])
    def test_it_protects_also_behind_a_later_write_that_is_forgotten_first(
        self, backend: Backend, selection: Selection, later: Mutation
    ) -> None:
        store = backend.store
        old = delete(b"r", selection, at_us=LONG_AGO_US, token=token(1))
        at_us = LONG_AGO_US + 5
        for number, apart in enumerate((True, True, False)):
            won = change(later, event_time_us=at_us, token=token(0, at_us))
            if isinstance(won, Put):
                won = change(won, items=(ItemWrite(b"k", b"v", 1),))
            batch = [change(mutation, record=b"%d" % number) for mutation in (old, won)]
            if number:
                batch.reverse()
            for part in [[batch[0]], [batch[1]]] if apart else [batch]:
                store.mutate(part)
            sweep_all(store)
            store.mutate([put(b"%d" % number, {b"k": b"late"}, at_us=LONG_AGO_US - 1)])
            assert read(backend.truth, b"%d" % number) == {}
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6 + 1)
        sweep_all(store)
        assert store.stats("n").stored_items == 0

    def test_a_record_expiry_of_long_ago_ends_what_arrives_after_it(self, backend: Backend) -> None:
        store = backend.store
        store.mutate([put(b"r", {b"a": b""}, at_us=LONG_AGO_US, token=token(1), record_ttl_s=10)])
        sweep_all(store)
        store.mutate([put(b"r", {b"b": b""}, at_us=LONG_AGO_US - 1)])
        assert read(backend.truth, b"r") == {}
