"""How many boxes to keep warm: as many as are likely to be asked for while a new one would be opened."""

from __future__ import annotations

import math

# The rate and the costs are what happened lately: older than this counts little.
_MEMORY_US = 60_000_000
# Before anything was measured.
FIRST_START_US = 100_000
FIRST_HOLD_US = 60_000_000
# Each new measurement counts for this much.
_NEW = 0.1
# Standard deviations above the mean: 98 of 100 requests then find a warm box, if they come independently.
_MARGIN = 2.0
# Below this many requests expected in the memory's span a box would mostly idle.
_RARE = 2.0


class Mean:
    """A mean that follows what it measures."""

    __slots__ = ("value",)

    def __init__(self, first: float) -> None:
        self.value = first

    def add(self, value: float) -> None:
        self.value += _NEW * (value - self.value)


class Demand:
    """The requests for one snapshot and size: how often they come, and what a start costs."""

    __slots__ = ("_count", "_last_us", "start_us")

    def __init__(self, now_us: int) -> None:
        self._count = 0.0
        self._last_us = now_us
        self.start_us = Mean(FIRST_START_US)

    def arrived(self, now_us: int) -> None:
        """Note one request."""
        self._count = self.count(now_us) + 1.0
        self._last_us = now_us

    def count(self, now_us: int) -> float:
        """Requests of late, each fading with the memory's span; the rate is this over that span."""
        return self._count * math.exp((self._last_us - now_us) / _MEMORY_US)

    def is_over(self, now_us: int) -> bool:
        """Whether so little is left that forgetting it changes nothing."""
        return self.count(now_us) < 0.01

    def target(self, now_us: int) -> int:
        """Boxes to keep warm: the mean of the requests during one start, and a margin for their spread."""
        count = self.count(now_us)
        if count < _RARE:
            return 0
        during = count * self.start_us.value / _MEMORY_US
        return math.ceil(during + _MARGIN * math.sqrt(during))
