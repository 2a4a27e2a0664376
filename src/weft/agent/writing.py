"""Writes go to the store in their order, many in one commit, while the session goes on."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor

from weft.kv.model import Put
from weft.kv.store import KeyValueStore


class Writer:
    """Puts writes into a store from a thread of its own: a durable commit takes longer than most steps.

    A process that is killed loses at most the writes since the last commit, a few milliseconds of them, and
    never one without all after it. Once a write has failed, so does everything later: a log has no holes.
    """

    def __init__(self, store: KeyValueStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: list[Put] = []
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft-session")
        self._last: Future[None] | None = None
        self._failure: BaseException | None = None

    def put(self, put: Put) -> None:
        """Write it soon."""
        self._raise_failure()
        with self._lock:
            self._waiting.append(put)
            if len(self._waiting) == 1:
                self._last = self._thread.submit(self._write)

    def flush(self) -> None:
        """Return once everything is durable."""
        with self._lock:
            last = self._last
        if last:
            last.result()
        self._raise_failure()

    def _write(self) -> None:
        with self._lock:
            batch, self._waiting = self._waiting, []
        try:
            if self._failure is None:
                self._store.mutate(batch)
        except BaseException as error:
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
