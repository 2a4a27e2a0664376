"""OpenAI's chat completions, which vLLM, SGLang, Ollama and most others speak too."""

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
from weft.agent.models.wire.format import decoded, maker
from weft.agent.models.wire.parts import Draft, in_order, parts, text_arguments
from weft.agent.models.wire.sse import ServerEvent

_STOPS: Final[dict[str, StopReason]] = {
    "stop": "done",
    "tool_calls": "calls",
    "function_call": "calls",
    "content_filter": "refused",
}
# OpenAI's other models answer a prediction with an error.
_PREDICTS: Final = re.compile(r"gpt-4o|gpt-4\.1")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Said(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    delta: _Said | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def usage(self) -> Usage:
        cached = self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else 0
        thought = self.completion_tokens_details.reasoning_tokens if self.completion_tokens_details else 0
        return Usage(
            input=self.prompt_tokens or 0,
            output=self.completion_tokens or 0,
            cached=cached or 0,
            reasoning=thought or 0,
        )


class _Chunk(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


class ChatFormat:
    name = "chat"
    path = "/chat/completions"

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:
        return {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}

    def body(
        self, endpoint: Endpoint, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
    ) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": endpoint.model,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if tools:
            body["tools"] = [_tool(tool) for tool in in_order(tools)]
        if options.max_output_tokens is not None:
            limit = "max_completion_tokens" if endpoint.official else "max_tokens"
            body[limit] = options.max_output_tokens
        if options.temperature is not None:
            body["temperature"] = options.temperature
        if options.effort:
            body["reasoning_effort"] = options.effort
        if options.cache_key and endpoint.official:
            body["prompt_cache_key"] = options.cache_key
        if options.prediction and not tools and endpoint.official and _PREDICTS.match(endpoint.model):
            body["prediction"] = {"type": "content", "content": options.prediction}
            body.pop("max_completion_tokens", None)  # they do not go together
        body["messages"] = [_message(message, maker(self.name, endpoint)) for message in messages]
        return body

    def decoder(self, endpoint: Endpoint, turn: int) -> ChatDecoder:
        return ChatDecoder(endpoint, Draft(maker(self.name, endpoint), turn))


def _tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {"name": tool.name, "description": tool.description, "parameters": tool.parameters},
    }


def _message(message: Message, made_by: str) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.content}
    if message.role != "assistant":
        return {"role": message.role, "content": message.content}
    sent: dict[str, Any] = {"role": "assistant", "content": message.content}
    for part in parts(message, made_by):
        if isinstance(part, dict):
            sent |= part
    if message.calls:
        sent["content"] = message.content or None
        sent["tool_calls"] = [_sent_call(call) for call in message.calls]
    return sent


def _sent_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": text_arguments(call)},
    }


class ChatDecoder:
    """Reads `chat.completion.chunk` events. Servers name the field with the reasoning in two ways; whichever
    it was is sent back, as models that think between their calls need it."""

    def __init__(self, endpoint: Endpoint, draft: Draft) -> None:
        self.ended = False
        self._endpoint = endpoint
        self._draft = draft
        self._thoughts: dict[str, Any] = {}
        self._ids: dict[int, str] = {}
        self._stop: StopReason | None = None
        self._refused = False
        self._usage = Usage()

    def feed(self, event: ServerEvent) -> Iterator[Delta]:
        if event.data.strip() == "[DONE]":
            yield from self.close()
            return
        chunk = decoded(self._endpoint, event.data, _Chunk)
        if chunk.error:
            raise reported(self._endpoint, chunk.error)
        if chunk.usage:
            self._usage = chunk.usage.usage()
        for choice in chunk.choices or ():
            if choice.delta:
                yield from self._said(choice.delta)
            if choice.finish_reason:
                self._stop = _STOPS.get(choice.finish_reason, "cut")

    def close(self) -> Iterator[Delta]:
        if self._stop and not self.ended:
            self.ended = True
            yield from self._draft.end("refused" if self._refused else self._stop, self._usage)

    def _said(self, said: _Said) -> Iterator[Delta]:
        for field in ("reasoning_content", "reasoning"):
            if thought := getattr(said, field):
                yield self._thought(field, thought)
                break
        if said.refusal:
            self._refused = True
        yield from self._draft.text((said.content or "") + (said.refusal or ""))
        for call in said.tool_calls or ():
            yield from self._called(call)

    def _thought(self, field: str, text: str) -> Delta:
        if not self._thoughts:
            self._draft.keep(self._thoughts)
        self._thoughts[field] = self._thoughts.get(field, "") + text
        return ReasoningDelta(text)

    def _called(self, call: _Call) -> Iterator[Delta]:
        """Some servers number every call 0: another id with a name is another call."""
        function = call.function or _Function()
        if function.name and call.id:
            self._ids[call.index] = call.id
        key = (call.index, self._ids.get(call.index, ""))
        if function.name:
            yield from self._draft.call(key, call.id or "", function.name)
        yield from self._draft.arguments(key, function.arguments or "")
