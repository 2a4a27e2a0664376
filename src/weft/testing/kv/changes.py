"""The log of changes: what it tells, what it forgets, and that following it ends in the state."""

from __future__ import annotations

import random
import threading

import pytest

from weft.core import limits
from weft.core.errors import Invalid, NotFound
from weft.kv import (
    ALL,
    Capability,
    Change,
    ChangesForgotten,
    Item,
    Keys,
    KeyValueStore,
    Mutation,
    Namespace,
    Selection,
)
from weft.testing.clock import START_US
from weft.testing.kv.fixtures import Backend, KeyValueStoreFixtures
from weft.testing.kv.questions import LONG_RECORDS, delete, put, read, scan, selects, sweep_all, token

LOGGED = Namespace(name="n", cache_records=1_000, changes_bytes=1 << 20)


class Follower:
    """Keeps a copy of a namespace the way every reader of changes does: by reading again what they name."""

    def __init__(self, store: KeyValueStore, namespace: str, *, limit: int = 10_000) -> None:
        self.store = store
        self.namespace = namespace
        self._limit = limit
        self._generation = -1
        self._copy: dict[bytes, dict[bytes, Item]] = {}
        self.began = 0
        """How often it had to read everything."""

    def catch_up(self) -> None:
        while True:
            try:
                found = self.store.changes(self.namespace, after=self._generation, limit=self._limit)
            except ChangesForgotten:
                self._begin()
                continue
            for change in found.changed:
                self._read(change)
            if found.generation == self._generation:
                return
            self._generation = found.generation

    def live(self, now_us: int) -> dict[bytes, dict[bytes, Item]]:
        """What it holds at an instant: what expires is not told."""
        copy = {
            record: {key: item for key, item in items.items() if not _expired(item, now_us)}
            for record, items in self._copy.items()
        }
        return {record: items for record, items in copy.items() if items}

    def _begin(self) -> None:
        self.began += 1
        self._generation = self.store.generation() or 0
        self._copy = read_all(self.store, self.namespace)

    def _read(self, change: Change) -> None:
        items = self._copy.setdefault(change.record, {})
        selection: Selection = ALL if change.key is None else Keys((change.key,))
        for key in [key for key in items if selects(selection, key)]:
            del items[key]
        for item in self.store.get_items(self.namespace, [change.record], selection).items():
            items[item.key] = item


def _expired(item: Item, now_us: int) -> bool:
    return item.expires_at_us is not None and item.expires_at_us <= now_us


def read_all(store: KeyValueStore, namespace: str) -> dict[bytes, dict[bytes, Item]]:
    """A whole namespace, by record and key."""
    return {
        record: {item.key: item for item in store.get_items(namespace, [record]).items()}
        for record in scan(store, namespace, page_items=100)
    }


def told(store: KeyValueStore, after: int) -> list[tuple[bytes, bytes | None]]:
    return [(change.record, change.key) for change in store.changes("n", after=after).changed]


def written(store: KeyValueStore, *mutations: Mutation) -> list[tuple[bytes, bytes | None]]:
    """What is told of a batch: sorted, since a batch has no order."""
    before = store.generation()
    assert before is not None
    store.mutate(mutations)
    found = store.changes("n", after=before)
    assert found.generation == store.generation() == before + 1
    changed = [(change.record, change.key) for change in found.changed]
    return sorted(changed, key=lambda one: (one[0], one[1] or b""))


class ChangesContract(KeyValueStoreFixtures):
    """What changed is told, as far back as the log reaches, and never less."""

    @pytest.fixture
    def logging(self, backend: Backend) -> KeyValueStore:
        backend.store.configure(LOGGED)
        return backend.store

    def test_changes(self, logging: KeyValueStore) -> None:
        found = written(logging, put(b"r", {b"k": b"v"}))
        assert (found == [(b"r", b"k")]) == (Capability.CHANGES in logging.capabilities)

    def test_tells_the_winners_and_not_the_losers(self, logging: KeyValueStore) -> None:
        first = put(b"r", {b"a": b"1", b"b": b"1"}, at_us=START_US - 5)
        assert written(logging, first) == [(b"r", b"a"), (b"r", b"b")]
        assert written(logging, first) == []
        assert written(logging, put(b"r", {b"a": b"0"}, at_us=START_US - 6)) == []
        assert written(logging, delete(b"r", Keys((b"a",)), at_us=START_US - 6)) == []
        assert written(logging, delete(b"r", Keys((b"a",)), at_us=START_US - 4)) == [(b"r", b"a")]
        late = put(b"r", {b"a": b"2", b"b": b"2", b"c": b"2"}, at_us=START_US - 5, token=token(1))
        assert written(logging, late, put(b"s" * 900, {b"": b"1"})) == [
            (b"r", b"b"),
            (b"r", b"c"),
            (b"s" * 900, b""),
        ]

    def test_tells_other_namespaces_apart(self, logging: KeyValueStore) -> None:
        assert written(logging, put(b"r", {b"k": b"v"}, namespace="other")) == []
        both = [put(b"r", {b"k": b"w"}, namespace=name, token=token(1)) for name in ("n", "other")]
        assert written(logging, *both) == [(b"r", b"k")]

    def test_tells_the_record_where_any_item_may_have_changed(self, logging: KeyValueStore) -> None:
        logging.mutate([put(b"r", {b"a": b"1", b"b": b"1"}, at_us=START_US - 9)])
        expiring = put(b"r", {}, at_us=START_US - 8, record_ttl_s=60)
        assert written(logging, expiring) == [(b"r", None)]
        assert written(logging, expiring) == []
        assert written(logging, put(b"r", {}, at_us=START_US - 9, record_ttl_s=90)) == []
        assert written(logging, delete(b"r", at_us=START_US - 5)) == [(b"r", None)]
        assert written(logging, delete(b"r", at_us=START_US - 5)) == []
        assert written(logging, put(b"r", {b"c": b"1"}, at_us=START_US - 6)) == []

    def test_tells_what_was_erased(self, logging: KeyValueStore) -> None:
        records = [b"r", *LONG_RECORDS]
        logging.mutate([put(record, {b"a": b"1", b"b": b"1"}) for record in records])
        before = logging.generation()
        assert before is not None
        while logging.erase("n", limit=3):
            pass
        assert set(told(logging, before)) == {(record, None) for record in records}

    def test_expiry_and_sweeps_are_no_changes(self, backend: Backend, logging: KeyValueStore) -> None:
        logging.mutate([put(b"r", {b"k": b"v"}, ttl_s=5), delete(b"s", Keys((b"k",)))])
        before = logging.generation()
        assert before is not None
        for seconds in (6, limits.MAX_LATENESS_US / 1e6 + 10):
            backend.clock.advance(seconds)
            assert sweep_all(logging) > 0
        assert told(logging, before) == []

    def test_a_record_that_is_gone_is_told_still(self, backend: Backend, logging: KeyValueStore) -> None:
        before = logging.generation()
        assert before is not None
        logging.mutate([put(b"gone", {b"k": b"v"}, ttl_s=5)])
        backend.clock.advance(limits.MAX_LATENESS_US / 1e6 + 10)
        sweep_all(logging)
        logging.put_items("n", b"new", {b"k": b"v"})
        assert told(logging, before) == [(b"gone", b"k"), (b"new", b"k")]

    def test_pages_are_whole_generations(self, logging: KeyValueStore) -> None:
        begin = logging.generation()
        assert begin is not None
        for number in range(4):
            logging.put_items("n", b"%d" % number, {b"a": b"v", b"b": b"v"})
        found = logging.changes("n", after=begin, limit=3)
        assert found.generation == begin + 2
        assert found.changed == [Change(b"%d" % n, key) for n in (0, 1) for key in (b"a", b"b")]
        found = logging.changes("n", after=found.generation, limit=1)
        assert ([change.record for change in found.changed], found.generation) == ([b"2", b"2"], begin + 3)
        assert logging.changes("n", after=begin + 4) == type(found)([], begin + 4)

    def test_forgets_the_oldest_and_never_tells_less(self, backend: Backend) -> None:
        """Large and small batches, the largest of them larger than the log."""
        backend.store.configure(Namespace(name="n", changes_bytes=2_000))
        store = backend.store
        rng = random.Random(1)
        batches: list[tuple[int, int, set[bytes]]] = []
        first = store.generation()
        assert first is not None
        for number in range(60):
            keys = 300 if number % 20 == 19 else number % 7 + 1
            batch = {rng.randbytes(16): b"v" for _ in range(keys)}
            before = store.generation() or 0
            store.put_items("n", b"r", batch)
            batches.append((before, store.generation() or 0, set(batch)))
            remembered = 0
            for after in range(first, (store.generation() or 0) + 1):
                try:
                    found = store.changes("n", after=after)
                except ChangesForgotten:
                    assert remembered == 0
                    continue
                remembered += 1
                keys_told = {change.key for change in found.changed}
                # A hedged write may arrive twice: then it was written in one of several generations.
                assert keys_told >= {key for begun, _, some in batches if begun >= after for key in some}
                assert keys_told <= {key for _, ended, some in batches if ended > after for key in some}
            # The last change of a small one is always there, and so are some more, half as many where each
            # was hedged; a too large one never is.
            assert remembered >= (1 if keys == 300 else min(number % 20 // 2 + 1, 4))
            assert remembered < 60

    def test_the_log_begins_when_it_is_configured(self, backend: Backend) -> None:
        store = backend.store
        store.put_items("n", b"r", {b"k": b"v"})
        before = store.generation()
        assert before is not None
        assert store.changes("n", after=before).changed == []
        with pytest.raises(ChangesForgotten):
            store.changes("n", after=before - 1)
        store.configure(LOGGED)
        with pytest.raises(ChangesForgotten):
            store.changes("n", after=before)
        store.put_items("n", b"r", {b"k": b"w"})
        store.configure(Namespace(name="n", changes_bytes=1 << 19))
        assert told(store, before + 1) == [(b"r", b"k")]
        store.configure(Namespace(name="n"))
        store.put_items("n", b"r", {b"k": b"x"})
        store.configure(LOGGED)
        for after in range(before, before + 5):
            with pytest.raises(ChangesForgotten):
                store.changes("n", after=after)

    def test_the_log_of_a_new_namespace_is_whole(self, store: KeyValueStore) -> None:
        before = store.generation()
        assert before is not None
        store.configure(Namespace(name="new", changes_bytes=1 << 20))
        store.put_items("new", b"r", {b"k": b"v"})
        assert store.changes("new", after=before).changed == [Change(b"r", b"k")]

    def test_a_snapshot_tells_of_its_moment(self, backend: Backend, logging: KeyValueStore) -> None:
        before = logging.generation()
        assert before is not None
        later = put(b"r", {b"k": b"after"})
        writer = threading.Thread(target=lambda: backend.truth.mutate([later]))
        with logging.snapshot():
            assert read(logging, b"r") == {}
            writer.start()
            writer.join(0.05)
            assert logging.changes("n", after=before).generation == before
            assert told(logging, before) == []
        writer.join()
        assert told(logging, before) == [(b"r", b"k")]

    def test_refuses_what_cannot_be_told(self, logging: KeyValueStore) -> None:
        now = logging.generation()
        assert now is not None
        with pytest.raises(NotFound):
            logging.changes("missing", after=now)
        with pytest.raises(Invalid, match="`limit` is 0"):
            logging.changes("n", after=now, limit=0)
        for after in (-1, now + 1, now + (1 << 70)):
            with pytest.raises(ChangesForgotten):
                logging.changes("n", after=after)
        with pytest.raises(Invalid, match="size of a log"):
            logging.configure(Namespace(name="n", changes_bytes=-1))

    def test_the_log_is_as_durable_as_what_it_tells(self, backend: Backend, logging: KeyValueStore) -> None:
        before = logging.generation()
        assert before is not None
        logging.put_items("n", b"r", {b"k": b"v"})
        if backend.reopen is not None:
            backend.store = backend.reopen()
        assert told(backend.store, before) == [(b"r", b"k")]

    def test_a_batch_of_many_changes_is_told_whole(self, logging: KeyValueStore) -> None:
        keys = {b"%06d" % number + b"x" * 60: b"" for number in range(9_000)}
        assert written(logging, put(b"r", keys)) == [(b"r", key) for key in sorted(keys)]

    def test_whoever_follows_ends_in_the_state(self, backend: Backend, logging: KeyValueStore) -> None:
        follower = Follower(logging, "n")
        for number in range(20):
            where = b"%d" % (number % 3)
            backend.truth.mutate([put(where, {b"%d" % (number % 5): b"v"}, token=token(number))])
            if number % 4 == 3:
                backend.truth.mutate([delete(where, token=token(number), at_us=START_US + number)])
            follower.catch_up()
            assert follower.live(backend.clock.now_us()) == read_all(logging, "n")
        assert follower.began == 1
