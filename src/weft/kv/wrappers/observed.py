"""Counts, bytes, errors and latency of every call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import WeftError
from weft.core.telemetry import KV_BYTES, KV_CALL_SECONDS, KV_ERRORS, KV_ITEMS, KV_RECLAIMED, Recorder
from weft.kv.model import (
    ALL,
    Changes,
    Item,
    ItemWrite,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    Put,
    RecordPage,
    Selection,
)
from weft.kv.store import KeyValueStore
from weft.kv.wrappers.wrapper import StoreWrapper

NO_NAMESPACE = "-"
SEVERAL_NAMESPACES = "*"


class ObservedStore(StoreWrapper):
    """Tells a recorder about every call. Calls about none or several namespaces are labelled `-` and `*`."""

    def __init__(self, inner: KeyValueStore, recorder: Recorder, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(inner, clock=clock)
        self._recorder = recorder

    def namespaces(self) -> list[Namespace]:
        with self._observe("namespaces", NO_NAMESPACE):
            return self._inner.namespaces()

    def configure(self, *namespaces: Namespace) -> None:
        name = namespaces[0].name if len(namespaces) == 1 else SEVERAL_NAMESPACES
        with self._observe("configure", name):
            self._inner.configure(*namespaces)

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        names = {str(getattr(mutation, "namespace", NO_NAMESPACE)) for mutation in mutations} or {
            NO_NAMESPACE
        }
        with self._observe("mutate", names.copy().pop() if len(names) == 1 else SEVERAL_NAMESPACES):
            self._inner.mutate(mutations)
        for name in names:
            puts = [m for m in mutations if isinstance(m, Put) and m.namespace == name]
            self._count("mutate", name, (item for put in puts for item in put.items))

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
        with self._observe("get_items", namespace):
            found = self._inner.get_items(
                namespace,
                records,
                selection,
                reverse=reverse,
                limit_per_record=limit_per_record,
                page=page,
                after=after,
            )
        self._count("get_items", namespace, found.items())
        return found

    def scan_records(
        self, namespace: str, *, after: bytes | None = None, page: PageLimits | None = None
    ) -> RecordPage:
        with self._observe("scan_records", namespace):
            return self._inner.scan_records(namespace, after=after, page=page)

    def stats(self, namespace: str) -> NamespaceStats:
        with self._observe("stats", namespace):
            return self._inner.stats(namespace)

    def sweep(self, *, limit: int = 10_000) -> int:
        with self._observe("sweep", NO_NAMESPACE):
            reclaimed = self._inner.sweep(limit=limit)
        self._recorder.count(KV_RECLAIMED, reclaimed)
        return reclaimed

    def changes(self, namespace: str, *, after: int, limit: int = 10_000) -> Changes:
        with self._observe("changes", namespace):
            return self._inner.changes(namespace, after=after, limit=limit)

    @contextmanager
    def _observe(self, call: str, namespace: str) -> Iterator[None]:
        started_s = self._clock.monotonic_s()
        try:
            yield
        except WeftError as error:
            self._recorder.count(KV_ERRORS, namespace=namespace, call=call, code=error.code)
            raise
        finally:
            took_s = self._clock.monotonic_s() - started_s
            self._recorder.observe(KV_CALL_SECONDS, took_s, namespace=namespace, call=call)

    def _count(self, call: str, namespace: str, items: Iterable[Item | ItemWrite]) -> None:
        count = size = 0
        for item in items:
            count += 1
            size += len(item.key) + len(item.value)
        if count:
            self._recorder.count(KV_ITEMS, count, namespace=namespace, call=call)
            self._recorder.count(KV_BYTES, size, namespace=namespace, call=call)
