"""Sessions as chats in the format that OpenAI's fine-tuning takes, and most others too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weft.agent.events import AnyEvent, Compacted
from weft.agent.models.protocol import Message, ToolSpec
from weft.agent.state import State


def chats(events: Sequence[AnyEvent], tools: Sequence[ToolSpec] = ()) -> Iterator[dict[str, Any]]:
    """One chat for each window that the session had: what the model really saw and said, to its last reply.

    A session that was never compacted has one.
    """
    state = State()
    for event in events:
        if isinstance(event, Compacted):
            yield from _chat(state.messages, tools)
        state.apply(event)
    yield from _chat(state.messages, tools)


def message(message: Message) -> dict[str, Any]:
    """One message as the chat completions API writes it."""
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.call_id is not None:
        plain["tool_call_id"] = message.call_id
    return plain


def tool(spec: ToolSpec) -> dict[str, Any]:
    """One tool as the chat completions API writes it."""
    return {
        "type": "function",
        "function": {"name": spec.name, "description": spec.description, "parameters": spec.parameters},
    }


def _chat(messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Iterator[dict[str, Any]]:
    replies = [number for number, message in enumerate(messages) if message.role == "assistant"]
    if not replies:
        return
    chat: dict[str, Any] = {"messages": [message(each) for each in _answered(messages[: replies[-1] + 1])]}
    if tools:
        chat["tools"] = [tool(spec) for spec in tools]
    yield chat


def _answered(messages: Sequence[Message]) -> list[Message]:
    """Without calls at the end that nothing answers: the format wants an answer to every call."""
    *before, last = messages
    return [*before, Message(last.role, last.content)] if last.calls else [*messages]
