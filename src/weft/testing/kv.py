"""The contract of `KeyValueStore`: subclass `KeyValueStoreContract`, and say how a store is made.

Capabilities are checked both ways: what a store declares must hold, and what it does not declare must fail.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weft.core import limits
from weft.core.errors import Invalid, LimitExceeded, NotFound, WeftError
from weft.kv import (
    ALL,
    Capability,
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
    Selection,
    Token,
    Version,
)
from weft.testing.clock import START_US, VirtualClock

IDENTITIES = [
    b"a",
    b"A",
    b"a ",
    b" a",
    b"a\x00",
    b"a\x00\x00",
    b"a\x00\xff",
    b"\x00",
    b"\x00\x00",
    b"\xff",
    b"\xff\xff",
    b"\xffa",
    "ä".encode(),
    "a\u0308".encode(),
    "日本".encode(),
    b"\x80invalid utf-8",
    b"a\nb",
    b"%00",
    b"x" * 255,
    b"x" * 256,
    b"x" * limits.MAX_ITEM_KEY_BYTES,
]
"""Byte strings that careless stores mix up."""

LONG_RECORDS = [
    b"x" * limits.MAX_RECORD_ID_BYTES,
    b"x" * (limits.MAX_RECORD_ID_BYTES - 1) + b"y",
    b"x" * (limits.MAX_ITEM_KEY_BYTES + 1),
    b"x" * 511 + b"\x00",
]


def token(number: int, instant_us: int = START_US) -> Token:
    """A token that a test can name."""
    return Token(instant_us, number.to_bytes(16, "big"))


TOKEN = token(0)
# Caching everything, so that a cache has the chance to be wrong.
NAMESPACES = [Namespace(name="n", cache_records=1_000), Namespace(name="other", cache_records=1_000)]


def put(
    record: bytes,
    items: dict[bytes, bytes],
    *,
    namespace: str = "n",
    at_us: int = START_US,
    token: Token = TOKEN,
    ttl_s: float | None = None,
    record_ttl_s: float | None = None,
) -> Put:
    """A put with an event time and token that a test can name."""
    return Put(
        namespace=namespace,
        record=record,
        items=tuple(ItemWrite(key, value, ttl_s) for key, value in items.items()),
        event_time_us=at_us,
        token=token,
        record_ttl_s=record_ttl_s,
    )


def delete(
    record: bytes,
    selection: Selection = ALL,
    *,
    namespace: str = "n",
    at_us: int = START_US,
    token: Token = TOKEN,
) -> Delete:
    """A delete with an event time and token that a test can name."""
    return Delete(namespace=namespace, record=record, selection=selection, event_time_us=at_us, token=token)


def read(store: KeyValueStore, record: bytes, namespace: str = "n") -> dict[bytes, bytes]:
    """Keys and values of one record."""
    return {item.key: item.value for item in store.get_items(namespace, [record]).items()}


def read_pages(
    store: KeyValueStore,
    records: list[bytes],
    selection: Selection = ALL,
    *,
    page: PageLimits,
    namespace: str = "n",
    reverse: bool = False,
    limit_per_record: int | None = None,
) -> list[list[tuple[bytes, Item]]]:
    """All pages of an answer, each as pairs of record and item."""
    pages: list[list[tuple[bytes, Item]]] = []
    after = None
    while True:
        found = store.get_items(
            namespace,
            records,
            selection,
            page=page,
            after=after,
            reverse=reverse,
            limit_per_record=limit_per_record,
        )
        pages.append([(part.record, item) for part in found.records for item in part.items])
        assert found.next is None or pages[-1], "a page makes progress"
        if found.next is None:
            return pages
        after = found.next


def scan(store: KeyValueStore, namespace: str = "n", page_items: int = 3) -> list[bytes]:
    """All records of a namespace, page by page."""
    found: list[bytes] = []
    after = None
    while True:
        part = store.scan_records(namespace, page=PageLimits(items=page_items), after=after)
        assert len(part.records) <= page_items
        found += part.records
        if part.next is None:
            return found
        after = part.next


def sweep_all(store: KeyValueStore) -> int:
    """Sweep until there is nothing left to reclaim."""
    total = 0
    while reclaimed := store.sweep(limit=3):
        total += reclaimed
    return total


@dataclasses.dataclass
class Backend:
    """A store under test, its clock, and another view of the same data."""

    store: KeyValueStore
    clock: VirtualClock
    reopen: Callable[[], KeyValueStore] | None = None
    """Close the store and open its data again; None when closing loses them."""
    beside: KeyValueStore | None = None
    """The store underneath a wrapper: reads and writes around it."""

    @property
    def truth(self) -> KeyValueStore:
        return self.beside or self.store


class KeyValueStoreContract:
    """What every store and every wrapper keeps."""

    capabilities: frozenset[Capability]
    """What the subclass expects its store to declare."""

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        """A new, empty store; the contract closes it."""
        raise NotImplementedError

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[Backend]:
        backend = self.open_backend(tmp_path / "store", VirtualClock())
        for namespace in NAMESPACES:
            backend.store.configure(namespace)
        yield backend
        backend.store.close()

    @pytest.fixture
    def store(self, backend: Backend) -> KeyValueStore:
        return backend.store

    # identity

    def test_keys_are_byte_exact(self, backend: Backend) -> None:
        keys = [b"", *IDENTITIES]
        backend.store.mutate([put(b"r", {key: key[:40] for key in keys})])
        assert read(backend.truth, b"r") == {key: key[:40] for key in keys}
        for key in keys:
            assert [i.key for i in backend.store.get_items("n", [b"r"], Keys((key,))).items()] == [key]
        backend.store.mutate([delete(b"r", Keys((b"a",)), at_us=START_US + 1)])
        assert set(read(backend.truth, b"r")) == {key for key in keys if key != b"a"}

    def test_records_are_byte_exact(self, backend: Backend) -> None:
        records = [*IDENTITIES, *LONG_RECORDS]
        backend.store.mutate([put(record, {b"k": b"%d" % at}) for at, record in enumerate(records)])
        for at, record in enumerate(records):
            assert read(backend.truth, record) == {b"k": b"%d" % at}
        assert sorted(scan(backend.store)) == sorted(records)
        found = backend.store.get_items("n", records)
        assert [part.record for part in found.records] == records
        for record in (b"a", LONG_RECORDS[0]):
            backend.store.mutate([delete(record, at_us=START_US + 1)])
        assert sorted(scan(backend.truth)) == sorted(set(records) - {b"a", LONG_RECORDS[0]})

    def test_namespaces_are_apart(self, backend: Backend) -> None:
        backend.store.mutate([put(b"r", {b"k": b"1"}), put(b"r", {b"k": b"2"}, namespace="other")])
        backend.store.mutate([delete(b"r", at_us=START_US + 1)])
        assert read(backend.truth, b"r") == {}
        assert read(backend.truth, b"r", "other") == {b"k": b"2"}
        assert (scan(backend.store), scan(backend.store, "other")) == ([], [b"r"])

    def test_items_sort_bytewise_both_ways(self, store: KeyValueStore) -> None:
        keys = [b"", *IDENTITIES]
        random.Random(5).shuffle(keys)
        store.mutate([put(b"r", dict.fromkeys(keys, b"v")), put(b"q", {b"z": b"v"})])
        for reverse in (False, True):
            found = [item.key for item in store.get_items("n", [b"r"], reverse=reverse).items()]
            assert found == sorted(keys, reverse=reverse)

    # what is read

    @pytest.mark.parametrize(
        "selection",
        [
            ALL,
            Keys(()),
            Keys((b"b", b"a", b"b", b"missing")),
            Range(b"a"),
            Range(b"a", b"b"),
            Range(b"a\x00", b"b\x00"),
            Range(b"b", b"a"),
            Range(b"", b""),
            Prefix(b""),
            Prefix(b"a"),
            Prefix(b"\xff"),
            Prefix(b"nothing"),
        ],
    )
    def test_selections(self, store: KeyValueStore, selection: Selection) -> None:
        keys = [b"", b"a", b"a\x00", b"a\xff", b"ab", b"b", b"b\x00", b"\xff", b"\xff\xff"]
        store.mutate([put(b"r", dict.fromkeys(keys, b"v")), put(b"s", {b"a": b"v"})])
        wanted = [key for key in sorted(keys) if selects(selection, key)]
        for reverse in (False, True):
            found = store.get_items("n", [b"r"], selection, reverse=reverse).items()
            assert [item.key for item in found] == (wanted[::-1] if reverse else wanted)
            tiny = read_pages(store, [b"r"], selection, page=PageLimits(items=1), reverse=reverse)
            assert [item for page in tiny for _, item in page] == found
        store.mutate([delete(b"r", selection, at_us=START_US + 1)])
        assert list(read(store, b"r")) == [key for key in sorted(keys) if key not in wanted]
        assert read(store, b"s") == {b"a": b"v"}

    def test_items_carry_version_and_expiry(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"k": b"v"}, at_us=START_US - 7, token=token(9), ttl_s=2)])
        assert store.get_items("n", [b"r"]).items() == [
            Item(b"k", b"v", Version(START_US - 7, token(9)), START_US - 7 + 2_000_000)
        ]

    def test_records_come_as_asked_for(self, store: KeyValueStore) -> None:
        store.mutate([put(record, {b"k": record}) for record in (b"a", b"b", b"c")])
        found = store.get_items("n", [b"c", b"missing", b"a", b"c"])
        assert [(part.record, [i.value for i in part.items]) for part in found.records] == [
            (b"c", [b"c"]),
            (b"a", [b"a"]),
            (b"c", [b"c"]),
        ]
        assert store.get_items("n", []).records == []

    def test_conveniences_stamp_now_and_their_own_tokens(self, backend: Backend) -> None:
        store, clock = backend.store, backend.clock
        store.put_items("n", b"r", {b"k": b"1", b"l": b"1"})
        store.put_items("n", b"r", [ItemWrite(b"k", b"2", ttl_s=5)])
        assert read(backend.truth, b"r") == {b"k": b"2", b"l": b"1"}
        found = store.get_items("n", [b"r"], Keys((b"k",))).items()[0]
        assert (found.version.event_time_us, found.expires_at_us) == (
            clock.now_us(),
            clock.now_us() + 5_000_000,
        )
        store.delete("n", b"r", Prefix(b"k"))
        assert read(backend.truth, b"r") == {b"l": b"1"}
        store.put_items("n", b"r", {b"k": b"late"}, event_time_us=clock.now_us() - 1)
        assert read(backend.truth, b"r") == {b"l": b"1"}
        store.delete("n", b"r")
        assert read(backend.truth, b"r") == {}

    # versions

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

    # expiry

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

    # pages

    @pytest.mark.parametrize("reverse", [False, True])
    @pytest.mark.parametrize("limit_per_record", [None, 1, 3, 4, 99])
    @pytest.mark.parametrize("page", [PageLimits(items=1), PageLimits(items=4), PageLimits(bytes=9)])
    def test_pages_add_up(
        self, store: KeyValueStore, page: PageLimits, limit_per_record: int | None, reverse: bool
    ) -> None:
        records = [b"c", b"a", b"gone", b"b"]
        store.mutate([put(r, {b"%d" % n: b"v" * n for n in range(5)}) for r in records if r != b"gone"])
        whole = store.get_items("n", records, reverse=reverse, limit_per_record=limit_per_record)
        assert whole.next is None
        pages = read_pages(store, records, page=page, reverse=reverse, limit_per_record=limit_per_record)
        assert [pair for part in pages for pair in part] == [
            (part.record, item) for part in whole.records for item in part.items
        ]
        assert all(len(part.items) == min(limit_per_record or 5, 5) for part in whole.records)
        for part in pages:
            assert len(part) <= page.items
            size = sum(len(item.key) + len(item.value) for _, item in part)
            assert size <= page.bytes or len(part) == 1

    def test_bytes_count_values_as_they_were_put(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"%d" % n: b"v" * 9_999 for n in range(10)})])
        pages = read_pages(store, [b"r"], page=PageLimits(bytes=30_000))
        assert [len(page) for page in pages] == [3, 3, 3, 1]

    def test_a_partial_page_beats_a_late_one(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"%d" % n: b"" for n in range(5)})])
        pages = read_pages(store, [b"r"], page=PageLimits(deadline_s=0))
        assert [len(page) for page in pages] == [1] * 5
        assert store.get_items("n", [b"r"], page=PageLimits(deadline_s=1)).next is None

    def test_pages_go_on_over_changes(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"%d" % n: b"" for n in range(6)})])
        first = store.get_items("n", [b"r"], page=PageLimits(items=2))
        store.mutate(
            [put(b"r", {b"00": b"", b"11": b""}), delete(b"r", Keys((b"1", b"3")), at_us=START_US + 1)]
        )
        rest = store.get_items("n", [b"r"], after=first.next)
        assert [item.key for item in rest.items()] == [b"11", b"2", b"4", b"5"]

    def test_a_page_token_is_bound_to_its_question(self, store: KeyValueStore) -> None:
        for name in ("n", "other"):
            store.mutate([put(r, {b"%d" % n: b"" for n in range(4)}, namespace=name) for r in (b"r", b"s")])
        page = PageLimits(items=1)
        after = store.get_items("n", [b"r"], Prefix(b""), page=page).next
        records_after = store.scan_records("n", page=page).next
        assert after is not None
        assert records_after is not None
        for ask in (
            lambda: store.get_items("other", [b"r"], Prefix(b""), after=after),
            lambda: store.get_items("n", [b"s"], Prefix(b""), after=after),
            lambda: store.get_items("n", [b"r", b"s"], Prefix(b""), after=after),
            lambda: store.get_items("n", [b"r"], Prefix(b"1"), after=after),
            lambda: store.get_items("n", [b"r"], Range(b""), after=after),
            lambda: store.get_items("n", [b"r"], Prefix(b""), reverse=True, after=after),
            lambda: store.get_items("n", [b"r"], Prefix(b""), limit_per_record=1, after=after),
            lambda: store.get_items("n", [b"r"], Prefix(b""), after=after[:-1]),
            lambda: store.get_items("n", [b"r"], Prefix(b""), after=b"junk"),
            lambda: store.get_items("n", [b"r"], Prefix(b""), after=records_after),
            lambda: store.scan_records("other", after=records_after),
            lambda: store.scan_records("n", after=after),
            lambda: store.scan_records("n", after=b""),
        ):
            with pytest.raises(Invalid, match="after"):
                ask()

    def test_records_are_scanned_once_each(self, store: KeyValueStore) -> None:
        records = [b"r%d" % n for n in range(25)]
        store.mutate([put(record, {b"a": b"", b"b": b""}) for record in records])
        store.mutate(
            [delete(b"r3", at_us=START_US + 1), delete(b"r4", Keys((b"a", b"b")), at_us=START_US + 1)]
        )
        wanted = sorted(set(records) - {b"r3", b"r4"})
        for page_items in (1, 2, 23, 100):
            found = scan(store, page_items=page_items)
            assert sorted(found) == wanted
            assert found == scan(store)

    # values

    @pytest.mark.parametrize("compression", ["zstd", "none"])
    @pytest.mark.parametrize(
        "size", [0, 1, limits.COMPRESS_FROM_BYTES, limits.CHUNK_BYTES, limits.CHUNK_BYTES + 1, 3 << 20]
    )
    def test_values_of_any_size(self, backend: Backend, size: int, compression: str) -> None:
        store = backend.store
        store.configure(Namespace(name="n", compression=compression))  # type: ignore[arg-type]
        for value in (bytes(size), random.Random(size).randbytes(size)):
            store.put_items("n", b"r", {b"k": value, b"l": b"small"})
            assert read(backend.truth, b"r") == {b"k": value, b"l": b"small"}
        store.put_items("n", b"r", {b"k": b"small"})
        assert read(backend.truth, b"r") == {b"k": b"small", b"l": b"small"}
        assert store.stats("n").stored_bytes < 500

    def test_deleted_large_values_leave_nothing(self, backend: Backend) -> None:
        store = backend.store
        big = random.Random(1).randbytes(2 * limits.CHUNK_BYTES + 5)
        for record, selection in ((b"r", ALL), (b"s", Keys((b"k",))), (b"t", Prefix(b"k"))):
            store.put_items("n", record, {b"k": big})
            store.delete("n", record, selection)
        store.mutate([put(b"u", {b"k": big}, ttl_s=1)])
        backend.clock.advance(1)
        sweep_all(store)
        assert store.stats("n").stored_bytes < 1_000

    # configuration

    def test_namespaces_are_configuration(self, backend: Backend) -> None:
        store = backend.store
        store.put_items("n", b"r", {b"k": b"v"})
        changed = Namespace(name="n", ttl_s=1.5, compression="none", cache_records=3, max_value_bytes=10)
        store.configure(changed)
        assert store.namespaces() == [changed, NAMESPACES[1]]
        assert read(backend.truth, b"r") == {b"k": b"v"}
        with pytest.raises(LimitExceeded):
            store.put_items("n", b"r", {b"k": b"v" * 11})

    @pytest.mark.parametrize(
        "namespace",
        [
            Namespace(name=""),
            Namespace(name="Upper"),
            Namespace(name="blank space"),
            Namespace(name="line\n"),
            Namespace(name="ä"),
            Namespace(name="x" * 65),
            Namespace(name="x", ttl_s=0),
            Namespace(name="x", ttl_s=-1),
            Namespace(name="x", ttl_s=float("nan")),
            Namespace(name="x", ttl_s=float("inf")),
            Namespace(name="x", compression="gzip"),  # type: ignore[arg-type]
            Namespace(name="x", cache_records=-1),
            Namespace(name="x", max_value_bytes=-1),
            Namespace(name="x", max_value_bytes=limits.MAX_VALUE_BYTES + 1),
        ],
    )
    def test_bad_namespaces_are_refused(self, store: KeyValueStore, namespace: Namespace) -> None:
        with pytest.raises((Invalid, LimitExceeded)):
            store.configure(namespace)
        assert [found.name for found in store.namespaces()] == ["n", "other"]

    def test_unknown_namespaces_are_not_found(self, store: KeyValueStore) -> None:
        for name in ("missing", "", "N", "n "):
            for ask in (
                lambda name=name: store.get_items(name, [b"r"]),
                lambda name=name: store.scan_records(name),
                lambda name=name: store.stats(name),
                lambda name=name: store.put_items(name, b"r", {b"k": b"v"}),
                lambda name=name: store.delete(name, b"r"),
            ):
                with pytest.raises(NotFound):
                    ask()

    # bad input

    @pytest.mark.parametrize(
        ("mutation", "kind"),
        [
            (put(b"", {b"k": b"v"}), Invalid),
            (put(b"r" * (limits.MAX_RECORD_ID_BYTES + 1), {b"k": b"v"}), LimitExceeded),
            (put(b"r", {b"k" * (limits.MAX_ITEM_KEY_BYTES + 1): b"v"}), LimitExceeded),
            (put(b"r", {b"k": "text"}), Invalid),  # type: ignore[dict-item]
            (put(b"r", {"k": b"v"}), Invalid),  # type: ignore[dict-item]
            (put("r", {b"k": b"v"}), Invalid),  # type: ignore[arg-type]
            (put(b"r", {b"k": b"v"}, at_us=START_US + limits.MAX_FUTURE_SKEW_US + 1), Invalid),
            (put(b"r", {b"k": b"v"}, at_us=-(1 << 62)), Invalid),
            (put(b"r", {b"k": b"v"}, token=Token(START_US, b"short")), Invalid),
            (put(b"r", {b"k": b"v"}, token=Token(-1, bytes(16))), Invalid),
            (put(b"r", {b"k": b"v"}, ttl_s=0), Invalid),
            (put(b"r", {b"k": b"v"}, record_ttl_s=float("nan")), Invalid),
            (put(b"r", {b"k": b"v"}, namespace="missing"), NotFound),
            (delete(b"r", at_us=START_US + limits.MAX_FUTURE_SKEW_US + 1), Invalid),
            (delete(b"r", Keys((b"k" * 999,))), LimitExceeded),
            (delete(b"r", Prefix(b"k" * 999)), LimitExceeded),
            (delete(b"r", b"k"), Invalid),  # type: ignore[arg-type]
            (delete(b"r", namespace="missing"), NotFound),
            ("put", Invalid),
        ],
    )
    def test_bad_input_changes_nothing(
        self, backend: Backend, mutation: Mutation, kind: type[WeftError]
    ) -> None:
        backend.store.put_items("n", b"r", {b"k": b"before"})
        before = (backend.store.generation(), backend.store.stats("n"))
        with pytest.raises(kind) as caught:
            backend.store.mutate([put(b"s", {b"k": b"v"}), mutation])
        assert type(caught.value) is kind
        assert caught.value.hint
        assert (backend.store.generation(), backend.store.stats("n")) == before
        assert read(backend.truth, b"s") == {}

    def test_as_far_ahead_as_clocks_may_differ(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"k": b"v"}, at_us=START_US + limits.MAX_FUTURE_SKEW_US)])
        store.mutate(
            [put(b"r", {b"old": b"v"}, at_us=-1, ttl_s=1), put(b"r", {b"l": b"v"}, at_us=-(1 << 60))]
        )
        assert read(store, b"r") == {b"k": b"v", b"l": b"v"}

    def test_a_batch_has_a_limit(self, store: KeyValueStore) -> None:
        with pytest.raises(LimitExceeded):
            store.mutate([put(b"r", {b"k": b"v"})] * (limits.MAX_MUTATIONS_PER_BATCH + 1))

    def test_bad_questions_are_refused(self, store: KeyValueStore) -> None:
        for ask in (
            lambda: store.get_items("n", [b""]),
            lambda: store.get_items("n", [b"r" * 2_000]),
            lambda: store.get_items("n", [b"r"], Prefix(b"k" * 999)),
            lambda: store.get_items("n", [b"r"], Range("a")),  # type: ignore[arg-type]
            lambda: store.get_items("n", [b"r"], limit_per_record=0),
            lambda: store.get_items("n", [b"r"], page=PageLimits(items=0)),
            lambda: store.get_items("n", [b"r"], page=PageLimits(bytes=0)),
            lambda: store.get_items("n", [b"r"], page=PageLimits(deadline_s=-1)),
            lambda: store.scan_records("n", page=PageLimits(items=0)),
        ):
            with pytest.raises((Invalid, LimitExceeded)):
                ask()

    def test_nothing_may_be_written(self, store: KeyValueStore) -> None:
        store.mutate([])
        store.mutate([put(b"r", {}), delete(b"r", Keys(()))])
        assert scan(store) == []

    # life

    def test_closed_is_closed(self, store: KeyValueStore) -> None:
        with store as entered:
            assert entered is store
        store.close()
        for use in (
            store.namespaces,
            lambda: store.configure(Namespace(name="m")),
            lambda: store.put_items("n", b"r", {b"k": b"v"}),
            lambda: store.get_items("n", [b"r"]),
            lambda: store.scan_records("n"),
            lambda: store.stats("n"),
            store.sweep,
        ):
            with pytest.raises(Invalid, match="closed"):
                use()

    # capabilities

    def test_declares_what_is_expected(self, store: KeyValueStore) -> None:
        assert store.capabilities == self.capabilities

    def test_durable(self, backend: Backend) -> None:
        assert (backend.reopen is not None) == (Capability.DURABLE in backend.store.capabilities)
        if backend.reopen is not None:
            backend.store.put_items("n", b"r", {b"k": b"v"})
            backend.store = backend.reopen()
            assert read(backend.store, b"r") == {b"k": b"v"}
            assert [found.name for found in backend.store.namespaces()] == ["n", "other"]

    def test_atomic_batch(self, store: KeyValueStore) -> None:
        bad = put(b"z", {b"k": b"v"}, namespace="missing")
        with contextlib.suppress(NotFound):
            store.mutate([put(b"r", {b"k": b"v"}), put(b"r", {b"k": b"v"}, namespace="other"), bad])
        written = len(read(store, b"r")) + len(read(store, b"r", "other"))
        assert (written == 0) == (Capability.ATOMIC_BATCH in store.capabilities)

    def test_token_tie_break(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"k": b"a"}, token=token(2))])
        store.mutate([put(b"r", {b"k": b"b"}, token=token(1))])
        by_token = read(store, b"r") == {b"k": b"a"}
        assert by_token == (Capability.TOKEN_TIE_BREAK in store.capabilities)

    def test_generation(self, backend: Backend) -> None:
        seen = [backend.store.generation()]
        assert (seen[0] is not None) == (Capability.GENERATION in backend.store.capabilities)
        if seen[0] is None:
            return
        backend.store.put_items("n", b"r", {b"k": b"v"})
        seen.append(backend.store.generation())
        backend.truth.put_items("n", b"r", {b"k": b"w"})
        seen.append(backend.store.generation())
        backend.store.configure(Namespace(name="n", ttl_s=1))
        seen.append(backend.store.generation())
        read(backend.store, b"r")
        seen.append(backend.store.generation())
        assert seen == [seen[0], seen[0] + 1, seen[0] + 2, seen[0] + 3, seen[0] + 3]


def selects(selection: Selection, key: bytes) -> bool:
    """Whether a selection selects a key, said plainly."""
    match selection:
        case Keys(keys):
            return key in keys
        case Range(start, end):
            return start <= key and (end is None or key < end)
        case Prefix(prefix):
            return key.startswith(prefix)


def change_record(mutation: Mutation, record: bytes) -> Mutation:
    """The same mutation of another record."""
    fields = {name: getattr(mutation, name) for name in mutation.__struct_fields__}
    return type(mutation)(**(fields | {"record": record}))
