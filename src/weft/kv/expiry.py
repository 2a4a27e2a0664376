"""When items expire: counted from event time, the earliest of all that apply."""

from __future__ import annotations

from typing import Final

from weft.core import limits

NEVER_US: Final = (1 << 62) - 1
"""Later than any instant: what has no expiry."""


def ttl_end_us(event_time_us: int, ttl_s: float | None) -> int:
    """The instant `ttl_s` after the event; within 0 and NEVER_US, which is also for no TTL."""
    if ttl_s is None:
        return NEVER_US
    return max(0, min(event_time_us + round(min(ttl_s, 1e12) * 1e6), NEVER_US))


def kept_until_us(event_time_us: int, instant_us: int) -> int:
    """Until when a tombstone is kept: the maximum lateness after its event and after its token's instant.

    A delete that is written long after its event, as in a backfill, must hide what arrives after it as well.
    The version alone decides, so that it is the same in whatever order writes arrive, and how often.
    """
    return max(event_time_us, instant_us) + limits.MAX_LATENESS_US


def effective_us(event_time_us: int, own_us: int, record_us: int) -> int:
    """An item's expiry under its record's, which ends only what was put before it."""
    return record_us if event_time_us < record_us < own_us else own_us
