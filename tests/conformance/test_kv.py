"""One class per store and wrapper; the promises are in `weft.testing.kv`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from weft.core.telemetry import Telemetry
from weft.kv import Capability, KeyValueStore
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.move import Moving
from weft.kv.wrappers.cached import CachedStore
from weft.kv.wrappers.dual import DualStore
from weft.kv.wrappers.hedged import HedgedStore
from weft.kv.wrappers.observed import ObservedStore
from weft.kv.wrappers.routed import RoutedStore
from weft.testing.clock import VirtualClock
from weft.testing.kv import Backend, KeyValueStoreContract
from weft.testing.kv.questions import NAMESPACES

IN_MEMORY = frozenset(Capability) - {Capability.DURABLE, Capability.SHARED}


def open_lmdb(path: Path, clock: VirtualClock) -> Backend:
    store = LmdbStore.open(path, clock=clock)

    def reopen() -> LmdbStore:
        store.close()
        return LmdbStore.open(path, clock=clock)

    return Backend(store, clock, reopen=reopen)


def wrap(inner: Backend, wrapper: Callable[[KeyValueStore], KeyValueStore]) -> Backend:
    assert inner.reopen is not None
    reopen = inner.reopen
    return Backend(wrapper(inner.store), inner.clock, reopen=lambda: wrapper(reopen()), beside=inner.store)


class TestMemory(KeyValueStoreContract):
    capabilities = IN_MEMORY

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        return Backend(MemoryStore(clock=clock), clock)


class TestLmdb(KeyValueStoreContract):
    capabilities = frozenset(Capability)

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        return open_lmdb(path, clock)


class TestCachedMemory(KeyValueStoreContract):
    capabilities = IN_MEMORY

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        inner = MemoryStore(clock=clock)
        return Backend(CachedStore(inner, clock=clock), clock, beside=inner)


class TestCachedLmdb(KeyValueStoreContract):
    capabilities = frozenset(Capability)

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        return wrap(open_lmdb(path, clock), lambda inner: CachedStore(inner, clock=clock))


class TestObservedLmdb(KeyValueStoreContract):
    capabilities = frozenset(Capability)

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        return wrap(open_lmdb(path, clock), lambda inner: ObservedStore(inner, Telemetry(), clock=clock))


class TestDualLmdb(KeyValueStoreContract):
    capabilities = frozenset(Capability)

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        return wrap(
            open_lmdb(path, clock), lambda inner: DualStore(inner, MemoryStore(clock=clock), clock=clock)
        )


class TestHedgedLmdb(KeyValueStoreContract):
    """Both ways lead to one store."""

    capabilities = frozenset(Capability)

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        return wrap(open_lmdb(path, clock), lambda inner: HedgedStore(inner, inner, clock=clock))


class TestRoutedLmdb(KeyValueStoreContract):
    capabilities = frozenset(Capability)

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        return wrap(open_lmdb(path, clock), lambda inner: route(inner, clock))


class TestMovedAway(KeyValueStoreContract):
    """Both namespaces are elsewhere, together."""

    capabilities = frozenset(Capability) - {Capability.ATOMIC_BATCH}

    def open_backend(self, path: Path, clock: VirtualClock) -> Backend:
        there = path.with_name("there")
        with LmdbStore.open(path, clock=clock) as source, LmdbStore.open(there, clock=clock) as target:
            source.configure(*NAMESPACES)
            for namespace in NAMESPACES:
                Moving(source, target, namespace.name, location=str(there), clock=clock).run()
        store = route(LmdbStore.open(path, clock=clock), clock)

        def reopen() -> KeyValueStore:
            store.close()
            return route(LmdbStore.open(path, clock=clock), clock)

        return Backend(store, clock, reopen=reopen)

    def test_atomic_batch(self, store: KeyValueStore) -> None:
        """What can be seen to be bad is still refused as a whole; only a crash could leave a part."""
        assert Capability.ATOMIC_BATCH not in store.capabilities


def route(home: KeyValueStore, clock: VirtualClock) -> RoutedStore:
    assert isinstance(home, LmdbStore)
    return RoutedStore(home, lambda place: LmdbStore.open(place, clock=clock), clock=clock)
