"""A server that sends anything at all gets an error of weft's, or is understood; never another exception."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.agent.models import CallDelta, ReasoningDelta, Reply, Stopped, TextDelta, Usage, collect
from weft.agent.models.wire.chat import ChatFormat
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.faults import reported, said
from weft.agent.models.wire.messages import MessagesFormat
from weft.agent.models.wire.responses import ResponsesFormat
from weft.agent.models.wire.sse import ServerEvent
from weft.core.errors import WeftError
from weft.testing.model_server_events import events

FORMATS = {"chat": ChatFormat(), "responses": ResponsesFormat(), "messages": MessagesFormat()}
ENDPOINT = Endpoint("http://127.0.0.1/v1", "served", name="served", key_variable="KEY")
SAID = [
    ReasoningDelta("hm"),
    TextDelta("hello"),
    CallDelta(0, id="a", name="one"),
    CallDelta(0, arguments="{}"),
    Stopped("calls"),
    Usage(1, 1),
]
ODD = st.sampled_from(
    [None, True, -1, 2**70, 0.5, "", "x", [], [1], ["x"], {}, {"type": "text"}, {"x": None}, "7"]
)


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(path for key, found in inner for path in paths(found, (*at, key)))]


def with_value(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = with_value(value[path[0]], path[1:], new)
    return copy


@pytest.mark.parametrize("wire", FORMATS)
@given(st.data())
def test_events_with_anything_in_place_of_a_value(wire: str, data: st.DataObject) -> None:
    decoder = FORMATS[wire].decoder(ENDPOINT, 1)
    found: list[Any] = []
    try:
        for event in events(wire, SAID):
            text = event.partition("data: ")[2].strip()
            if text != "[DONE]" and data.draw(st.integers(0, 3)) == 0:
                value = json.loads(text)
                text = json.dumps(with_value(value, data.draw(st.sampled_from(paths(value))), data.draw(ODD)))
            found += decoder.feed(ServerEvent("", text))
    except WeftError:
        return
    # What was understood is what it says it is.
    made = collect(found)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Reply) == made


@given(st.binary(max_size=80) | ODD.map(lambda value: json.dumps({"error": value}).encode()))
def test_bodies_of_errors(body: bytes) -> None:
    code, message = said(body)
    assert isinstance(code, str)
    assert isinstance(message, str)


@given(ODD, st.sampled_from(["code", "type", "message"]), ODD)
def test_errors_inside_a_stream(error: Any, key: str, value: Any) -> None:
    for one in (error, {key: value}, {"code": "server_error", key: value}):
        assert "\n" not in str(reported(ENDPOINT, one))
