"""Time, reached only through here, so that a test or a simulation can own it."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where a component learns the time. Wall time may jump either way; monotonic time never goes back."""

    def now_us(self) -> int:
        """Wall time, UTC, in microseconds since the Unix epoch."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary instant; for durations and deadlines."""

    def sleep(self, seconds: float) -> None:
        """Return once `seconds` of monotonic time have passed."""


class SystemClock:
    """The machine's clock."""

    def now_us(self) -> int:
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK: Clock = SystemClock()
