"""What is sent: valid in the format, the same bytes for the same history, and only ever longer."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.models import Message, Opaque, Options, ToolCall, ToolSpec, collect
from weft.agent.models.wire.chat import ChatFormat
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.messages import MessagesFormat
from weft.agent.models.wire.responses import ResponsesFormat
from weft.agent.secrets import MARK
from weft.core.errors import Invalid
from weft.testing.agent import step
from weft.testing.model_server import Answer, reply
from weft.testing.model_server_checks import Refused, check

FORMATS = {"chat": ChatFormat(), "responses": ResponsesFormat(), "messages": MessagesFormat()}
HISTORY_KEY = {"chat": "messages", "responses": "input", "messages": "messages"}
TOOLS = [ToolSpec(name, name, {"type": "object", "properties": {}}) for name in ("b", "a", "c")]
SYSTEM, TASK = Message("system", "be brief"), Message("user", "go")


def endpoint(model: str = "served", official: bool = False) -> Endpoint:
    return Endpoint("https://h/v1", model, name=model, key="k", key_variable="K", official=official)


def sent(wire: str, *messages: Message, model: str = "served", official: bool = False, **options: Any) -> Any:
    tools = options.pop("tools", TOOLS)
    at = endpoint(model, official)
    body = FORMATS[wire].body(at, messages, tools, Options(**options))
    return json.loads(msgspec.json.encode(body))


def unmarked(value: Any) -> Any:
    """Without the marks for the cache, which are no part of what is cached."""
    if isinstance(value, dict):
        return {key: unmarked(inner) for key, inner in value.items() if key != "cache_control"}
    return [unmarked(inner) for inner in value] if isinstance(value, list) else value


def ask(model: Any, history: list[Message], answers: int) -> list[Message]:
    """Go on for so many replies, answering every call."""
    for _ in range(answers):
        made = collect(model.stream(history, TOOLS))
        history = [*history, Message("assistant", made.text, made.calls, opaque=made.opaque)]
        history += [Message("tool", f"result of {call.name}", call_id=call.id) for call in made.calls]
        history += [] if made.calls else [Message("user", "go on")]
    return history


def test_a_session_is_accepted_and_each_request_begins_with_the_one_before(connect: Any, wire: str) -> None:
    two = (ToolCall("id1", "a", '{"x": 1}'), ToolCall("id2", "b", "{}"))
    model, server = connect(
        reply("Looking.", *two, reasoning="first I look"),
        reply("", ToolCall("id3", "c", '{"broken": '), reasoning="then"),
        reply("Done."),
        reply("", *two),
        reply("Really done.", reasoning="hm"),
    )
    ask(model, [SYSTEM, TASK], 5)
    assert not server.refused
    heads, histories = [], []
    for request in server.requests:
        body = unmarked(request.body)
        histories.append([json.dumps(entry) for entry in body.pop(HISTORY_KEY[wire])])
        heads.append(json.dumps(body))
    assert len(set(heads)) == 1
    for before, after in pairwise(histories):
        assert after[: len(before)] == before
        assert len(after) > len(before)
    thoughts = json.dumps(server.requests[-1].body)
    assert "first I look" in thoughts
    assert "then" in thoughts


def test_the_raw_bytes_up_to_the_history_never_change(connect: Any, wire: str) -> None:
    model, server = connect(*[reply("", ToolCall(f"i{n}", "a", "{}")) for n in range(4)])
    ask(model, [SYSTEM, TASK], 4)
    mark = b'"cache_control":{"type":"ephemeral"}'
    plain = [r.raw.replace(b"," + mark, b"").removesuffix(b"]}") for r in server.requests]
    for before, after in pairwise(plain):
        assert after.startswith(before)


@pytest.mark.parametrize("wire", FORMATS)
@given(st.permutations(TOOLS))
def test_the_order_of_the_tools_does_not_matter(wire: str, tools: list[ToolSpec]) -> None:
    assert sent(wire, SYSTEM, TASK, tools=tools) == sent(wire, SYSTEM, TASK)


def test_what_a_cut_off_reply_leaves_can_be_sent_back(connect: Any, wire: str) -> None:
    answer = reply("", ToolCall("a", "a", '{"path": "x'), reasoning="hm", stop="cut")
    model, server = connect(answer, reply("ok"))
    ask(model, [TASK], 2)
    assert not server.refused


def test_messages_marks_the_stable_parts_for_the_cache() -> None:
    calls = (ToolCall("i", "a", "{}"),)
    history = [SYSTEM, TASK, Message("assistant", "", calls), Message("tool", "r", call_id="i")]
    body = sent("messages", *history)
    assert [("cache_control" in tool) for tool in body["tools"]] == [False, False, True]
    assert "cache_control" in body["system"][-1]
    marked = ["cache_control" in turn["content"][-1] for turn in body["messages"]]
    assert marked == [True, False, True]


def test_cache_keys_and_predictions_go_where_they_are_taken() -> None:
    for wire in ("chat", "responses"):
        assert sent(wire, TASK, official=True, cache_key="s1")["prompt_cache_key"] == "s1"
        assert "prompt_cache_key" not in sent(wire, TASK, cache_key="s1")
    told: dict[str, Any] = {"prediction": "whole file", "max_output_tokens": 9, "official": True}
    body = sent("chat", TASK, model="gpt-4.1", tools=[], **told)
    assert body["prediction"] == {"type": "content", "content": "whole file"}
    assert "max_completion_tokens" not in body
    for other in (
        sent("chat", TASK, model="gpt-4.1", **told),
        sent("chat", TASK, model="gpt-5", tools=[], **told),
        sent("responses", TASK, model="gpt-4.1", tools=[], **told),
        sent("messages", TASK, tools=[], **told),
    ):
        assert "prediction" not in other


@pytest.mark.parametrize(
    ("wire", "official", "name"),
    [
        ("chat", True, "max_completion_tokens"),
        ("chat", False, "max_tokens"),
        ("responses", True, "max_output_tokens"),
        ("messages", True, "max_tokens"),
    ],
)
def test_the_limit_on_the_output_has_many_names(wire: str, official: bool, name: str) -> None:
    body = sent(wire, TASK, official=official, max_output_tokens=77, temperature=0.5)
    assert (body[name], body["temperature"]) == (77, 0.5)


def test_effort_in_each_format() -> None:
    assert sent("chat", TASK, effort="low")["reasoning_effort"] == "low"
    assert sent("responses", TASK, effort="high")["reasoning"] == {"effort": "high"}
    old = sent("messages", TASK, model="claude-sonnet-4-5-20250929", effort="medium", temperature=0.1)
    assert old["thinking"] == {"type": "enabled", "budget_tokens": 6_144}
    assert old["max_tokens"] > 6_144
    assert "temperature" not in old
    for model in ("claude-opus-4-7", "claude-sonnet-5", "claude-opus-4-6-20260205"):
        new = sent("messages", TASK, model=model, effort="medium")
        assert (new["thinking"], new["output_config"]) == ({"type": "adaptive"}, {"effort": "medium"})
    assert "thinking" not in sent("messages", TASK, model="claude-opus-4-7")
    assert sent("messages", TASK, model="claude-opus-4-20250514", effort="low")["thinking"]["budget_tokens"]


@pytest.mark.parametrize(
    ("model", "asks"),
    [("gpt-5", True), ("o3", True), ("gpt-5-chat-latest", False), ("gpt-4.1", False), ("gpt-4o", False)],
)
def test_encrypted_reasoning_is_asked_for_where_it_exists(model: str, asks: bool) -> None:
    assert ("include" in sent("responses", TASK, model=model, official=True)) == asks
    assert "include" not in sent("responses", TASK, model=model)


CALLS = (ToolCall("call.1:x", "a", "{}"),)
SIGNED = Opaque("messages:served", '[{"type":"thinking","thinking":"hm","signature":"s"},2,"call.1:x"]')
RESULT = Message("tool", "r", call_id="call.1:x")


def test_signed_thinking_goes_back_unchanged_and_in_place() -> None:
    blocks = sent("messages", TASK, Message("assistant", "ok", CALLS, opaque=SIGNED), RESULT)["messages"][1]
    assert [block["type"] for block in blocks["content"]] == ["thinking", "text", "tool_use"]
    assert blocks["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "s"}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (Message("assistant", "ok", CALLS, opaque=msgspec.structs.replace(SIGNED, maker="chat:x")), "other"),
        (Message("assistant", "summary", CALLS, opaque=SIGNED), "rewritten"),
        (Message("assistant", "ok", (), opaque=SIGNED), "a call fewer"),
        (
            Message(
                "assistant",
                "ok",
                CALLS,
                opaque=Opaque("messages:served", SIGNED.data.replace("hm", MARK)),
            ),
            "a secret was taken out",
        ),
    ],
)
def test_thinking_that_no_longer_fits_stays_behind(message: Message, why: str) -> None:
    history = [TASK, message, *([RESULT] if message.calls else [TASK])]
    turn = sent("messages", *history)["messages"][1]
    assert "thinking" not in [block["type"] for block in turn["content"]], why
    assert turn["content"][0]["text"] == message.content


def test_no_thinking_in_the_middle_of_a_turn_that_began_without() -> None:
    """Such a request would be refused: another model may have begun the turn."""
    begun = [TASK, Message("assistant", "ok", CALLS), RESULT]
    assert "thinking" not in sent("messages", *begun, effort="low")
    assert "thinking" in sent("messages", *begun, Message("assistant", "done"), TASK, effort="low")
    signed = [TASK, Message("assistant", "ok", CALLS, opaque=SIGNED), RESULT]
    assert "thinking" in sent("messages", *signed, effort="low")
    assert "thinking" in sent("messages", *begun, effort="low", model="claude-opus-4-7")


HISTORIES = {
    "blank texts": [Message("system", ""), TASK, Message("assistant", " "), Message("user", "again")],
    "an odd id": [TASK, Message("assistant", "", CALLS), RESULT],
    "an empty result": [TASK, Message("assistant", "", CALLS), Message("tool", "", call_id="call.1:x")],
    "a word after results": [TASK, Message("assistant", "", CALLS), RESULT, Message("user", "stop")],
    "a system text later on": [SYSTEM, TASK, Message("assistant", "ok"), Message("system", "mind"), TASK],
    "nobody's reply": [TASK, Message("assistant", ""), TASK],
}


@pytest.mark.parametrize("wire", FORMATS)
@pytest.mark.parametrize("history", HISTORIES)
def test_odd_histories_are_valid_in_every_format(wire: str, history: str) -> None:
    check(wire, {"anthropic-version": "2023-06-01"}, sent(wire, *HISTORIES[history]))


def test_the_server_checks_what_a_step_of_a_script_expects(connect: Any, wire: str) -> None:
    expecting = step(say="ok", expect=["be brief", 'a "quoted"\nline'])
    asked = Message("user", 'look at a "quoted"\nline')
    for history, fits in ([SYSTEM, asked], True), ([SYSTEM, TASK], False):
        model, server = connect(expecting)
        if fits:
            assert collect(model.stream(history, [])).text == "ok"
        else:
            with pytest.raises(Invalid, match="is expected and nowhere in the request"):
                collect(model.stream(history, []))
        assert bool(server.refused) != fits


BROKEN = [
    ("chat", lambda b: b | {"messages": b["messages"][:-1]}, "not answered"),
    ("chat", lambda b: b | {"messages": b["messages"][-1:]}, "answers no call"),
    ("chat", lambda b: b | {"top_k": 1}, "unknown"),
    ("chat", lambda b: b | {"tools": []}, "tools is empty"),
    ("responses", lambda b: b | {"input": b["input"][:-1]}, "no output"),
    ("responses", lambda b: b | {"input": b["input"][-1:]}, "answers no call"),
    ("responses", lambda b: b | {"store": True}, "stores nothing"),
    ("messages", lambda b: b | {"messages": b["messages"][1:]}, "roles"),
    ("messages", lambda b: b | {"messages": [*b["messages"][:-1], b["messages"][0]]}, "answers"),
    ("messages", lambda b: {k: v for k, v in b.items() if k != "max_tokens"}, "max_tokens"),
    ("messages", lambda b: b | {"system": [{"type": "text", "text": " "}]}, "non-whitespace"),
    ("messages", lambda b: b | {"messages": [{"role": "user", "content": []}]}, "empty"),
]


@pytest.mark.parametrize(("wire", "broken", "words"), BROKEN)
def test_the_server_refuses_what_a_provider_would(wire: str, broken: Any, words: str) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    body = sent(wire, SYSTEM, TASK, Message("assistant", "", CALLS), RESULT)
    check(wire, headers, body)
    with pytest.raises(Refused, match=words):
        check(wire, headers, broken(body))


@pytest.mark.parametrize("wire", ["responses", "messages"])
def test_the_server_refuses_a_thought_that_was_touched(connect: Any, wire: str) -> None:
    model, server = connect(reply("ok", reasoning="I think"), Answer())
    made = collect(model.stream([TASK], []))
    assert made.opaque is not None
    touched = Opaque(made.opaque.maker, made.opaque.data.replace("I think", "I doubt"))
    history = [TASK, Message("assistant", made.text, opaque=touched), TASK]
    with pytest.raises(Invalid, match="modified"):
        collect(model.stream(history, []))
    assert server.refused
