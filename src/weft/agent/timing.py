"""Where the time of a session goes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final, Literal, get_args

from weft.core.clock import Clock

Phase = Literal["model", "tools", "policy", "sandbox", "verification"]
PHASES: Final[tuple[Phase, ...]] = get_args(Phase)


class Span:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_s = clock.monotonic_s()
        self._end_s: float | None = None

    def so_far_s(self) -> float:
        return (self._clock.monotonic_s() if self._end_s is None else self._end_s) - self._start_s

    def end(self) -> None:
        self._end_s = self._clock.monotonic_s()


class Stopwatch:
    """Adds up seconds by phase; phases may run in several threads at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._start_s = clock.monotonic_s()
        self._seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def phase(self, name: Phase) -> Iterator[Span]:
        span = Span(self._clock)
        try:
            yield span
        finally:
            span.end()
            with self._lock:
                self._seconds[name] += span.so_far_s()

    def elapsed_s(self) -> float:
        return self._clock.monotonic_s() - self._start_s

    def seconds(self) -> dict[str, float]:
        """Seconds by phase, as far as they have ended."""
        return dict(self._seconds)
