"""Text from outside, on a terminal: shown, never obeyed."""

from __future__ import annotations

from typing import Final

# Characters that turn the order of a line around make it read as something else than it is.
_TURNING: Final = (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))} | {
    code: f"\\u{code:04x}" for code in _TURNING
}


def escaped(line: str) -> str:
    """The line with its control characters, line breaks among them, written out."""
    return line.translate(_CONTROLS)
