"""One class per tuple store; the promises are in `weft.testing.authz_store`."""

from __future__ import annotations

from pathlib import Path

from weft.authz.store import TupleStore
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.stores.memory import MemoryStore
from weft.testing.authz_store import RETENTION_S, TupleStoreContract
from weft.testing.clock import VirtualClock


class TestMemory(TupleStoreContract):
    def open_store(self, folder: Path, clock: VirtualClock) -> TupleStore:
        return MemoryStore(clock, retention_s=RETENTION_S)


class TestLmdb(TupleStoreContract):
    reopens = True

    def open_store(self, folder: Path, clock: VirtualClock) -> TupleStore:
        return LmdbStore(folder, clock, retention_s=RETENTION_S)
