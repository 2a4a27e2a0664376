"""Configuration, and what is refused before anything is touched."""

from __future__ import annotations

import pytest

from weft.core import limits
from weft.core.errors import Invalid, LimitExceeded, NotFound, WeftError
from weft.kv import (
    Keys,
    KeyValueStore,
    Mutation,
    Namespace,
    PageLimits,
    Prefix,
    Range,
    Token,
)
from weft.testing.clock import START_US
from weft.testing.kv.fixtures import Backend, KeyValueStoreFixtures
from weft.testing.kv.questions import (
    NAMESPACES,
    delete,
    put,
    read,
    scan,
)


class RefusalContract(KeyValueStoreFixtures):
    """Bad input changes nothing."""

    def test_namespaces_are_configuration(self, backend: Backend) -> None:
        store = backend.store
        store.put_items("n", b"r", {b"k": b"v"})
        changed = Namespace(name="n", ttl_s=1.5, compression="none", cache_records=3, max_value_bytes=10)
        store.configure(changed)
        assert store.namespaces() == [changed, NAMESPACES[1]]
        assert read(backend.truth, b"r") == {b"k": b"v"}
        with pytest.raises(LimitExceeded):
            store.put_items("n", b"r", {b"k": b"v" * 11})

    def test_namespaces_are_configured_together_or_not_at_all(self, backend: Backend) -> None:
        store = backend.store
        with pytest.raises(Invalid):
            store.configure(Namespace(name="x"), Namespace(name="BAD"))
        assert store.namespaces() == [*NAMESPACES]
        store.configure(Namespace(name="x"), Namespace(name="y"), Namespace(name="x", ttl_s=9))
        assert store.namespaces()[2:] == [Namespace(name="x", ttl_s=9), Namespace(name="y")]
        for name in ("x", "y"):
            store.put_items(name, b"r", {b"k": name.encode()})
            assert store.get_items(name, [b"r"]).items()[0].value == name.encode()

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
