"""Recently read records, as long as nobody has written."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import NamedTuple

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid
from weft.core.telemetry import KV_CACHE, SILENT, Recorder
from weft.kv.model import ALL, Item, Mutation, Page, PageLimits, RecordItems, Selection
from weft.kv.paging import DEFAULT_LIMITS
from weft.kv.store import Capability, KeyValueStore
from weft.kv.wrappers.wrapper import StoreWrapper

_Question = tuple[Selection, bool, int | None]


class _Answer(NamedTuple):
    """What a record held at an instant."""

    items: list[Item]
    read_us: int

    def at(self, now_us: int, limited: bool) -> list[Item] | None:
        """The answer at another instant; None where only the store can tell."""
        if now_us < self.read_us:
            return None
        live = [item for item in self.items if item.expires_at_us is None or item.expires_at_us > now_us]
        # Behind an item that has expired since, a limited answer would have had room for another one.
        return live if len(live) == len(self.items) or not limited else None


class CachedStore(StoreWrapper):
    """Keeps answers about the last `Namespace.cache_records` records of each namespace.

    Answers hold for one generation of the store. A generation that this wrapper's own mutate made alone costs
    the records that it wrote; any other one, by whichever process, costs everything. Calls with a page or
    a page token go to the store.
    """

    def __init__(
        self, inner: KeyValueStore, *, clock: Clock = SYSTEM_CLOCK, recorder: Recorder = SILENT
    ) -> None:
        if Capability.GENERATION not in inner.capabilities:
            raise Invalid("this store does not tell when others write", hint="use it without a cache")
        super().__init__(inner, clock=clock)
        self._recorder = recorder
        self._lock = threading.Lock()
        self._generation: int | None = None
        self._sizes: dict[str, int] = {}
        self._records: dict[str, OrderedDict[bytes, dict[_Question, _Answer]]] = {}

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        before = self._inner.generation()
        self._inner.mutate(mutations)
        after = self._inner.generation()
        assert before is not None
        with self._lock:
            if self._generation == before and after == before + 1:
                for mutation in mutations:
                    self._records[mutation.namespace].pop(mutation.record, None)
                self._generation = after

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
        generation = self._inner.generation()
        cacheable = page is None and after is None and self._caches(namespace, generation)
        if cacheable:
            question = (selection, reverse, limit_per_record)
            found = self._read_through(namespace, records, question, generation)
            if found is not None:
                return found
        return super().get_items(
            namespace,
            records,
            selection,
            reverse=reverse,
            limit_per_record=limit_per_record,
            page=page,
            after=after,
        )

    def _caches(self, namespace: str, generation: int | None) -> bool:
        """Whether answers about a namespace are kept; forgets what is of another generation."""
        if generation != self._generation:
            sizes = {found.name: found.cache_records for found in self._inner.namespaces()}
            with self._lock:
                self._generation = generation
                self._sizes = sizes
                self._records = {name: OrderedDict() for name in sizes}
        return self._sizes.get(namespace, 0) > 0

    def _read_through(
        self, namespace: str, records: Sequence[bytes], question: _Question, generation: int | None
    ) -> Page | None:
        """The answer from the cache and the store together; None unless both are of one generation."""
        now_us = self._clock.now_us()
        with self._lock:
            if self._generation != generation:
                return None
            known = {record: self._look_up(namespace, record, question, now_us) for record in records}
        missing = [record for record, items in known.items() if items is None]
        self._recorder.count(KV_CACHE, len(known) - len(missing), namespace=namespace, outcome="hit")
        self._recorder.count(KV_CACHE, len(missing), namespace=namespace, outcome="miss")
        if missing:
            selection, reverse, limit_per_record = question
            page = self._inner.get_items(
                namespace, missing, selection, reverse=reverse, limit_per_record=limit_per_record
            )
            if page.next is not None or self._inner.generation() != generation:
                return None
            read = {part.record: part.items for part in page.records}
            with self._lock:
                for record in missing:
                    known[record] = read.get(record, [])
                    if self._generation == generation:
                        self._keep(namespace, record, question, _Answer(read.get(record, []), now_us))
        parts = [RecordItems(record, list(items)) for record in records if (items := known[record])]
        return Page(parts) if _fits(parts) else None

    def _look_up(self, namespace: str, record: bytes, question: _Question, now_us: int) -> list[Item] | None:
        answers = self._records[namespace].get(record)
        if answers is None or question not in answers:
            return None
        self._records[namespace].move_to_end(record)
        return answers[question].at(now_us, limited=question[2] is not None)

    def _keep(self, namespace: str, record: bytes, question: _Question, answer: _Answer) -> None:
        kept = self._records[namespace]
        kept.setdefault(record, {})[question] = answer
        kept.move_to_end(record)
        if len(kept) > self._sizes[namespace]:
            kept.popitem(last=False)


def _fits(parts: list[RecordItems]) -> bool:
    """Whether the store would have answered in one page."""
    items = [item for part in parts for item in part.items]
    size = sum(len(item.key) + len(item.value) for item in items)
    return len(items) <= DEFAULT_LIMITS.items and size <= DEFAULT_LIMITS.bytes
