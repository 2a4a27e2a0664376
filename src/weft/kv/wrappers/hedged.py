"""Slow calls sent again to a second store; the first answer counts. After "The Tail at Scale" (2013)."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Final, TypeVar

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Unavailable
from weft.core.telemetry import KV_HEDGES, SILENT, Recorder
from weft.kv.model import ALL, Mutation, Page, PageLimits, RecordPage, Selection
from weft.kv.store import KeyValueStore
from weft.kv.wrappers.wrapper import StoreWrapper

T = TypeVar("T")

_THREADS: Final = 32
_BURST: Final = 10.0


class Latencies:
    """The last calls' durations, and a quantile of them."""

    def __init__(self, *, kept: int = 500, needed: int = 50) -> None:
        self._recent: deque[float] = deque()
        self._sorted: list[float] = []
        self._kept = kept
        self._needed = needed
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        with self._lock:
            self._recent.append(seconds)
            insort(self._sorted, seconds)
            if len(self._recent) > self._kept:
                del self._sorted[bisect_left(self._sorted, self._recent.popleft())]

    def quantile_s(self, quantile: float) -> float | None:
        """None until enough calls were seen."""
        with self._lock:
            if len(self._sorted) < self._needed:
                return None
            return self._sorted[min(int(len(self._sorted) * quantile), len(self._sorted) - 1)]


class HedgedStore(StoreWrapper):
    """Sends a call that takes longer than the `quantile` of recent ones to `second` too.

    Whoever answers first is heard, and the other one ends in its own time, unheard.

    `second` is another way to the same data, such as another replica: what it answers may be as old as that
    replica is, and `changes` are the first's, so whoever follows them is to read from the first. Hedges are
    at most `extra_load` of all calls. A store that is `Unavailable` has not answered.
    Writes are hedged too: their tokens make a second arrival, however late, change nothing.
    """

    def __init__(
        self,
        first: KeyValueStore,
        second: KeyValueStore,
        *,
        quantile: float = 0.95,
        floor_s: float = 0.001,
        extra_load: float = 0.05,
        clock: Clock = SYSTEM_CLOCK,
        recorder: Recorder = SILENT,
    ) -> None:
        super().__init__(first, clock=clock)
        self._second = second
        self._quantile = quantile
        self._floor_s = floor_s
        self._extra_load = extra_load
        self._budget = _BURST
        self._recorder = recorder
        self._reads = Latencies()
        self._writes = Latencies()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="weft-hedged")

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        self._race(self._writes, lambda store: store.mutate(mutations))

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
        return self._race(
            self._reads,
            lambda store: store.get_items(
                namespace,
                records,
                selection,
                reverse=reverse,
                limit_per_record=limit_per_record,
                page=page,
                after=after,
            ),
        )

    def scan_records(
        self, namespace: str, *, after: bytes | None = None, page: PageLimits | None = None
    ) -> RecordPage:
        return self._race(self._reads, lambda store: store.scan_records(namespace, after=after, page=page))

    def close(self) -> None:
        """Waits for calls that nobody listens to any more."""
        self._pool.shutdown()
        self._second.close()
        self._inner.close()

    def _race(self, latencies: Latencies, ask: Callable[[KeyValueStore], T]) -> T:
        threshold_s = latencies.quantile_s(self._quantile)
        with self._lock:
            self._budget = min(self._budget + self._extra_load, _BURST)
        if threshold_s is None:
            return self._timed(latencies, ask, self._inner)
        first = self._pool.submit(self._timed, latencies, ask, self._inner)
        wait([first], timeout=max(threshold_s, self._floor_s))
        if (first.done() and not _unavailable(first)) or not self._may_hedge():
            return first.result()
        second = self._pool.submit(ask, self._second)
        winner = _first_answer(first, second)
        self._recorder.count(KV_HEDGES, winner="second" if winner is second else "first")
        return winner.result()

    def _timed(self, latencies: Latencies, ask: Callable[[KeyValueStore], T], store: KeyValueStore) -> T:
        started_s = self._clock.monotonic_s()
        try:
            return ask(store)
        finally:
            latencies.add(self._clock.monotonic_s() - started_s)

    def _may_hedge(self) -> bool:
        with self._lock:
            if self._budget < 1:
                return False
            self._budget -= 1
            return True


def _first_answer(first: Future[T], second: Future[T]) -> Future[T]:
    """The call that answers first; the first one's error when neither can be reached."""
    wait([first, second], return_when=FIRST_COMPLETED)
    done, other = (first, second) if first.done() else (second, first)
    if not _unavailable(done):
        return done
    wait([other])
    return first if _unavailable(other) else other


def _unavailable(call: Future[T]) -> bool:
    return isinstance(call.exception(), Unavailable)
