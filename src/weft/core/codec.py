"""Bytes for keys and values: keys keep their parts' order, values carry a format number.

Key parts follow FoundationDB's tuple layer: a byte string ends with 00 00, and a 00 inside it is written 00
FF, so that concatenated parts compare like the tuple of their parts.
"""

from __future__ import annotations

import struct
from typing import Any, Final, TypeVar

import msgspec

from weft.core.errors import Corrupt

T = TypeVar("T")

_END: Final = b"\x00\x00"
_U64: Final = struct.Struct(">Q")


def pack_bytes(part: bytes) -> bytes:
    """One byte string as a key part: order-preserving, self-delimiting."""
    return part.replace(b"\x00", b"\x00\xff") + _END


def unpack_bytes(key: bytes, at: int = 0) -> tuple[bytes, int]:
    """The part that starts at `at`, and the offset after it; `Corrupt` when it does not end."""
    start = at
    while (end := key.find(b"\x00", at)) >= 0:
        mark = key[end + 1 : end + 2]
        if mark == b"\x00":
            return key[start:end].replace(b"\x00\xff", b"\x00"), end + 2
        if mark != b"\xff":
            break
        at = end + 2
    raise Corrupt("a key part has no end", key=key.hex())


def pack_u64(number: int) -> bytes:
    """An unsigned 64-bit number as eight bytes that sort like it."""
    return _U64.pack(number)


def unpack_u64(key: bytes, at: int = 0) -> int:
    """The number that `pack_u64` wrote at `at`."""
    return int(_U64.unpack_from(key, at)[0])


def prefix_end(prefix: bytes) -> bytes | None:
    """The least byte string above all that have this prefix; None when there is none (all FF, or empty)."""
    trimmed = prefix.rstrip(b"\xff")
    return trimmed[:-1] + bytes([trimmed[-1] + 1]) if trimmed else None


_encoder: Final = msgspec.msgpack.Encoder()


def encode(value: Any) -> bytes:
    """A msgspec struct or plain value as MessagePack."""
    return _encoder.encode(value)


def decode(data: bytes | memoryview, kind: type[T], what: str = "a stored value") -> T:
    """The inverse of `encode`; `Corrupt` naming `what` when the bytes are not a `kind`."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{what} does not decode: {error}", hint="restore it from a backup") from error
