"""What every test of a store is given: the backend, its truth, a virtual clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from weft.kv import (
    Capability,
    KeyValueStore,
)
from weft.testing.clock import VirtualClock
from weft.testing.kv.questions import (
    NAMESPACES,
)


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


class KeyValueStoreFixtures:
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
