"""The floor under every durable write: LMDB alone on this disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

import lmdb
from _report import Stopwatch


def blind_puts_s(batches: Iterable[list[tuple[bytes, bytes]]]) -> float:
    """Seconds for putting each batch, sorted, in one durable commit: nothing read, checked or indexed."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, lmdb.open(folder, map_size=4 << 30) as environment:
        for batch in batches:
            with watch, environment.begin(write=True) as txn:
                txn.cursor().putmulti(sorted(batch))
    return watch.seconds
