"""Whatever a model says, in whatever order and pieces, comes out as it was said; in each wire format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.models import (
    CallDelta,
    Delta,
    Message,
    Model,
    ReasoningDelta,
    Reply,
    Stopped,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
    collect,
)
from weft.agent.models.wire.chat import ChatFormat
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.messages import MessagesFormat
from weft.agent.models.wire.parts import parts
from weft.agent.models.wire.responses import ResponsesFormat
from weft.agent.models.wire.sse import EventParser
from weft.testing.agent import ModelContract
from weft.testing.model_server import Answer, reply
from weft.testing.model_server_events import events

FORMATS = {"chat": ChatFormat(), "responses": ResponsesFormat(), "messages": MessagesFormat()}
ENDPOINT = Endpoint("http://127.0.0.1/v1", "served", name="served", key_variable="KEY")
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
USAGES = st.builds(
    lambda fresh, cached, output, thought: Usage(
        input=fresh + cached, output=output + thought, cached=cached, reasoning=thought
    ),
    *[st.integers(0, 10**6)] * 4,
)


@st.composite
def replies(draw: st.DrawFn) -> list[Delta]:
    """Text, thoughts and up to three calls in any interleaving; calls numbered as they begin."""
    pieces: list[Delta] = []
    begun = 0
    for kind in draw(st.lists(st.sampled_from(["text", "reasoning", "begin", "go on"]), max_size=12)):
        if kind == "text":
            pieces.append(TextDelta(draw(TEXTS)))
        elif kind == "reasoning":
            pieces.append(ReasoningDelta(draw(TEXTS)))
        elif kind == "begin" and begun < 3:
            pieces.append(CallDelta(begun, id=f"call-{begun}", name=f"tool_{begun}"))
            begun += 1
        elif begun:
            index = draw(st.integers(0, begun - 1))
            pieces.append(CallDelta(index, arguments=draw(TEXTS | st.just('{"a":'))))
    stop = draw(st.sampled_from(["calls", "cut"] if begun else ["done", "cut"]))
    return [*pieces, Stopped(stop), draw(USAGES)]


def decoded(wire: str, data: bytes, sizes: Sequence[int]) -> list[Delta]:
    decoder, parser = FORMATS[wire].decoder(ENDPOINT, 2), EventParser()
    found: list[Delta] = []
    for piece in _pieces(data, sizes):
        for event in parser.feed(piece):
            found += decoder.feed(event)
    assert decoder.ended
    return found


def _pieces(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    at = 0
    while at < len(data):
        size = sizes[at % len(sizes)]
        yield data[at : at + size]
        at += size


def said(made: Reply) -> tuple[Any, ...]:
    """What has to survive; a call without arguments has the empty object."""
    calls = [ToolCall(call.id, call.name, call.arguments or "{}") for call in made.calls]
    return made.text, made.reasoning, calls, made.stop


@pytest.mark.parametrize("wire", FORMATS)
@given(pieces=replies(), sizes=st.lists(st.integers(1, 200), min_size=1, max_size=5))
def test_a_reply_comes_out_as_it_was_said(wire: str, pieces: list[Delta], sizes: list[int]) -> None:
    data = "".join(events(wire, pieces)).encode()
    found, meant = decoded(wire, data, sizes), collect(pieces)
    made = collect(found)
    assert said(made) == said(meant)
    assert (made.usage.input, made.usage.output, made.usage.cached) == (
        meant.usage.input,
        meant.usage.output,
        meant.usage.cached,
    )
    assert made.usage.reasoning == (0 if wire == "messages" else meant.usage.reasoning)
    closing = [
        type(delta).__name__ for delta in found if type(delta).__name__ in ("Opaque", "Stopped", "Usage")
    ]
    assert closing == (["Opaque"] if made.reasoning else []) + ["Stopped", "Usage"]
    assert [type(delta).__name__ for delta in found][-len(closing) :] == closing


@pytest.mark.parametrize("wire", FORMATS)
@given(pieces=replies())
def test_a_reply_is_taken_apart_in_the_order_in_which_it_was_made(wire: str, pieces: list[Delta]) -> None:
    made = collect(decoded(wire, "".join(events(wire, pieces)).encode(), [1_000]))
    message = Message("assistant", made.text, made.calls, opaque=made.opaque)
    taken = parts(message, f"{wire}:served")
    assert "".join(part for part in taken if isinstance(part, str)) == made.text
    assert [part for part in taken if isinstance(part, ToolCall)] == list(made.calls)
    kinds = [str(type(part)) for part in taken]
    if wire != "chat" and made.reasoning:
        meant = [type(piece) for piece in pieces if isinstance(piece, (TextDelta, ReasoningDelta))]
        first = next(type(part) for part in taken if not isinstance(part, ToolCall))
        assert first is (dict if meant[0] is ReasoningDelta else str), kinds
    elsewhere = parts(message, "another:model")
    assert not any(isinstance(part, dict) for part in elsewhere)


class TestHttpModel(ModelContract):
    @pytest.fixture
    def model(self, connect: Any) -> Model:
        answer = reply(
            "Looking.",
            ToolCall("a", "list_dir", '{"path":"."}'),
            ToolCall("b", "list_dir", ""),
            reasoning="hm",
        )
        made: Model = connect(answer, answer, answer)[0]
        return made


START = [Message("user", "go")]


def test_over_the_wire_in_single_bytes_and_odd_chunks(connect: Any) -> None:
    pieces = (
        ReasoningDelta("first "),
        CallDelta(0, id="a", name="read_file"),
        TextDelta("grüße 🧵"),
        CallDelta(1, id="b", name="read_file"),
        CallDelta(0, arguments='{"path":'),
        CallDelta(1, arguments='{"path": "ü"}'),
        CallDelta(0, arguments=' "x"}'),
        Stopped("calls"),
        Usage(7, 3),
    )
    model, server = connect(
        *(
            Answer(deltas=pieces, chunks=chunks, line_end=end)
            for chunks, end in [((1,), "\n"), ((3, 7), "\r\n")]
        )
    )
    for _ in range(2):
        assert said(collect(model.stream(START, []))) == said(collect(pieces))
    assert not server.refused


def test_calls_come_while_the_stream_goes_on(connect: Any) -> None:
    answer = reply("", ToolCall("a", "one", '{"x":1}'), ToolCall("b", "two", "{}"), stall_after=9)
    model, server = connect(answer)
    stream = model.stream(START, [])
    seen = [next(stream), next(stream)]
    assert (seen[0].name, seen[1].arguments) == ("one", '{"x":1}')
    stream.close()
    assert server.requests[0].left.wait(5)


@pytest.mark.parametrize("arguments", ['{"path": "a', "path=a", "[1]", "null", '"text"'])
def test_malformed_arguments_come_as_they_are_and_go_back_as_an_object(connect: Any, arguments: str) -> None:
    model, server = connect(reply("", ToolCall("a", "read_file", arguments)), reply("sorry"))
    tools = [ToolSpec("read_file", "read", {"type": "object"})]
    made = collect(model.stream(START, tools))
    assert made.calls[0].arguments == arguments
    history = [*START, Message("assistant", "", made.calls), Message("tool", "not JSON", call_id="a")]
    assert collect(model.stream(history, tools)).text == "sorry"
    assert not server.refused


@pytest.mark.parametrize(
    ("stop", "calls"), [("done", ()), ("cut", ()), ("refused", ()), ("cut", (ToolCall("a", "t", '{"x'),))]
)
def test_why_it_stopped_is_told(connect: Any, stop: Any, calls: tuple[ToolCall, ...]) -> None:
    model, _ = connect(reply("words", *calls, stop=stop))
    assert collect(model.stream(START, [])).stop == stop


def test_chat_servers_with_ways_of_their_own() -> None:
    """Ids left out, every call numbered 0, reasoning under another name, no word after the finish reason."""
    lines = [
        '{"choices":[{"delta":{"reasoning":"hm"}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"one","arguments":"{}"}}]}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"id":"b","function":{"name":"two","arguments":"{}"}}]}}]}',
        '{"choices":[{"delta":{"tool_calls":[{"index":7,"function":{"name":"three","arguments":null}}]}}]}',
        '{"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}',
    ]
    decoder, parser = FORMATS["chat"].decoder(ENDPOINT, 4), EventParser()
    found = [d for line in lines for e in parser.feed(f"data: {line}\n\n".encode()) for d in decoder.feed(e)]
    made = collect([*found, *decoder.close()])
    assert made.calls == (
        ToolCall("a", "one", "{}"),
        ToolCall("b", "two", "{}"),
        ToolCall("call_4_2", "three", "{}"),
    )
    assert (made.reasoning, made.stop, decoder.ended) == ("hm", "calls", True)
    assert made.opaque is not None
    assert '"reasoning":"hm"' in made.opaque.data


def test_items_that_come_only_whole() -> None:
    """Responses without pieces, as some servers send them."""
    datas = [
        '{"type":"response.output_item.done","output_index":0,"item":{"type":"message",'
        '"content":[{"type":"output_text","text":"hello"}]}}',
        '{"type":"response.output_item.done","output_index":1,"item":{"type":"function_call","call_id":"a",'
        '"name":"one","arguments":"{\\"x\\":1}"}}',
        '{"type":"response.completed","response":{"usage":{"input_tokens":3,"output_tokens":2}}}',
    ]
    found = decoded("responses", "".join(f"data: {data}\n\n" for data in datas).encode(), [1_000])
    made = collect(found)
    assert (made.text, made.calls, made.usage.input) == ("hello", (ToolCall("a", "one", '{"x":1}'),), 3)


@pytest.mark.parametrize("signed", [True, False])
def test_a_thought_that_was_cut_off_before_it_was_signed_is_not_kept(signed: bool) -> None:
    """It would be refused when sent back, and every request after it too."""
    made = events("messages", [ReasoningDelta("hm"), Stopped("cut")])
    kept = [event for event in made if signed or "signature_delta" not in event]
    opaque = collect(decoded("messages", "".join(kept).encode(), [1_000])).opaque
    assert (opaque is not None) == signed
