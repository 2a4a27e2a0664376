"""What the owner of a fleet decides."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What the owner of a fleet decides; everything else is measured."""

    weights: Mapping[str, float] = {}
    """Shares of clients, relative to 1, which is everybody else's."""
    waiting: int = 10_000
    """Requests that may wait. Above it, a client may still have its even part of the queue waiting."""
    aging_us: int = 30_000_000
    """After this long a request rises by one priority."""
    burst: int = 4
    """Requests of a client without a backlog that are served at once before its share counts."""
    credits_per_s: float = 0.1
    """How fast the burst comes back."""
    warm_share: float = 0.1
    """How much of the members' memory may idle in warm boxes."""
    idle_us: int = 60_000_000
    """A warm box that nobody wanted for so long goes."""
    start_us: int = 60_000_000
    """A box that is not open or reset by then has failed."""
    lease_us: int = 6 * 3_600_000_000
    """A box that is held for longer counts as leaked, and is taken back."""
