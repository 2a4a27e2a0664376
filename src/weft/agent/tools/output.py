"""How a long output is shortened for a model."""

from __future__ import annotations

from weft.core.limits import MAX_TOOL_OUTPUT_CHARS


def clipped(text: str, limit: int = MAX_TOOL_OUTPUT_CHARS) -> str:
    """The head and the tail of a long text, with a note of what is missing between them."""
    if len(text) <= limit:
        return text
    head, tail = limit // 3, limit - limit // 3
    missing = len(text) - head - tail
    return f"{text[:head]}\n[... {missing:,} characters left out ...]\n{text[-tail:]}"
