"""How LMDB holds an item: a fixed header that sorts as versions do, then the value, whole or in chunks.

    version                       state  coding  expiry  value
    event time 8, instant 8, nonce 16   1      1       8     the rest

The first 33 bytes of two cells compare as their versions do, tombstones over values. A tombstone has no
value, and its expiry says until when it must be kept.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import zstandard

from weft.core import limits
from weft.core.errors import Corrupt
from weft.kv import expiry
from weft.kv.expiry import NEVER_US, effective_us
from weft.kv.model import Item, Token, Version

VERSION: Final = struct.Struct(">QQ16s")
HEADER: Final = struct.Struct(">QQ16sBBQ")
_CHUNKS: Final = struct.Struct(">QI")
RANK: Final = slice(0, 33)
CODING: Final = 33
PLAIN: Final = b"\x00\x00" + NEVER_US.to_bytes(8, "big")
"""State, coding and expiry of a value as it is, without expiry."""
PLAIN_SLICE: Final = slice(32, 42)
_DEAD: Final = b"\x01\x00"
DUE: Final = slice(34, 42)
"""When a sweep has something to do about a cell, as bytes that sort like it."""
NEVER: Final = PLAIN[2:]
_ZSTD: Final = 1
_CHUNKED: Final = 2
# Makes every event time that checks let through a positive number.
_EPOCH: Final = 1 << 62

ChunkReader = Callable[[int, int], bytes]
"""The stored payload of a chunked value, by its number and count of chunks."""

_pair: Final = tuple.__new__


def pack_version(event_time_us: int, token: Token) -> bytes:
    """A version as 32 bytes that sort like it."""
    return VERSION.pack(event_time_us + _EPOCH, token.instant_us, token.nonce)


def unpack_version(version: bytes) -> Version:
    """The inverse of `pack_version`; also of the front of a cell."""
    event_us, instant_us, nonce = VERSION.unpack_from(version)
    return Version(event_us - _EPOCH, Token(instant_us, nonce))


def event_time_us(version: bytes) -> int:
    """The event time at the front of a packed version or cell."""
    return int.from_bytes(version[:8], "big") - _EPOCH


def version_kept_until_us(version: bytes) -> int:
    """`expiry.kept_until_us` of a packed version or cell."""
    return expiry.kept_until_us(event_time_us(version), int.from_bytes(version[8:16], "big"))


def kept_until_us(cell: bytes) -> int:
    """Until when older writes must stay hidden because of a cell, whatever becomes of it."""
    return due_us(cell) if cell[32] else version_kept_until_us(cell)


def outlives(loser: bytes, winner: bytes) -> bool:
    """Whether older writes must stay hidden for longer because of the loser than the winner sees to it."""
    # A loser has no later event time; so a value needs a later token's instant to outlive the winner.
    if not loser[32] and loser[8:16] <= winner[8:16]:
        return False
    # A value hides what is older while it lives, too; a delete that ends it is kept from its writing on.
    return kept_until_us(loser) > max(kept_until_us(winner), due_us(winner))


def value_cell(version: bytes, value: bytes, expires_us: int, compress: bool) -> bytes:
    """The cell of a put; its value is split into chunks only when it is stored."""
    if compress and len(value) >= limits.COMPRESS_FROM_BYTES:
        packed = zstandard.ZstdCompressor().compress(value)
        if len(packed) < len(value):
            return version + b"\x00\x01" + expires_us.to_bytes(8, "big") + packed
    return version + b"\x00\x00" + expires_us.to_bytes(8, "big") + value


def tombstone_cell(version: bytes, until_us: int) -> bytes:
    """The cell of a deleted or reclaimed item, and until when it must be kept."""
    return version + _DEAD + until_us.to_bytes(8, "big")


def wins(new: bytes, old: bytes, read_chunks: ChunkReader) -> bool:
    """Whether a cell replaces another one under the same key."""
    if new[RANK] != old[RANK]:
        return new[RANK] > old[RANK]
    if new[32]:
        return False
    new_value, old_value = value_of(new, read_chunks), value_of(old, read_chunks)
    return (new_value, new[34:42]) > (old_value, old[34:42])


def due_us(cell: bytes) -> int:
    """When a sweep has something to do about a cell."""
    return int.from_bytes(cell[34:42], "big")


def chunks_of(cell: bytes) -> tuple[int, int] | None:
    """Number and count of the chunks that a stored cell owns."""
    return _CHUNKS.unpack_from(cell, HEADER.size) if cell[CODING] & _CHUNKED else None


def split(cell: bytes, number: int) -> tuple[bytes, list[bytes]]:
    """A stored cell that refers to chunks, and the chunks."""
    size = limits.CHUNK_BYTES
    chunks = [cell[at : at + size] for at in range(HEADER.size, len(cell), size)]
    head = cell[:CODING] + bytes([cell[CODING] | _CHUNKED]) + cell[CODING + 1 : HEADER.size]
    return head + _CHUNKS.pack(number, len(chunks)), chunks


def value_of(cell: bytes, read_chunks: ChunkReader) -> bytes:
    """The value as it was put."""
    coding = cell[CODING]
    payload = cell[HEADER.size :]
    if not coding:
        return payload
    if coding & _CHUNKED:
        payload = read_chunks(*_CHUNKS.unpack(payload))
    if not coding & _ZSTD:
        return payload
    try:
        return zstandard.ZstdDecompressor().decompress(payload)
    except zstandard.ZstdError as error:
        raise Corrupt(
            f"a stored value does not decompress: {error}", hint="restore it from a backup"
        ) from error


def live_item(key: bytes, cell: bytes, record_us: int, now_us: int, read_chunks: ChunkReader) -> Item | None:
    """What readers see of a cell; None for a tombstone or when it has expired."""
    event_us, instant_us, nonce, state, coding, expires_us = HEADER.unpack_from(cell)
    if state:
        return None
    event_us -= _EPOCH
    if record_us != NEVER_US:
        expires_us = effective_us(event_us, expires_us, record_us)
    if expires_us <= now_us:
        return None
    return Item(
        key,
        value_of(cell, read_chunks) if coding else cell[42:],
        _pair(Version, (event_us, Token(instant_us, nonce))),
        None if expires_us == NEVER_US else expires_us,
    )
