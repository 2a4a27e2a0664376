"""Text from outside, on a terminal: shown, never obeyed."""

from __future__ import annotations

from typing import Final

_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


def escaped(line: str) -> str:
    """The line with its control characters, line breaks among them, written out."""
    return line.translate(_CONTROLS)
