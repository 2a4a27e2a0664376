"""OpenAI's responses, without state: encrypted reasoning travels with the history, nothing is stored."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
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
from weft.agent.models.wire.parts import Draft, in_order, parts, text_arguments
from weft.agent.models.wire.sse import ServerEvent

# OpenAI's other models answer a request for encrypted reasoning with an error.
_REASONS: Final = re.compile(r"(?:o\d|gpt-(?:[5-9]|\d\d)|codex)(?!.*chat)")


class _Type(msgspec.Struct):
    type: str


class _Delta(msgspec.Struct):
    delta: str
    output_index: int = 0


class _Part(msgspec.Struct):
    summary_index: int = 0


class _Item(msgspec.Struct):
    item: dict[str, Any]
    output_index: int = 0


class _Call(msgspec.Struct):
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Content(msgspec.Struct):
    text: str | None = None
    refusal: str | None = None


class _Message(msgspec.Struct):
    content: list[_Content] | None = None


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None

    def usage(self) -> Usage:
        cached = self.input_tokens_details.cached_tokens if self.input_tokens_details else 0
        thought = self.output_tokens_details.reasoning_tokens if self.output_tokens_details else 0
        return Usage(
            input=self.input_tokens or 0,
            output=self.output_tokens or 0,
            cached=cached or 0,
            reasoning=thought or 0,
        )


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    usage: _Usage | None = None
    error: Any = None
    incomplete_details: _Incomplete | None = None


class _Ended(msgspec.Struct):
    response: _Response


class ResponsesFormat:
    name = "responses"
    path = "/responses"

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:
        return {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}

    def body(
        self, endpoint: Endpoint, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"model": endpoint.model, "stream": True, "store": False}
        if tools:
            body["tools"] = [_tool(tool) for tool in in_order(tools)]
        if options.max_output_tokens is not None:
            body["max_output_tokens"] = options.max_output_tokens
        if options.temperature is not None:
            body["temperature"] = options.temperature
        if options.effort:
            body["reasoning"] = {"effort": options.effort}  # summaries are for verified organisations only
        if endpoint.official and _REASONS.match(endpoint.model):
            body["include"] = ["reasoning.encrypted_content"]
        if options.cache_key and endpoint.official:
            body["prompt_cache_key"] = options.cache_key
        made_by = maker(self.name, endpoint)
        body["input"] = [item for message in messages for item in _items(message, made_by)]
        return body

    def decoder(self, endpoint: Endpoint, turn: int) -> ResponsesDecoder:
        return ResponsesDecoder(endpoint, Draft(maker(self.name, endpoint), turn))


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": False,  # the default here is true, which forbids optional parameters
    }


def _items(message: Message, made_by: str) -> Iterator[dict[str, Any]]:
    if message.role == "tool":
        yield {"type": "function_call_output", "call_id": message.call_id, "output": message.content}
        return
    if message.role != "assistant":
        if message.content:
            yield {"role": message.role, "content": message.content}
        return
    for part in parts(message, made_by):
        if isinstance(part, dict):
            yield part
        elif isinstance(part, ToolCall):
            yield {
                "type": "function_call",
                "call_id": part.id,
                "name": part.name,
                "arguments": text_arguments(part),
            }
        else:
            yield {"role": "assistant", "content": part}


class ResponsesDecoder:
    """Reads `response.…` events."""

    def __init__(self, endpoint: Endpoint, draft: Draft) -> None:
        self.ended = False
        self._endpoint = endpoint
        self._draft = draft
        self._reasoning: dict[int, dict[str, Any]] = {}
        self._texts: set[int] = set()
        self._refused = False

    def feed(self, event: ServerEvent) -> Iterator[Delta]:
        if event.data.strip() == "[DONE]":
            return
        match decoded(self._endpoint, event.data, _Type).type.removeprefix("response."):
            case "output_text.delta" | "refusal.delta" as kind:
                said = decoded(self._endpoint, event.data, _Delta)
                self._refused = self._refused or kind == "refusal.delta"
                self._texts.add(said.output_index)
                yield from self._draft.text(said.delta)
            case "reasoning_summary_text.delta" | "reasoning_text.delta":
                yield ReasoningDelta(decoded(self._endpoint, event.data, _Delta).delta)
            case "reasoning_summary_part.added":
                if decoded(self._endpoint, event.data, _Part).summary_index:
                    yield ReasoningDelta("\n\n")
            case "function_call_arguments.delta":
                piece = decoded(self._endpoint, event.data, _Delta)
                yield from self._draft.arguments(piece.output_index, piece.delta)
            case "output_item.added":
                yield from self._begun(decoded(self._endpoint, event.data, _Item))
            case "output_item.done":
                yield from self._done(decoded(self._endpoint, event.data, _Item))
            case "completed" | "incomplete" as kind:
                ended = decoded(self._endpoint, event.data, _Ended).response
                yield from self._end(kind == "completed", ended)
            case "failed":
                failed = decoded(self._endpoint, event.data, _Ended).response
                raise reported(self._endpoint, failed.error or "the response failed")
            case "error":
                error = decoded(self._endpoint, event.data, dict[str, Any])
                raise reported(self._endpoint, error.get("error") or {**error, "type": ""})

    def close(self) -> Iterator[Delta]:
        return iter(())

    def _begun(self, event: _Item) -> Iterator[Delta]:
        item = event.item
        if item.get("type") == "function_call":
            call = checked(self._endpoint, item, _Call)
            yield from self._draft.call(event.output_index, call.call_id or "", call.name or "")
        elif item.get("type") == "reasoning":
            self._draft.keep(self._reasoning.setdefault(event.output_index, {}))

    def _done(self, event: _Item) -> Iterator[Delta]:
        """The whole item, which servers send instead of its pieces too."""
        item, index = event.item, event.output_index
        if item.get("type") == "function_call":
            yield from self._begun(event)
            if not self._draft.has_arguments(index):
                call = checked(self._endpoint, item, _Call)
                yield from self._draft.arguments(index, call.arguments or "")
        elif item.get("type") == "reasoning":
            if index not in self._reasoning:
                yield from self._begun(event)
            self._reasoning[index].update(item)
        elif item.get("type") == "message" and index not in self._texts:
            for content in checked(self._endpoint, item, _Message).content or ():
                yield from self._draft.text(content.text or content.refusal or "")

    def _end(self, completed: bool, response: _Response) -> Iterator[Delta]:
        self.ended = True
        for item in self._reasoning.values():
            # Without either there is only an id, and what it names was not stored.
            if not item.get("encrypted_content") and not item.get("content"):
                self._draft.forget(item)
        filtered = response.incomplete_details and response.incomplete_details.reason == "content_filter"
        stop: StopReason = "done" if completed else "cut"
        usage = response.usage.usage() if response.usage else Usage()
        yield from self._draft.end("refused" if self._refused or filtered else stop, usage)
