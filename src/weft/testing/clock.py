"""Time that a test owns."""

from __future__ import annotations

import threading

# 2026-01-01T00:00:00Z: recent enough to be realistic, fixed so that runs repeat.
START_US = 1_767_225_600_000_000


class VirtualClock:
    """A `Clock` that stands still until told otherwise; sleeping moves it, and nothing ever waits."""

    def __init__(self, now_us: int = START_US) -> None:
        self._lock = threading.Lock()
        self._now_us = now_us
        self._elapsed_us = 0

    def now_us(self) -> int:
        return self._now_us

    def monotonic_s(self) -> float:
        return self._elapsed_us / 1e6

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass: wall and monotonic time both move on."""
        if seconds < 0:
            raise ValueError("time passes forwards; use `jump` to set the wall clock back")
        step_us = round(seconds * 1e6)
        with self._lock:
            self._now_us += step_us
            self._elapsed_us += step_us

    def jump(self, seconds: float) -> None:
        """Step the wall clock, either way, as a correction by an operator or NTP would; no time passes."""
        with self._lock:
            self._now_us += round(seconds * 1e6)

    def set(self, now_us: int) -> None:
        """Step the wall clock to an instant; no time passes."""
        with self._lock:
            self._now_us = now_us
