"""About how many tokens a message has, where no model has counted yet."""

from __future__ import annotations

from typing import Final

from weft.agent.models.protocol import Message

CHARS_PER_TOKEN: Final = 4
"""Of English and of code, in the tokenizers of today, a little on the safe side."""
_FRAME_TOKENS: Final = 4


def message_tokens(message: Message) -> int:
    """A message's own length, and what every message costs."""
    chars = len(message.content) + sum(len(call.name) + len(call.arguments) for call in message.calls)
    return chars // CHARS_PER_TOKEN + _FRAME_TOKENS
