"""A store around a store: passes every call on, for wrappers to override what they change."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.kv.base import StoreBase
from weft.kv.model import (
    ALL,
    Changes,
    Exported,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    RecordPage,
    Selection,
)
from weft.kv.store import Capability, KeyValueStore


class StoreWrapper(StoreBase):
    """Passes every call on to `inner`, which it closes with itself. `clock` is to be that of `inner`."""

    def __init__(self, inner: KeyValueStore, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(clock)
        self._inner = inner

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._inner.capabilities

    def namespaces(self) -> list[Namespace]:
        return self._inner.namespaces()

    def configure(self, *namespaces: Namespace) -> None:
        self._inner.configure(*namespaces)

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        self._inner.mutate(mutations)

    def get_items(
        self,
        namespace: str,
        records: Sequence[bytes],
        selection: Selection = ALL,
        *,
        reverse: bool = False,
        limit_per_record: int | None = None,
        page: PageLimits | None = None,
        after: bytes | None = None,
    ) -> Page:
        return self._inner.get_items(
            namespace,
            records,
            selection,
            reverse=reverse,
            limit_per_record=limit_per_record,
            page=page,
            after=after,
        )

    def scan_records(
        self, namespace: str, *, after: bytes | None = None, page: PageLimits | None = None
    ) -> RecordPage:
        return self._inner.scan_records(namespace, after=after, page=page)

    def stats(self, namespace: str) -> NamespaceStats:
        return self._inner.stats(namespace)

    def export(
        self,
        namespace: str,
        records: Sequence[bytes] | None = None,
        *,
        after: bytes | None = None,
        page: PageLimits | None = None,
    ) -> Exported:
        return self._inner.export(namespace, records, after=after, page=page)

    def erase(self, namespace: str, *, limit: int = 10_000) -> int:
        return self._inner.erase(namespace, limit=limit)

    def sweep(self, *, limit: int = 10_000) -> int:
        return self._inner.sweep(limit=limit)

    def snapshot(self) -> AbstractContextManager[object]:
        return self._inner.snapshot()

    def generation(self) -> int | None:
        return self._inner.generation()

    def changes(self, namespace: str, *, after: int, limit: int = 10_000) -> Changes:
        return self._inner.changes(namespace, after=after, limit=limit)

    def close(self) -> None:
        self._inner.close()
