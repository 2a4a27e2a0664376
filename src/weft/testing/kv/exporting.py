"""What a store holds, told as mutations; and erasing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from weft.core import limits
from weft.core.errors import Invalid, NotFound
from weft.kv import ALL, Keys, KeyValueStore, Mutation, Namespace, PageLimits, Range, Selection
from weft.kv.memory import MemoryStore
from weft.testing.clock import START_US
from weft.testing.kv.fixtures import Backend, KeyValueStoreFixtures
from weft.testing.kv.questions import IDENTITIES, LONG_RECORDS, delete, put, read, scan, sweep_all, token

RECORDS = [b"r0", b"r1", b"r2", LONG_RECORDS[0]]


class ExportContract(KeyValueStoreFixtures):
    """An export makes an equal namespace; an erased one is as new."""

    @pytest.mark.parametrize("page", [PageLimits(items=1), PageLimits(items=7), PageLimits()])
    def test_an_export_makes_an_equal_namespace(self, backend: Backend, page: PageLimits) -> None:
        store, clock = backend.store, backend.clock
        rng = random.Random(7)
        for _ in range(60):
            store.mutate([_some_mutation(rng)])
        clock.advance(6)
        if page.items == 7:
            sweep_all(store)
        copy = MemoryStore(clock=clock)
        copy.configure(Namespace(name="n"))
        copy.mutate(exported(store, page=page))
        for _ in range(3):
            assert copy.get_items("n", RECORDS) == store.get_items("n", RECORDS)
            clock.advance(5)
        late: list[Mutation] = [
            put(record, {key: b"late"}, at_us=START_US - rng.randrange(9_000_000))
            for record in RECORDS
            for key in (b"0", b"3", b"8")
        ]
        store.mutate(late)
        copy.mutate(late)
        assert copy.get_items("n", RECORDS) == store.get_items("n", RECORDS)

    def test_any_bytes_are_told(self, backend: Backend) -> None:
        store = backend.store
        store.mutate([put(record, {b"": b"v", record[:400]: b"w" * 900}) for record in IDENTITIES])
        found = exported(store)
        assert {mutation.record for mutation in found} == set(IDENTITIES)
        copy = MemoryStore(clock=backend.clock)
        copy.configure(Namespace(name="n"))
        copy.mutate(found)
        for record in IDENTITIES:
            assert read(copy, record) == read(store, record)

    def test_an_export_of_records_tells_only_them(self, store: KeyValueStore) -> None:
        store.mutate([put(b"a", {b"k": b"1", b"l": b"1"}), put(b"b", {b"k": b"2"}), delete(b"c")])
        found = exported(store, [b"a", b"missing", b"c"], page=PageLimits(items=1))
        assert sorted(mutation.record for mutation in found) == [b"a", b"a", b"c"]

    def test_what_nothing_can_meet_any_more_is_not_told(self, backend: Backend) -> None:
        store = backend.store
        store.mutate([delete(b"r"), delete(b"r", Keys((b"k",))), put(b"s", {b"k": b"v"}, ttl_s=1)])
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6 + 1)
        assert exported(store) == []

    def test_bad_exports_are_refused(self, store: KeyValueStore) -> None:
        store.mutate([put(b"r", {b"k": b"v", b"l": b"v"})])
        token = store.export("n", page=PageLimits(items=1)).next
        asks: list[Callable[[], object]] = [
            lambda: store.export("n", after=b"junk"),
            lambda: store.export("other", after=token),
            lambda: store.export("n", [b"r"], after=token),
            lambda: store.export("n", [b""]),
        ]
        for ask in asks:
            with pytest.raises(Invalid):
                ask()
        with pytest.raises(NotFound):
            store.export("missing")
        with pytest.raises(NotFound):
            store.erase("missing")

    def test_what_is_erased_is_forgotten(self, backend: Backend) -> None:
        store = backend.store
        large = bytes(range(256)) * 8_192
        store.mutate([put(b"r", {b"%d" % n: large if n == 3 else b"v" for n in range(9)}), delete(b"s")])
        store.mutate([put(b"r", {b"k": b"v"}, namespace="other")])
        while store.erase("n", limit=2):
            pass
        assert exported(store) == []
        assert (store.stats("n").stored_items, scan(store, "other")) == (0, [b"r"])
        store.mutate([put(b"s", {b"k": b"as new"}, at_us=START_US - 1)])
        assert read(backend.truth, b"s") == {b"k": b"as new"}
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6 + 1)
        sweep_all(store)
        assert read(backend.truth, b"s") == {b"k": b"as new"}


def exported(
    store: KeyValueStore, records: list[bytes] | None = None, page: PageLimits | None = None
) -> list[Mutation]:
    """All pages of an export of `n`."""
    found: list[Mutation] = []
    after = None
    while True:
        part = store.export("n", records, after=after, page=page)
        found += part.mutations
        if part.next is None:
            return found
        assert part.mutations
        after = part.next


def _some_mutation(rng: random.Random) -> Mutation:
    record, at_us = rng.choice(RECORDS), START_US - rng.randrange(5_000_000)
    items = {b"%d" % rng.randrange(9): b"v" * rng.choice([0, 1, 900])}
    selection: Selection = rng.choice((ALL, Keys((b"3",)), Range(b"2", b"5")))
    number = token(rng.randrange(9))
    choices: list[Mutation] = [
        put(record, items, at_us=at_us, token=number, ttl_s=rng.choice([None, 7, 12])),
        put(record, items, at_us=at_us, token=number),
        put(record, items, at_us=at_us, token=number, record_ttl_s=rng.choice([None, None, 8])),
        delete(record, selection, at_us=at_us, token=number),
    ]
    return rng.choice(choices)
