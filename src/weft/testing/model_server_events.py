"""A reply as the events of each wire format, as the providers document them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import xxhash

from weft.agent.models.protocol import (
    CallDelta,
    Delta,
    Opaque,
    ReasoningDelta,
    Stopped,
    StopReason,
    TextDelta,
    Usage,
    collect,
)


def events(wire: str, deltas: Sequence[Delta]) -> list[str]:
    """The events of a reply."""
    reply = collect(deltas)
    pieces = [delta for delta in deltas if not isinstance(delta, (Usage, Stopped, Opaque))]
    makers = {"chat": _chat, "responses": _responses, "messages": _messages}
    return list(makers[wire](pieces, reply.stop, reply.usage))


def signature(thought: str) -> str:
    """What shows that a thought comes back as it was."""
    return f"signed-{xxhash.xxh3_64_hexdigest(thought.encode())}"


def _event(data: dict[str, Any], name: str = "") -> str:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {msgspec.json.encode(data).decode()}\n\n"


def _chat(pieces: Sequence[Delta], stop: StopReason, usage: Usage) -> Iterator[str]:
    finish = {"done": "stop", "calls": "tool_calls", "cut": "length", "refused": "content_filter"}[stop]

    def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "served",
                "choices": [choice],
                "usage": None,
            }
        )

    yield chunk({"role": "assistant", "content": ""})
    for piece in pieces:
        match piece:
            case TextDelta():
                yield chunk({"content": piece.text})
            case ReasoningDelta():
                yield chunk({"reasoning_content": piece.text})
            case CallDelta():
                function = {"name": piece.name} if piece.name else {}
                call: dict[str, Any] = {"index": piece.index}
                call |= {"id": piece.id, "type": "function"} if piece.id else {}
                call["function"] = function | {"arguments": piece.arguments}
                yield chunk({"tool_calls": [call]})
    yield chunk({}, finish)
    yield _event(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": {
                "prompt_tokens": usage.input,
                "completion_tokens": usage.output,
                "total_tokens": usage.input + usage.output,
                "prompt_tokens_details": {"cached_tokens": usage.cached},
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            },
        }
    )
    yield "data: [DONE]\n\n"


class _Blocks:
    """Numbers the blocks or items of a reply: neighbouring pieces of one kind share one, and so do all pieces
    of a call."""

    def __init__(self) -> None:
        self._next = 0
        self._kind: type[Delta] | None = None
        self._calls: dict[int, int] = {}
        self.open: dict[int, Delta] = {}

    def of(self, piece: Delta) -> tuple[int, bool]:
        """The block's number, and whether it begins with this piece."""
        if isinstance(piece, CallDelta):
            begins = piece.index not in self._calls
            number = self._calls.setdefault(piece.index, self._next)
        else:
            begins = self._kind is not type(piece)
            number = self._next - (0 if begins else 1)
        # A call in between does not end a text, but nobody could tell where its pieces belong.
        self._kind = type(piece)
        if begins:
            self._next += 1
            self.open[number] = piece
        return number, begins

    def ended_by(self, piece: Delta) -> list[int]:
        """Texts and thoughts end where something else begins; calls, which may interleave, at the end."""
        if self._kind is type(piece):
            return []
        ended = [number for number, first in self.open.items() if not isinstance(first, CallDelta)]
        for number in ended:
            del self.open[number]
        return ended


def _messages(pieces: Sequence[Delta], stop: StopReason, usage: Usage) -> Iterator[str]:
    def event(name: str, **data: Any) -> str:
        return _event({"type": name, **data}, name)

    thoughts: dict[int, str] = {}

    def closed(block: int, first: Delta) -> Iterator[str]:
        if isinstance(first, ReasoningDelta):
            delta = {"type": "signature_delta", "signature": signature(thoughts[block])}
            yield event("content_block_delta", index=block, delta=delta)
        yield event("content_block_stop", index=block)

    fresh = usage.input - usage.cached - usage.cache_written
    counted = {
        "input_tokens": fresh,
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": usage.cache_written,
        "output_tokens": 1,
    }
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "usage": counted}
    yield event("message_start", message=message)
    yield event("ping")
    blocks = _Blocks()
    for piece in pieces:
        first_of = dict(blocks.open)
        for ended in blocks.ended_by(piece):
            yield from closed(ended, first_of[ended])
        block, begins = blocks.of(piece)
        match piece:
            case TextDelta():
                start: dict[str, Any] = {"type": "text", "text": ""}
                delta = {"type": "text_delta", "text": piece.text}
            case ReasoningDelta():
                start = {"type": "thinking", "thinking": "", "signature": ""}
                delta = {"type": "thinking_delta", "thinking": piece.text}
                thoughts[block] = thoughts.get(block, "") + piece.text
            case CallDelta():
                start = {"type": "tool_use", "id": piece.id, "name": piece.name, "input": {}}
                delta = {"type": "input_json_delta", "partial_json": piece.arguments}
        if begins:
            yield event("content_block_start", index=block, content_block=start)
        yield event("content_block_delta", index=block, delta=delta)
    for block, first in blocks.open.items():
        yield from closed(block, first)
    reason = {"done": "end_turn", "calls": "tool_use", "cut": "max_tokens", "refused": "refusal"}[stop]
    ending = {"stop_reason": reason, "stop_sequence": None}
    yield event("message_delta", delta=ending, usage={"output_tokens": usage.output})
    yield event("message_stop")


def _responses(pieces: Sequence[Delta], stop: StopReason, usage: Usage) -> Iterator[str]:
    sequence = iter(range(1_000_000))

    def event(name: str, **data: Any) -> str:
        name = f"response.{name}"
        return _event({"type": name, "sequence_number": next(sequence), **data}, name)

    said: dict[int, str] = {}

    def closed(index: int, first: Delta) -> Iterator[str]:
        item = _item(first, f"item_{index}", signature(said[index]), said[index])
        if isinstance(first, CallDelta):
            yield event(
                "function_call_arguments.done",
                item_id=item["id"],
                output_index=index,
                arguments=said[index],
            )
        yield event("output_item.done", output_index=index, item=item)

    response = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    yield event("created", response=response)
    yield event("in_progress", response=response)
    blocks = _Blocks()
    for piece in pieces:
        first_of = dict(blocks.open)
        for ended in blocks.ended_by(piece):
            yield from closed(ended, first_of[ended])
        index, begins = blocks.of(piece)
        item_id = f"item_{index}"
        if begins:
            said[index] = ""
            item = _item(piece, item_id, None, "")
            yield event("output_item.added", output_index=index, item=item)
        match piece:
            case TextDelta():
                kind, text = ("refusal" if stop == "refused" else "output_text"), piece.text
            case ReasoningDelta():
                kind, text = "reasoning_summary_text", piece.text
            case CallDelta():
                kind, text = "function_call_arguments", piece.arguments
        said[index] += text
        yield event(f"{kind}.delta", item_id=item_id, output_index=index, delta=text)
    for index, first in blocks.open.items():
        yield from closed(index, first)
    counted = {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input + usage.output,
    }
    if stop in ("cut", "refused"):
        reason = "max_output_tokens" if stop == "cut" else "content_filter"
        ended_response = response | {"status": "incomplete", "incomplete_details": {"reason": reason}}
        yield event("incomplete", response=ended_response | {"usage": counted})
    else:
        yield event("completed", response=response | {"status": "completed", "usage": counted})


def _item(first: Delta, item_id: str, signed: str | None, text: str) -> dict[str, Any]:
    match first:
        case TextDelta():
            content = [{"type": "output_text", "text": text, "annotations": []}] if signed else []
            return {"id": item_id, "type": "message", "role": "assistant", "content": content}
        case ReasoningDelta():
            summary = [{"type": "summary_text", "text": text}] if signed else []
            return {"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": signed}
        case CallDelta():
            return {
                "id": item_id,
                "type": "function_call",
                "call_id": first.id,
                "name": first.name,
                "arguments": text,
            }
    raise AssertionError(first)
