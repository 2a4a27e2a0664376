"""Which serving layers are on. Answers are the same with each of them on or off."""

from __future__ import annotations

from typing import Final

import msgspec

_MIRROR_BYTES: Final = 4 << 30
"""Some forty million tuples; beyond it questions are answered from the store."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """The serving layers of one `Authz`, as in Zanzibar (section 3.2), each with its switch."""

    mirror: bool = True
    """Keep the live graph in memory, where the store has numbers for it."""
    mirror_bytes: int = _MIRROR_BYTES
    """What the mirror may take; with more to hold it gives way to the store."""
    compiled: bool = True
    """Answer checks on the mirror with compiled plans."""
    leopard: bool = True
    """Keep an index of nested groups beside the mirror."""
    cache: bool = True
    """Remember the values of checks that went to the store, by revision."""
    flights: bool = True
    """Let checks that are asked at the same moment, and are the same, wait for one walk."""
    hot: bool = True
    """Fetch a userset that is read often at one revision once whole, and serve all users from it."""
