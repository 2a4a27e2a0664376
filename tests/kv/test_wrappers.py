from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

import pytest

from weft.core.errors import Invalid, NotFound
from weft.core.telemetry import KV_CACHE, Metric, Silent
from weft.kv import Capability, Namespace, Page, PageLimits
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.wrappers.cached import CachedStore
from weft.kv.wrappers.observed import ObservedStore
from weft.testing.clock import VirtualClock
from weft.testing.kv.questions import put, read


class Recorded(Silent):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, ...]] = Counter()
        self.observed: dict[tuple[str, ...], list[float]] = {}

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        assert set(labels) == set(metric.labels)
        self.counts[metric.name, *(labels[name] for name in metric.labels)] += amount  # type: ignore[assignment]

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        assert set(labels) == set(metric.labels)
        self.observed.setdefault((metric.name, *(labels[name] for name in metric.labels)), []).append(value)


class CountingStore(MemoryStore):
    """Counts the records that it is asked for, and can take its time."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__(clock=clock)
        self.asked: list[bytes] = []

    def get_items(self, namespace: str, records: list[bytes], *args: object, **options: object) -> Page:  # type: ignore[override]
        self.asked += records
        self._clock.sleep(0.25)
        return super().get_items(namespace, records, *args, **options)  # type: ignore[arg-type]


@pytest.fixture
def inner() -> CountingStore:
    store = CountingStore(VirtualClock())
    store.configure(Namespace(name="n", cache_records=2))
    store.configure(Namespace(name="plain"))
    return store


@pytest.fixture
def cached(inner: CountingStore) -> CachedStore:
    return CachedStore(inner, clock=inner._clock)


def asked(inner: CountingStore) -> list[bytes]:
    """What went to the inner store since the last time."""
    found, inner.asked = inner.asked, []
    return found


def test_reads_once_what_nobody_writes(cached: CachedStore, inner: CountingStore) -> None:
    cached.put_items("n", b"r", {b"k": b"v"})
    for _ in range(3):
        assert read(cached, b"r") == {b"k": b"v"}
        assert read(cached, b"absent") == {}
    assert asked(inner) == [b"r", b"absent"]


def test_its_own_writes_cost_only_their_records(cached: CachedStore, inner: CountingStore) -> None:
    cached.put_items("n", b"r", {b"k": b"1"})
    cached.put_items("n", b"s", {b"k": b"1"})
    assert [read(cached, record) for record in (b"r", b"s")] == [{b"k": b"1"}] * 2
    asked(inner)
    cached.put_items("n", b"r", {b"k": b"2"})
    assert [read(cached, record) for record in (b"r", b"s")] == [{b"k": b"2"}, {b"k": b"1"}]
    assert asked(inner) == [b"r"]


def test_keeps_as_many_records_as_configured(cached: CachedStore, inner: CountingStore) -> None:
    for record in (b"a", b"b", b"a", b"c", b"a", b"b"):
        read(cached, record)
    assert asked(inner) == [b"a", b"b", b"c", b"b"]
    for _ in range(2):
        read(cached, b"r", "plain")
    assert asked(inner) == [b"r"] * 2


def test_questions_are_kept_apart_and_pages_not_at_all(cached: CachedStore, inner: CountingStore) -> None:
    cached.put_items("n", b"r", {b"a": b"", b"b": b""})
    assert [i.key for i in cached.get_items("n", [b"r"], limit_per_record=1).items()] == [b"a"]
    assert [i.key for i in cached.get_items("n", [b"r"], limit_per_record=1, reverse=True).items()] == [b"b"]
    assert [i.key for i in cached.get_items("n", [b"r"]).items()] == [b"a", b"b"]
    first = cached.get_items("n", [b"r"], page=PageLimits(items=1))
    assert [i.key for i in cached.get_items("n", [b"r"], after=first.next).items()] == [b"b"]
    assert asked(inner) == [b"r"] * 5


def test_a_changed_answer_does_not_change_the_cache(cached: CachedStore) -> None:
    cached.put_items("n", b"r", {b"a": b""})
    cached.get_items("n", [b"r"]).records[0].items.clear()
    cached.get_items("n", [b"r"]).records[0].items.clear()
    assert read(cached, b"r") == {b"a": b""}


def test_a_write_during_the_read_is_not_missed(inner: CountingStore) -> None:
    """The store is written around the cache while the cache waits for it."""

    class WrittenMeanwhile(CachedStore):
        pass

    cached = WrittenMeanwhile(inner, clock=inner._clock)
    inner.put_items("n", b"r", {b"k": b"1"})
    real = inner.get_items

    def get_items(*args: object, **options: object) -> Page:
        found = real(*args, **options)  # type: ignore[arg-type]
        if inner.generation() < 4:
            inner.put_items("n", b"r", {b"k": b"2"})
        return found

    inner.get_items = get_items  # type: ignore[method-assign]
    read(cached, b"r")
    assert read(cached, b"r") == {b"k": b"2"}


def test_two_caches_over_one_store_see_each_other(tmp_path: Path) -> None:
    """Two caches that write in the same instant must not take each other's change for their own."""
    with LmdbStore.open(tmp_path / "store") as store:
        store.configure(Namespace(name="n", cache_records=100))
        caches = [CachedStore(store), CachedStore(store)]
        wrong: list[int] = []

        def work(me: int) -> None:
            for number in range(150):
                caches[me].put_items("n", b"%d" % me, {b"k": b"%d" % number})
                other = read(caches[me], b"%d" % (1 - me))
                straight = read(store, b"%d" % (1 - me))
                if other and int(other[b"k"]) < seen[me]:
                    wrong.append(number)
                seen[me] = int(straight.get(b"k", b"-1"))

        seen = [-1, -1]
        threads = [threading.Thread(target=work, args=(me,)) for me in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        for me in range(2):
            assert read(caches[1 - me], b"%d" % me) == {b"k": b"149"}


def test_no_cache_without_a_generation() -> None:
    class Deaf(MemoryStore):
        capabilities = MemoryStore.capabilities - {Capability.GENERATION}

    with pytest.raises(Invalid, match="others write"):
        CachedStore(Deaf())


def test_cache_look_ups_are_counted(inner: CountingStore) -> None:
    recorded = Recorded()
    cached = CachedStore(inner, clock=inner._clock, recorder=recorded)
    cached.get_items("n", [b"a", b"b"])
    cached.get_items("n", [b"a", b"b"])
    assert recorded.counts == {(KV_CACHE.name, "n", "miss"): 2, (KV_CACHE.name, "n", "hit"): 2}


def test_observed_calls(inner: CountingStore) -> None:
    recorded = Recorded()
    store = ObservedStore(inner, recorded, clock=inner._clock)
    store.mutate([put(b"r", {b"k": b"12345", b"l": b""}), put(b"r", {b"k": b"1"}, namespace="plain")])
    store.get_items("n", [b"r"])
    with pytest.raises(NotFound):
        store.stats("missing")
    assert recorded.counts == {
        ("weft_kv_items_total", "n", "mutate"): 2,
        ("weft_kv_bytes_total", "n", "mutate"): 7,
        ("weft_kv_items_total", "plain", "mutate"): 1,
        ("weft_kv_bytes_total", "plain", "mutate"): 2,
        ("weft_kv_items_total", "n", "get_items"): 2,
        ("weft_kv_bytes_total", "n", "get_items"): 7,
        ("weft_kv_errors_total", "missing", "stats", "not_found"): 1,
    }
    assert recorded.observed == {
        ("weft_kv_call_seconds", "*", "mutate"): [0],
        ("weft_kv_call_seconds", "n", "get_items"): [0.25],
        ("weft_kv_call_seconds", "missing", "stats"): [0],
    }


def test_caches_again_after_others_wrote(cached: CachedStore, inner: CountingStore) -> None:
    read(cached, b"r")
    inner.put_items("n", b"r", {b"k": b"v"})
    for _ in range(2):
        assert read(cached, b"r") == {b"k": b"v"}
    assert asked(inner) == [b"r"] * 2


def test_a_limited_answer_is_refilled_when_an_item_expires(cached: CachedStore, inner: CountingStore) -> None:
    cached.mutate([put(b"r", {b"a": b""}, ttl_s=5), put(b"r", {b"b": b""})])
    assert [i.key for i in cached.get_items("n", [b"r"], limit_per_record=1).items()] == [b"a"]
    inner._clock.sleep(5)
    assert [i.key for i in cached.get_items("n", [b"r"], limit_per_record=1).items()] == [b"b"]
