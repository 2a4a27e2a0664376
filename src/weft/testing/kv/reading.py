"""Identity, selections and order: what a read gives back."""

from __future__ import annotations

import random

import pytest

from weft.kv import (
    ALL,
    Item,
    ItemWrite,
    Keys,
    KeyValueStore,
    PageLimits,
    Prefix,
    Range,
    Selection,
    Version,
)
from weft.testing.clock import START_US
from weft.testing.kv.fixtures import Backend, KeyValueStoreFixtures
from weft.testing.kv.questions import (
    IDENTITIES,
    LONG_RECORDS,
    delete,
    put,
    read,
    read_pages,
    scan,
    selects,
    token,
)


class ReadingContract(KeyValueStoreFixtures):
    """Keys are byte-exact, items sorted, answers as asked for."""

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
