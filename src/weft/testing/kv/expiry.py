"""Expiry at three levels, and the sweep that takes space back."""

from __future__ import annotations

import random

from weft.core import limits
from weft.kv import (
    ALL,
    Keys,
    KeyValueStore,
    Mutation,
    Namespace,
    PageLimits,
    Range,
    Selection,
)
from weft.testing.clock import START_US
from weft.testing.kv.fixtures import Backend, KeyValueStoreFixtures
from weft.testing.kv.questions import (
    delete,
    put,
    read,
    read_pages,
    scan,
    sweep_all,
    token,
)


class ExpiryContract(KeyValueStoreFixtures):
    """No dead item is returned, counted, or paged by."""

    def test_three_ttls_and_the_earliest_counts(self, backend: Backend) -> None:
        store, clock = backend.store, backend.clock
        store.configure(Namespace(name="short", ttl_s=20, cache_records=2))
        store.mutate(
            [
                put(b"r", {b"10": b""}, namespace="short", ttl_s=10),
                put(b"r", {b"20": b""}, namespace="short"),
                put(b"r", {b"30": b""}, namespace="short", ttl_s=30),
                put(b"s", {b"15": b""}, namespace="short", record_ttl_s=15),
            ]
        )
        seen = []
        for _ in range(4):
            found = store.get_items("short", [b"r", b"s"]).items()
            seen.append([item.key for item in found])
            clock.advance(4.999999)
            assert store.get_items("short", [b"r", b"s"]).items() == found
            clock.advance(0.000001)
        assert seen == [[b"10", b"20", b"30", b"15"]] * 2 + [[b"20", b"30", b"15"], [b"20", b"30"]]
        assert store.get_items("short", [b"r", b"s"]).records == []
        assert scan(store, "short") == []

    def test_ttl_counts_from_the_event(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"k": b"v"}, at_us=START_US - 10_000_000, ttl_s=10)])
        assert read(store, b"r") == {}

    def test_expired_items_fill_no_page_and_no_limit(self, backend: Backend) -> None:
        store = backend.store
        store.mutate(
            [put(b"r", {b"%02d" % n: b""}, ttl_s=1 if n % 4 else None, token=token(n)) for n in range(40)]
        )
        store.mutate([delete(b"r", Keys((b"04",)), at_us=START_US + 1)])
        backend.clock.advance(1)
        live = [b"%02d" % n for n in range(0, 40, 4) if n != 4]
        pages = read_pages(store, [b"r"], page=PageLimits(items=2))
        assert [[item.key for _, item in page] for page in pages] == [live[i : i + 2] for i in range(0, 9, 2)]
        limited = store.get_items("n", [b"r"], limit_per_record=3).items()
        assert [item.key for item in limited] == live[:3]
        stats = store.stats("n")
        assert (stats.records, stats.live_items) == (1, 9)

    def test_a_record_expiry_ends_what_was_put_before_it(self, backend: Backend) -> None:
        store, clock = backend.store, backend.clock
        store.mutate([put(b"r", {b"old": b""}), put(b"r", {b"k": b""}, at_us=START_US + 1, record_ttl_s=10)])
        end_us = START_US + 10_000_001
        assert {item.expires_at_us for item in store.get_items("n", [b"r"]).items()} == {end_us}
        clock.advance(10.000001)
        assert read(store, b"r") == {}
        store.mutate(
            [put(b"r", {b"just before": b""}, at_us=end_us - 1), put(b"r", {b"new": b""}, at_us=end_us)]
        )
        assert read(store, b"r") == {b"new": b""}
        assert store.get_items("n", [b"r"]).items()[0].expires_at_us is None

    def test_the_latest_event_sets_the_record_expiry(self, backend: Backend) -> None:
        for record, order in ((b"r", (0, 1)), (b"s", (1, 0))):
            for at in order:
                backend.store.mutate(
                    [put(record, {b"%d" % at: b""}, at_us=START_US + at, record_ttl_s=(100, 5)[at])]
                )
            assert len(read(backend.store, record)) == 2
        backend.clock.advance(6)
        assert backend.store.get_items("n", [b"r", b"s"]).records == []

    def test_sweeping_changes_no_answer_and_takes_all_back(self, backend: Backend) -> None:
        store, clock = backend.store, backend.clock
        rng = random.Random(3)
        for _ in range(40):
            record = b"r%d" % rng.randrange(4)
            at_us = START_US - rng.randrange(5_000_000)
            item = {b"%d" % rng.randrange(9): b"v" * rng.choice([1, 900])}
            selection: Selection = rng.choice((ALL, Keys((b"3",)), Range(b"2", b"5")))
            choices: list[Mutation] = [
                put(record, item, at_us=at_us, ttl_s=7),
                put(record, item, at_us=at_us, record_ttl_s=5),
                delete(record, selection, at_us=at_us),
            ]
            store.mutate([rng.choice(choices)])
            clock.advance(0.1)
            records = [b"r0", b"r1", b"r2", b"r3"]
            before = store.get_items("n", records)
            sweep_all(store)
            assert store.get_items("n", records) == before
            assert store.stats("n").records == len(scan(store))
        clock.advance(10 + limits.MAX_LATENESS_US / 1e6)
        assert scan(store) == []
        assert sweep_all(store) > 0
        assert store.stats("n").stored_items == 0
        assert store.stats("n").stored_bytes == 0
        assert store.sweep() == 0

    def test_an_item_swept_early_still_beats_older_writes(self, backend: Backend) -> None:
        store = backend.store
        store.mutate([put(b"r", {b"k": b"v" * 100}, ttl_s=1)])
        backend.clock.advance(1)
        assert sweep_all(store) == 1
        assert store.stats("n").stored_bytes < 100
        store.mutate([put(b"r", {b"k": b"late"}, at_us=START_US - 1)])
        assert read(backend.truth, b"r") == {}

    def test_a_sweep_keeps_to_its_limit(self, backend: Backend) -> None:
        backend.store.mutate([put(b"r%d" % n, {b"k": b""}, ttl_s=1) for n in range(50)])
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6 + 1)
        swept = []
        while reclaimed := backend.store.sweep(limit=20):
            swept.append(reclaimed)
        assert swept == [20, 20, 10]
