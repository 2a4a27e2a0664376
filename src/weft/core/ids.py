"""Identifiers that sort by the instant they were made."""

from __future__ import annotations

import random
import threading

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.randomness import system_random

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26


class IdSource:
    """Makes 128-bit ids: 48 bits of milliseconds, then 80 random bits, as 26 lower-case base-32 characters.

    Ids of one source strictly increase, also within a millisecond and when the clock steps back.
    The layout is that of ULID (github.com/ulid/spec).
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng or system_random()
        self._lock = threading.Lock()
        self._last = -1

    def new(self) -> str:
        """A new id, greater than every id that this source has made."""
        with self._lock:
            fresh = (self._clock.now_us() // 1_000 << 80) | self._rng.getrandbits(80)
            self._last = max(fresh, self._last + 1)
            return _encode(self._last)


def _encode(number: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -5, -5))
