"""How much of a tool's output a model gets to see, and how what is left out is told."""

from __future__ import annotations

from typing import Final

# A file of a thousand lines fits; more than this crowds out the task.
MAX_OUTPUT_CHARS: Final = 24_000
MAX_READ_LINES: Final = 1_000
# Longer lines are data or minified code.
MAX_LINE_CHARS: Final = 1_000
MAX_ENTRIES: Final = 500
MAX_HITS: Final = 100
MAX_COMMAND_S: Final = 600.0


def clipped(text: str, limit: int = MAX_OUTPUT_CHARS) -> str:
    """The head and the tail of a long text, with a note of what is missing between them."""
    if len(text) <= limit:
        return text
    head, tail = limit // 3, limit - limit // 3
    missing = len(text) - head - tail
    return f"{text[:head]}\n[... {missing:,} characters left out ...]\n{text[-tail:]}"
