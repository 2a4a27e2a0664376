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
    end_us = event_time_us + round(ttl_s * 1e6 if ttl_s < 1e12 else 1e18)
    return end_us if 0 <= end_us <= NEVER_US else 0 if end_us < 0 else NEVER_US


def kept_until_us(event_time_us: int, instant_us: int) -> int:
    """Until when a write hides older ones, at least: the maximum lateness after its event and its token's
    instant."""
    return max(event_time_us, instant_us) + limits.MAX_LATENESS_US


def delete_kept_until_us(event_time_us: int, instant_us: int, now_us: int) -> int:
    """Until when a delete does that is written now.

    One that is written long after its event, as in a backfill, must hide what arrives after it as well, also
    when its token is of the event's instant. That is no part of its version: which write wins depends on
    neither when nor how often one is written.
    """
    return kept_until_us(max(event_time_us, now_us), instant_us)


def effective_us(event_time_us: int, own_us: int, record_us: int) -> int:
    """An item's expiry under its record's, which ends only what was put before it."""
    return record_us if event_time_us < record_us < own_us else own_us
