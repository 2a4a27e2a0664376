"""What is wrong with a request in each wire format: at least as strict as the providers are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from weft.testing.model_server_events import signature

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ID: Final = re.compile(r"[A-Za-z0-9_-]+")
_CHAT_KEYS: Final = {
    "model",
    "messages",
    "stream",
    "stream_options",
    "tools",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "reasoning_effort",
    "prompt_cache_key",
    "prediction",
}
_RESPONSES_KEYS: Final = {
    "model",
    "input",
    "stream",
    "store",
    "include",
    "tools",
    "max_output_tokens",
    "temperature",
    "reasoning",
    "prompt_cache_key",
}
_MESSAGES_KEYS: Final = {
    "model",
    "messages",
    "system",
    "max_tokens",
    "stream",
    "tools",
    "temperature",
    "thinking",
    "output_config",
}


class Refused(Exception):
    """The request does not follow the format."""


def check(wire: str, headers: Mapping[str, str], body: Any) -> None:
    """Raise `Refused` with what is wrong."""
    _need(isinstance(body, dict), "the body is no object")
    _need(isinstance(body.get("model"), str) and body["model"], "model is missing")
    _need(body.get("stream") is True, "only streams are served")
    _need("temperature" not in body or 0 <= body["temperature"] <= 2, "temperature is not from 0 to 2")
    _need(body.get("tools") != [], "tools is empty")
    if wire == "chat":
        _check_chat(body)
    elif wire == "responses":
        _check_responses(body)
    else:
        _need(headers.get("anthropic-version") == "2023-06-01", "anthropic-version: header is required")
        _check_messages(body)


def _need(holds: object, message: str) -> None:
    if not holds:
        raise Refused(message)


def _keys(value: Any, allowed: set[str], where: str) -> None:
    _need(isinstance(value, dict), f"{where} is no object")
    _need(value.keys() <= allowed, f"{where}: unknown {sorted(value.keys() - allowed)}")


def _check_schema(name: Any, description: Any, schema: Any) -> None:
    _need(isinstance(name, str) and _NAME.fullmatch(name), f"tool name {name!r}")
    _need(isinstance(description, str), f"tool {name}: description")
    _need(isinstance(schema, dict) and schema.get("type") == "object", f"tool {name}: no object schema")


def _is_object(text: Any) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _limit(body: dict[str, Any], name: str) -> None:
    _need(name not in body or (isinstance(body[name], int) and body[name] > 0), f"{name} is not above 0")


def _check_chat(body: dict[str, Any]) -> None:
    _keys(body, _CHAT_KEYS, "body")
    for name in ("max_tokens", "max_completion_tokens"):
        _limit(body, name)
    for tool in body.get("tools", ()):
        _keys(tool, {"type", "function"}, "tool")
        _keys(tool["function"], {"name", "description", "parameters"}, "function")
        _check_schema(*(tool["function"].get(key) for key in ("name", "description", "parameters")))
    _need(isinstance(body.get("messages"), list) and body["messages"], "messages is empty")
    _need(not (body.get("prediction") and body.get("tools")), "prediction does not go with tools")
    open_ids: list[str] = []
    for number, message in enumerate(body["messages"]):
        where = f"messages[{number}]"
        role = message.get("role")
        if role == "tool":
            _keys(message, {"role", "tool_call_id", "content"}, where)
            _need(message["tool_call_id"] in open_ids, f"{where}: answers no call before it")
            open_ids.remove(message["tool_call_id"])
            _need(isinstance(message["content"], str), f"{where}: content")
            continue
        _need(not open_ids, f"{where}: calls {open_ids} were not answered")
        if role == "assistant":
            open_ids = _check_assistant(message, where)
        else:
            _need(role in ("system", "user"), f"{where}: role {role!r}")
            _keys(message, {"role", "content"}, where)
            _need(isinstance(message["content"], str), f"{where}: content")
    _need(not open_ids, f"calls {open_ids} were not answered")
    _need(body["messages"][-1]["role"] in ("user", "tool"), "the last message is not for the model")


def _check_assistant(message: dict[str, Any], where: str) -> list[str]:
    _keys(message, {"role", "content", "tool_calls", "reasoning_content", "reasoning"}, where)
    calls = message.get("tool_calls")
    if calls is None:
        _need(isinstance(message.get("content"), str), f"{where}: content")
        return []
    _need(calls, f"{where}: tool_calls is empty")
    for call in calls:
        _keys(call, {"id", "type", "function"}, where)
        _need(call["type"] == "function" and call["id"], f"{where}: call")
        _keys(call["function"], {"name", "arguments"}, where)
        _need(call["function"]["name"], f"{where}: function name")
        _need(_is_object(call["function"]["arguments"]), f"{where}: arguments are no JSON object")
    ids = [call["id"] for call in calls]
    _need(len(set(ids)) == len(ids), f"{where}: the same id twice")
    return ids


def _check_responses(body: dict[str, Any]) -> None:
    _keys(body, _RESPONSES_KEYS, "body")
    _limit(body, "max_output_tokens")
    _need(body.get("store") is False, "this server stores nothing")
    for tool in body.get("tools", ()):
        _keys(tool, {"type", "name", "description", "parameters", "strict"}, "tool")
        _need(tool["type"] == "function", "tool type")
        _check_schema(*(tool.get(key) for key in ("name", "description", "parameters")))
    _need(isinstance(body.get("input"), list) and body["input"], "input is empty")
    open_ids: list[str] = []
    for number, item in enumerate(body["input"]):
        where = f"input[{number}]"
        match item.get("type", "message"):
            case "message":
                _keys(item, {"type", "role", "content"}, where)
                _need(item["role"] in ("user", "assistant", "system", "developer"), f"{where}: role")
                _need(isinstance(item["content"], str) and item["content"], f"{where}: content")
                _need(not open_ids or item["role"] == "assistant", f"{where}: {open_ids} were not answered")
            case "function_call":
                _keys(item, {"type", "call_id", "name", "arguments"}, where)
                _need(item["call_id"] and item["name"], f"{where}: call_id or name")
                _need(item["call_id"] not in open_ids, f"{where}: the same id twice")
                _need(_is_object(item["arguments"]), f"{where}: arguments are no JSON object")
                open_ids.append(item["call_id"])
            case "function_call_output":
                _keys(item, {"type", "call_id", "output"}, where)
                _need(item["call_id"] in open_ids, f"{where}: answers no call before it")
                open_ids.remove(item["call_id"])
            case "reasoning":
                _keys(item, {"type", "id", "summary", "encrypted_content"}, where)
                thought = "".join(part["text"] for part in item["summary"])
                _need(item["encrypted_content"] == signature(thought), f"{where}: reasoning was modified")
            case kind:
                _need(False, f"{where}: type {kind!r}")
    _need(not open_ids, f"no output for calls {open_ids}")


def _check_messages(body: dict[str, Any]) -> None:
    _keys(body, _MESSAGES_KEYS, "body")
    _need("max_tokens" in body, "max_tokens is missing")
    _limit(body, "max_tokens")
    thinking = body.get("thinking", {"type": "disabled"})
    if thinking["type"] == "enabled":
        _need(1_024 <= thinking["budget_tokens"] < body["max_tokens"], "thinking.budget_tokens")
        _need("temperature" not in body, "temperature does not go with thinking")
    for tool in body.get("tools", ()):
        _keys(tool, {"name", "description", "input_schema", "cache_control"}, "tool")
        _check_schema(*(tool.get(key) for key in ("name", "description", "input_schema")))
    turns = body.get("messages")
    _need(isinstance(turns, list) and turns, "messages is empty")
    assert isinstance(turns, list)
    _need(sum(1 for _ in _marks(body)) <= 4, "more than 4 cache_control marks")
    roles = [turn.get("role") for turn in turns]
    _need(roles == [("user", "assistant")[n % 2] for n in range(len(roles))], f"roles {roles}")
    _need(roles[-1] == "user", "the last message is not for the model")
    for block in body.get("system", ()):
        _check_block(block, "system", {"text"})
    open_ids: list[str] = []
    for number, turn in enumerate(turns):
        where = f"messages[{number}]"
        _keys(turn, {"role", "content"}, where)
        _need(turn["content"], f"{where}: content is empty")
        allowed = {
            "user": {"text", "tool_result"},
            "assistant": {"text", "tool_use", "thinking", "redacted_thinking"},
        }[turn["role"]]
        for block in turn["content"]:
            _check_block(block, where, allowed)
        kinds = [kind for kind, _ in groupby(block["type"] for block in turn["content"])]
        if turn["role"] == "user":
            _need(kinds in (["text"], ["tool_result"], ["tool_result", "text"]), f"{where}: {kinds}")
            answered = [b["tool_use_id"] for b in turn["content"] if b["type"] == "tool_result"]
            _need(sorted(answered) == sorted(open_ids), f"{where}: answers {answered}, not {open_ids}")
        open_ids = [b["id"] for b in turn["content"] if b["type"] == "tool_use"]
        _need(len(set(open_ids)) == len(open_ids), f"{where}: the same id twice")
    if thinking["type"] == "enabled" and (last := _last_assistant(turns)):
        first = last["content"][0]["type"]
        _need(first in ("thinking", "redacted_thinking"), f"expected `thinking`, but found `{first}`")


def _last_assistant(turns: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The reply whose calls the last turn answers."""
    if turns[-1]["content"][0]["type"] != "tool_result":
        return None
    return turns[-2]


def _check_block(block: dict[str, Any], where: str, allowed: set[str]) -> None:
    kind = block.get("type")
    _need(kind in allowed, f"{where}: block {kind!r}")
    match kind:
        case "text":
            _keys(block, {"type", "text", "cache_control"}, where)
            _need(block["text"].strip(), f"{where}: text content blocks must contain non-whitespace text")
        case "tool_use":
            _keys(block, {"type", "id", "name", "input", "cache_control"}, where)
            _need(_ID.fullmatch(block["id"]) and block["name"], f"{where}: id or name")
            _need(isinstance(block["input"], dict), f"{where}: input is no object")
        case "tool_result":
            _keys(block, {"type", "tool_use_id", "content", "cache_control"}, where)
            for inner in block.get("content", ()):
                _check_block(inner, where, {"text"})
        case "thinking":
            _keys(block, {"type", "thinking", "signature"}, where)
            signed = signature(block["thinking"])
            _need(block["signature"] == signed, f"{where}: thinking blocks cannot be modified")


def _marks(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        if "cache_control" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _marks(inner)
