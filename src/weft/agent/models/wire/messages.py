"""Anthropic's messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

from weft.agent.models.protocol import (
    Delta,
    Message,
    Options,
    ReasoningDelta,
    StopReason,
    ToolCall,
    ToolSpec,
    Usage,
)
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.faults import reported
from weft.agent.models.wire.format import checked, decoded, maker
from weft.agent.models.wire.parts import Draft, in_order, object_arguments, parts
from weft.agent.models.wire.sse import ServerEvent

_VERSION: Final = "2023-06-01"
# The format wants a limit: enough for a whole file, and no more than every model still served takes.
_MAX_OUTPUT_TOKENS: Final = 16_384
# Together with the limit above, within what the models take that want a number.
_THINKING_TOKENS: Final = {"low": 2_048, "medium": 6_144, "high": 12_288}
_CLAUDE: Final = re.compile(r"claude-[a-z]+-(\d+)(?:-(\d{1,2})(?!\d))?")
_ADAPTIVE_FROM: Final = (4, 6)
_CACHED: Final = {"type": "ephemeral"}
_ID_CHARACTERS: Final = re.compile(r"[^A-Za-z0-9_-]")
_STOPS: Final[dict[str, StopReason]] = {
    "end_turn": "done",
    "stop_sequence": "done",
    "tool_use": "calls",
    "refusal": "refused",
}

_Block = dict[str, Any]


class _Text(msgspec.Struct):
    text: str | None = None


class _ToolUse(msgspec.Struct):
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Thinking(msgspec.Struct):
    thinking: str | None = None
    signature: str | None = None


class _Type(msgspec.Struct):
    type: str


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class _Begun(msgspec.Struct):
    usage: _Usage | None = None


class _Start(msgspec.Struct):
    message: _Begun


class _BlockStart(msgspec.Struct):
    index: int
    content_block: _Block


class _Piece(msgspec.Struct):
    type: str
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""


class _BlockDelta(msgspec.Struct):
    index: int
    delta: _Piece


class _BlockStop(msgspec.Struct):
    index: int


class _Ending(msgspec.Struct):
    stop_reason: str | None = None


class _MessageDelta(msgspec.Struct):
    delta: _Ending
    usage: _Usage | None = None


class _Error(msgspec.Struct):
    error: Any


class MessagesFormat:
    name = "messages"
    path = "/messages"

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:
        headers = {"anthropic-version": _VERSION}
        if endpoint.key:
            headers["x-api-key"] = endpoint.key
            if not endpoint.official:
                headers["authorization"] = f"Bearer {endpoint.key}"
        return headers

    def body(
        self, endpoint: Endpoint, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
    ) -> dict[str, Any]:
        made_by = maker(self.name, endpoint)
        leading = next((n for n, message in enumerate(messages) if message.role != "system"), len(messages))
        body: dict[str, Any] = {
            "model": endpoint.model,
            "max_tokens": options.max_output_tokens or _MAX_OUTPUT_TOKENS,
            "stream": True,
        }
        if tools:
            body["tools"] = [_tool(tool) for tool in in_order(tools)]
            body["tools"][-1]["cache_control"] = _CACHED
        if system := [_text(message.content) for message in messages[:leading] if message.content.strip()]:
            body["system"] = system
            system[-1]["cache_control"] = _CACHED
        if options.effort and _may_think(messages, made_by, endpoint):
            body |= _thinking(endpoint, options.effort, body["max_tokens"])
        elif options.temperature is not None:
            body["temperature"] = options.temperature
        body["messages"] = _turns(messages[leading:], made_by)
        return body

    def decoder(self, endpoint: Endpoint, turn: int) -> MessagesDecoder:
        return MessagesDecoder(endpoint, Draft(maker(self.name, endpoint), turn))


def _tool(tool: ToolSpec) -> _Block:
    return {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}


def _text(text: str) -> _Block:
    return {"type": "text", "text": text}


def _turns(messages: Sequence[Message], made_by: str) -> list[_Block]:
    """The history as turns of two speakers.

    The last turn, and the one that ended the request before, are marked for the cache: from there the
    provider finds its own entry again, however many results came between.
    """
    turns: list[_Block] = []
    for assistant, group in groupby(messages, key=lambda message: message.role == "assistant"):
        content = [block for message in group for block in _blocks(message, made_by)]
        if content and turns and turns[-1]["role"] == ("assistant" if assistant else "user"):
            turns[-1]["content"] += content
        elif content:
            turns.append({"role": "assistant" if assistant else "user", "content": content})
    for turn in [turn for turn in turns if turn["role"] == "user"][-2:]:
        turn["content"][-1]["cache_control"] = _CACHED
    return turns


def _blocks(message: Message, made_by: str) -> Iterator[_Block]:
    """Text that is blank may not be sent; a result may be empty."""
    if message.role == "tool":
        result: _Block = {"type": "tool_result", "tool_use_id": _id(message.call_id or "")}
        yield result | ({"content": [_text(message.content)]} if message.content.strip() else {})
    elif message.role == "assistant":
        for part in parts(message, made_by):
            if isinstance(part, dict):
                yield part
            elif isinstance(part, ToolCall):
                yield {
                    "type": "tool_use",
                    "id": _id(part.id),
                    "name": part.name,
                    "input": object_arguments(part),
                }
            elif part.strip():
                yield _text(part)
    elif message.content.strip():
        yield _text(message.content)


def _id(text: str) -> str:
    """Other providers' ids have characters that this format does not take."""
    return _ID_CHARACTERS.sub("_", text)


def _adapts(endpoint: Endpoint) -> bool:
    """Whether the model decides by itself how much it thinks; older ones want a number of tokens."""
    version = _CLAUDE.match(endpoint.model)
    return version is not None and (int(version[1]), int(version[2] or 0)) >= _ADAPTIVE_FROM


def _may_think(messages: Sequence[Message], made_by: str, endpoint: Endpoint) -> bool:
    """Older models refuse to think in the middle of a turn whose last reply begins without a thought."""
    last = next((message for message in reversed(messages) if message.role in ("user", "assistant")), None)
    if _adapts(endpoint) or last is None or last.role == "user":
        return True
    return isinstance(next(iter(parts(last, made_by)), None), dict)


def _thinking(endpoint: Endpoint, effort: str, max_tokens: int) -> _Block:
    if _adapts(endpoint):
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": effort}}
    budget = _THINKING_TOKENS[effort]
    return {
        "thinking": {"type": "enabled", "budget_tokens": budget},
        "max_tokens": max_tokens + budget,  # it counts both
    }


class MessagesDecoder:
    """Reads `message_start`, `content_block_…`, `message_delta` and `message_stop` events."""

    def __init__(self, endpoint: Endpoint, draft: Draft) -> None:
        self.ended = False
        self._endpoint = endpoint
        self._draft = draft
        self._thoughts: dict[int, _Block] = {}
        self._inputs: dict[int, Any] = {}
        self._usage: dict[str, int] = {}
        self._stop: StopReason | None = None

    def feed(self, event: ServerEvent) -> Iterator[Delta]:
        match decoded(self._endpoint, event.data, _Type).type:
            case "message_start":
                self._count(decoded(self._endpoint, event.data, _Start).message.usage)
            case "content_block_start":
                start = decoded(self._endpoint, event.data, _BlockStart)
                yield from self._begun(start.index, start.content_block)
            case "content_block_delta":
                piece = decoded(self._endpoint, event.data, _BlockDelta)
                yield from self._piece(piece.index, piece.delta)
            case "content_block_stop":
                index = decoded(self._endpoint, event.data, _BlockStop).index
                if self._inputs.get(index) and not self._draft.has_arguments(index):
                    whole = msgspec.json.encode(self._inputs[index]).decode()
                    yield from self._draft.arguments(index, whole)
            case "message_delta":
                ending = decoded(self._endpoint, event.data, _MessageDelta)
                self._count(ending.usage)
                if ending.delta.stop_reason:
                    self._stop = _STOPS.get(ending.delta.stop_reason, "cut")
            case "message_stop":
                yield from self.close()
            case "error":
                raise reported(self._endpoint, decoded(self._endpoint, event.data, _Error).error)

    def close(self) -> Iterator[Delta]:
        if self._stop and not self.ended:
            self.ended = True
            for thought in self._thoughts.values():
                if thought.get("type") == "thinking" and not thought.get("signature"):
                    self._draft.forget(thought)  # cut off before it was signed
            yield from self._draft.end(self._stop, self._used())

    def _begun(self, index: int, block: _Block) -> Iterator[Delta]:
        match block.get("type"):
            case "text":
                yield from self._draft.text(checked(self._endpoint, block, _Text).text or "")
            case "tool_use":
                tool = checked(self._endpoint, block, _ToolUse)
                self._inputs[index] = tool.input
                yield from self._draft.call(index, tool.id or "", tool.name or "")
            case "thinking" | "redacted_thinking":
                thought = checked(self._endpoint, block, _Thinking).thinking
                self._thoughts[index] = block
                self._draft.keep(block)
                if thought:
                    yield ReasoningDelta(thought)

    def _piece(self, index: int, piece: _Piece) -> Iterator[Delta]:
        match piece.type:
            case "text_delta":
                yield from self._draft.text(piece.text)
            case "input_json_delta":
                yield from self._draft.arguments(index, piece.partial_json)
            case "thinking_delta" if index in self._thoughts:
                self._grow(index, "thinking", piece.thinking)
                if piece.thinking:
                    yield ReasoningDelta(piece.thinking)
            case "signature_delta" if index in self._thoughts:
                self._grow(index, "signature", piece.signature)

    def _grow(self, index: int, field: str, text: str) -> None:
        thought = self._thoughts[index]
        thought[field] = (thought.get(field) or "") + text

    def _count(self, usage: _Usage | None) -> None:
        """Each report is a total, of those that it names."""
        if usage:
            self._usage |= {name: n for name, n in msgspec.structs.asdict(usage).items() if n is not None}

    def _used(self) -> Usage:
        read = self._usage.get("cache_read_input_tokens", 0)
        written = self._usage.get("cache_creation_input_tokens", 0)
        return Usage(
            input=self._usage.get("input_tokens", 0) + read + written,
            output=self._usage.get("output_tokens", 0),
            cached=read,
            cache_written=written,
        )
