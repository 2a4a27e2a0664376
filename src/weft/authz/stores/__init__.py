"""Tuple stores: memory (the reference) and LMDB (the embedded default)."""

from __future__ import annotations

import os
import random
import re
from typing import TYPE_CHECKING, Final

from weft.authz.store import RETENTION_S
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid

if TYPE_CHECKING:
    from weft.authz.store import TupleStore

_SCHEME: Final = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]+):")


def open_store(
    url: str | os.PathLike[str],
    *,
    clock: Clock = SYSTEM_CLOCK,
    rng: random.Random | None = None,
    retention_s: float = RETENTION_S,
) -> TupleStore:
    """The store that a URL names: `memory:`, or a directory, which is created when missing."""
    url = os.fspath(url)
    if url == "memory:":
        from weft.authz.stores.memory import MemoryStore

        return MemoryStore(clock, rng, retention_s)
    scheme = _SCHEME.match(url)
    if scheme is not None or not url:
        raise Invalid(f"`{url}` names no tuple store", hint="use `memory:` or the path of a directory")
    from weft.authz.stores.lmdb import LmdbStore

    return LmdbStore(url, clock, rng, retention_s)
