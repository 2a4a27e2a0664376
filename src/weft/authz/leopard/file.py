"""The index in a file: its bitmaps, mapped and read when they are asked for.

A file is believed in one thing alone: that its sets are those of the edges that it lists. A checksum holds
that. Which edges there are is for the rows to say, so it does not matter how old the file is.

    header   format, checksum of what follows, store, digest of the shape, revision, counts
    groups   ten bytes each: a userset's number
    edges    pairs of nodes, four bytes each
    offsets  eight bytes each, one more than groups; of the sets below, then of those above
    sets     serialized Roaring bitmaps, below and above
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
from array import array
from itertools import accumulate
from pathlib import Path
from struct import Struct
from typing import Final, NamedTuple

import xxhash

from weft.authz.leopard.index import Saved, Snapshot
from weft.authz.leopard.sets import Stored

_FORMAT: Final = f"weft leopard 1 {sys.byteorder[0]}".encode()
_HEADER: Final = Struct(">16s8s8s8sQQQQQ")
_GROUP_BYTES: Final = 10


class Origin(NamedTuple):
    """What a file was made of; another one's is of no use."""

    store_id: bytes
    shape: bytes
    """8 bytes for what the schema says of groups, in the numbers of the store."""


def save(path: Path, origin: Origin, snapshot: Snapshot) -> None:
    """Replace the file in one step; `OSError` where that cannot be."""
    below, above = b"".join(snapshot.below), b"".join(snapshot.above)
    body = b"".join(
        (
            b"".join(group.to_bytes(_GROUP_BYTES, "big") for group in snapshot.groups),
            bytes(-len(snapshot.groups) * _GROUP_BYTES % 8),
            array("I", [end for edge in snapshot.edges for end in edge]).tobytes(),
            array("Q", accumulate(map(len, snapshot.below), initial=0)).tobytes(),
            array("Q", accumulate(map(len, snapshot.above), initial=0)).tobytes(),
            below,
            above,
        )
    )
    counts = len(snapshot.groups), len(snapshot.edges), len(below), len(above)
    rest = _HEADER.pack(_FORMAT, b"", *origin, snapshot.revision, *counts)[24:] + body
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_FORMAT + xxhash.xxh3_64_digest(rest) + rest)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load(path: Path, origin: Origin) -> Saved | None:
    """What a file has; None for no file, a damaged one, or one of another origin."""
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):
        return None
    checksum = xxhash.xxh3_64_digest(data[24:])
    if len(data) < _HEADER.size or bytes(data[:24]) != _FORMAT + checksum:
        return None
    _, _, store_id, shape, _, groups, edges, below, above = _HEADER.unpack_from(data)
    if (store_id, shape) != origin:
        return None
    at = _HEADER.size
    parts: list[memoryview] = []
    padded = groups * _GROUP_BYTES + -groups * _GROUP_BYTES % 8
    for size in (padded, edges * 8, (groups + 1) * 8, (groups + 1) * 8, below, above):
        parts.append(data[at : at + size])
        at += size
    numbers, ends = bytes(parts[0]), parts[1].cast("I").tolist()
    return Saved(
        [
            int.from_bytes(numbers[n : n + _GROUP_BYTES], "big")
            for n in range(0, groups * _GROUP_BYTES, _GROUP_BYTES)
        ],
        set(zip(ends[::2], ends[1::2], strict=True)),
        Stored(parts[2].cast("Q"), parts[4]),
        Stored(parts[3].cast("Q"), parts[5]),
    )
