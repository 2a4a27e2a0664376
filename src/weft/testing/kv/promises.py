"""Life, and the capabilities that a store declares, checked both ways."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from weft.core.errors import Invalid, NotFound
from weft.kv import (
    Capability,
    KeyValueStore,
    Namespace,
)
from weft.testing.kv.fixtures import Backend, KeyValueStoreFixtures
from weft.testing.kv.questions import (
    put,
    read,
    scan,
    token,
)


class PromiseContract(KeyValueStoreFixtures):
    """What is declared holds; what is not, does not."""

    def test_closed_is_closed(self, store: KeyValueStore) -> None:
        with store as entered:
            assert entered is store
        store.close()
        uses: list[Callable[[], object]] = [
            store.namespaces,
            lambda: store.configure(Namespace(name="m")),
            lambda: store.put_items("n", b"r", {b"k": b"v"}),
            lambda: store.get_items("n", [b"r"]),
            lambda: store.scan_records("n"),
            lambda: store.stats("n"),
            store.sweep,
            lambda: ExitStack().enter_context(store.snapshot()),
        ]
        for use in uses:
            with pytest.raises(Invalid, match="closed"):
                use()

    def test_a_snapshot_is_one_moment(self, backend: Backend) -> None:
        store = backend.store
        store.put_items("n", b"r", {b"k": b"before"})
        later = put(b"r", {b"k": b"after"}, at_us=backend.clock.now_us() + 1)
        writer = threading.Thread(target=lambda: backend.truth.mutate([later]))
        with store.snapshot():
            assert read(store, b"r") == {b"k": b"before"}
            writer.start()
            writer.join(0.05)  # a store that holds writers up until the snapshot ends is right too
            with store.snapshot():
                assert read(store, b"r") == {b"k": b"before"}
            assert scan(store) == [b"r"]
            assert read(store, b"r") == {b"k": b"before"}
        writer.join()
        assert read(store, b"r") == {b"k": b"after"}

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
