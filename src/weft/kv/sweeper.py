"""Reclaiming in the background: a thread that its owner starts and stops."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Self

import structlog

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import WeftError
from weft.core.randomness import system_random
from weft.kv.store import KeyValueStore

# A round holds the writer lock for a few milliseconds.
_ITEMS_PER_ROUND: Final = 1_000


def rounds(store: KeyValueStore) -> Iterator[int]:
    """Reclaim all that is due, some at a time: how many each time."""
    while reclaimed := store.sweep(limit=_ITEMS_PER_ROUND):
        yield reclaimed


class Sweeper:
    """Runs a sweep's rounds every `interval_s`, give or take half, and reclaims at most `items_per_s`.

    The jitter keeps the sweepers of many processes from meeting at the same instant.
    """

    def __init__(
        self,
        rounds: Callable[[], Iterable[int]],
        *,
        interval_s: float = 60,
        items_per_s: float = 20_000,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
    ) -> None:
        self._rounds = rounds
        self._interval_s = interval_s
        self._items_per_s = items_per_s
        self._clock = clock
        self._rng = rng or system_random()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def run_once(self) -> int:
        """Reclaim all that is due, pausing between rounds to keep to the rate; how many were reclaimed."""
        total = 0
        for reclaimed in self._rounds():
            total += reclaimed
            if self._stopped.is_set():
                break
            self._clock.sleep(reclaimed / self._items_per_s)
        return total

    def next_pause_s(self) -> float:
        """How long to wait before the next run."""
        return self._interval_s * self._rng.uniform(0.5, 1.5)

    def start(self) -> None:
        """Start the thread; `stop` must follow before the store is closed."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name="weft-sweeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Return once the thread has ended."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        log = structlog.get_logger("weft.kv.sweeper")
        while not self._stopped.wait(self.next_pause_s()):
            try:
                reclaimed = self.run_once()
            except WeftError as error:
                log.warning("sweep failed", error=str(error), code=error.code)
            else:
                log.debug("swept", reclaimed=reclaimed)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()
