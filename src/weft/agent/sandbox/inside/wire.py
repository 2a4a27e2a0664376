"""Frames of MessagePack over a socket, in the few types that a sandbox speaks.

A frame is a four-byte big-endian length and one MessagePack value (github.com/msgpack/msgpack). The host
decodes with msgspec; this codec is for the inside, where no third-party package is at hand.
"""

from __future__ import annotations

import struct

# Known to type checkers without the cost of importing typing: every millisecond here is one of each start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Channel(Protocol):
        """What frames go through: a socket, or two pipes."""

        def recv(self, count: int, /) -> bytes: ...
        def sendall(self, data: bytes, /) -> None: ...
        def fileno(self) -> int: ...


Value = None | bool | int | float | bytes | str | list["Value"] | dict[str, "Value"]

# A file of `MAX_FILE_BYTES` and its envelope; a longer frame is a broken or hostile peer.
MAX_FRAME_BYTES = 72 << 20


class Closed(Exception):
    """The peer has gone."""


def send(sock: Channel, value: object) -> None:
    """Send one frame."""
    body = pack(value)
    sock.sendall(struct.pack(">I", len(body)) + body)


def receive(sock: Channel) -> Value:
    """The next frame's value, or `Closed`."""
    (length,) = struct.unpack(">I", _exactly(sock, 4))
    if length > MAX_FRAME_BYTES:
        raise Closed
    return unpack(_exactly(sock, length))


def _exactly(sock: Channel, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = sock.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise Closed
        parts += part
    return bytes(parts)


def pack(value: object) -> bytes:
    """The value in MessagePack."""
    out = bytearray()
    _pack(value, out)
    return bytes(out)


def _pack(value: object, out: bytearray) -> None:
    if value is None:
        out += b"\xc0"
    elif isinstance(value, bool):
        out += b"\xc3" if value else b"\xc2"
    elif isinstance(value, int):
        out += struct.pack(">Bq", 0xD3, value)
    elif isinstance(value, float):
        out += struct.pack(">Bd", 0xCB, value)
    elif isinstance(value, bytes | bytearray):
        out += struct.pack(">BI", 0xC6, len(value)) + value
    elif isinstance(value, str):
        text = value.encode("utf-8", "surrogateescape")
        out += struct.pack(">BI", 0xDB, len(text)) + text
    elif isinstance(value, list | tuple):
        out += struct.pack(">BI", 0xDD, len(value))
        for item in value:
            _pack(item, out)
    elif isinstance(value, dict):
        out += struct.pack(">BI", 0xDF, len(value))
        for key, item in value.items():
            _pack(key, out)
            _pack(item, out)
    else:
        raise TypeError(f"cannot pack {type(value).__name__}")


_FIXED = {
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_CONSTANT: dict[int, bool | None] = {0xC0: None, 0xC2: False, 0xC3: True}
_SIZED = {
    **dict.fromkeys((0xC4, 0xD9), ">B"),
    **dict.fromkeys((0xC5, 0xDA, 0xDC, 0xDE), ">H"),
    **dict.fromkeys((0xC6, 0xDB, 0xDD, 0xDF), ">I"),
}


def unpack(data: bytes) -> Value:
    """The value of MessagePack."""
    return _unpack(data, 0)[0]


def _unpack(data: bytes, at: int) -> tuple[Value, int]:
    tag = data[at]
    at += 1
    if tag < 0x80:
        return tag, at
    if tag >= 0xE0:
        return tag - 0x100, at
    if tag < 0x90:
        return _map(data, at, tag & 0x0F)
    if tag < 0xA0:
        return _array(data, at, tag & 0x0F)
    if tag < 0xC0:
        return _text(data, at, tag & 0x1F)
    if tag in _CONSTANT:
        return _CONSTANT[tag], at
    if tag in _FIXED:
        (number,) = struct.unpack_from(_FIXED[tag], data, at)
        return number, at + struct.calcsize(_FIXED[tag])
    (size,) = struct.unpack_from(_SIZED[tag], data, at)
    at += struct.calcsize(_SIZED[tag])
    if tag <= 0xC6:
        return data[at : at + size], at + size
    if tag <= 0xDB:
        return _text(data, at, size)
    return _array(data, at, size) if tag <= 0xDD else _map(data, at, size)


def _text(data: bytes, at: int, size: int) -> tuple[str, int]:
    return data[at : at + size].decode("utf-8", "surrogateescape"), at + size


def _array(data: bytes, at: int, size: int) -> tuple[list[Value], int]:
    items: list[Value] = []
    for _ in range(size):
        item, at = _unpack(data, at)
        items.append(item)
    return items, at


def _map(data: bytes, at: int, size: int) -> tuple[dict[str, Value], int]:
    items: dict[str, Value] = {}
    for _ in range(size):
        key, at = _unpack(data, at)
        items[str(key)], at = _unpack(data, at)
    return items, at
