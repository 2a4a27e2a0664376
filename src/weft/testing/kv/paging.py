"""Pages by count, bytes and deadline; values of any size."""

from __future__ import annotations

import random

import pytest

from weft.core import limits
from weft.core.errors import Invalid
from weft.kv import (
    ALL,
    Keys,
    KeyValueStore,
    Namespace,
    PageLimits,
    Prefix,
    Range,
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
)


class PagingContract(KeyValueStoreFixtures):
    """Pages add up to the answer; large values come back whole."""

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
