"""Bytes as people write and read them."""

from __future__ import annotations

from typing import Final

from weft.core.errors import Invalid

_MARK: Final = "hex:"


def parse_bytes(text: str, hexadecimal: bool) -> bytes:
    """Bytes from text, from `hex:00ff`, or with `hexadecimal` from `00ff`."""
    if not hexadecimal and not text.startswith(_MARK):
        return text.encode("utf-8", "surrogateescape")
    try:
        return bytes.fromhex(text.removeprefix(_MARK))
    except ValueError:
        raise Invalid(f"`{text}` is not hexadecimal", hint="write two digits for each byte") from None


def show_bytes(data: bytes, hexadecimal: bool) -> str:
    """Text that `parse_bytes` reads back: plain where every character is printable."""
    if hexadecimal:
        return data.hex()
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _MARK + data.hex()
    return text if text.isprintable() and not text.startswith(_MARK) else _MARK + data.hex()
