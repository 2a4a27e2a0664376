"""What can go wrong on the way to a model, in each wire format: a retry where it helps, else one error."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from weft.agent.models import Message, TextDelta, ToolCall, collect
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.faults import reported, retry_after_s
from weft.agent.models.wire.responses import ResponsesFormat
from weft.agent.models.wire.sse import ServerEvent
from weft.agent.secrets import MARK
from weft.core.errors import Denied, Invalid, LimitExceeded, NotFound, Unavailable, WeftError
from weft.testing.clock import START_US, VirtualClock
from weft.testing.model_server import Answer, refuse, reply

START = [Message("user", "go")]
SAID = reply("Hello")
LAST = len("Hello")


def text(model: Any) -> str:
    return collect(model.stream(START, [])).text


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 529])
def test_what_may_pass_is_tried_again(connect: Any, status: int) -> None:
    model, server = connect(refuse(status, retry_after_s=0), refuse(status), SAID)
    assert text(model) == "Hello"
    assert len(server.requests) == 3
    assert len({request.raw for request in server.requests}) == 1


def test_after_the_last_try_the_providers_words_are_shown(connect: Any) -> None:
    model, server = connect(*[refuse(503, "we are moving")] * 3, retries=2)
    with pytest.raises(Unavailable, match="`the model` cannot answer now: we are moving"):
        text(model)
    assert len(server.requests) == 3


def test_a_wait_that_nobody_would_sit_through_is_told_at_once(connect: Any) -> None:
    model, server = connect(refuse(429, "slow down", retry_after_s=3_600))
    with pytest.raises(Unavailable, match="try again in 3600 s") as caught:
        text(model)
    assert caught.value.fields["retry_after_s"] == 3_600
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (refuse(400, "no such field"), Invalid, "does not take this request: no such field"),
        (refuse(401, "bad key"), Denied, "set THE_KEY to a key that may use `served`"),
        (refuse(403, "not for you"), Denied, "set THE_KEY"),
        (refuse(402, "pay first"), Denied, "check its billing"),
        (refuse(429, "quota", code="insufficient_quota"), Denied, "check its billing"),
        (refuse(404, "what model?"), NotFound, "has no `served`"),
        (refuse(413, "too big"), LimitExceeded, "compact it"),
        (refuse(400, "x", code="context_length_exceeded"), LimitExceeded, "too long for `the model`"),
        (refuse(400, "prompt is too long: 9 tokens > 8 maximum"), LimitExceeded, "prompt is too long"),
        (refuse(400, "This model's maximum context length is 8 tokens"), LimitExceeded, "compact it"),
        (Answer(status=400, error={"error": "registry says no"}), Invalid, "registry says no"),
        (Answer(status=400, error={"detail": [{"msg": "bad"}]}), Invalid, "bad"),
        (Answer(status=400, error=b"<html>Bad</html>"), Invalid, "<html>Bad</html>"),
        (Answer(status=302, error=b"moved"), Invalid, "no stream of events"),
        (Answer(error={"choices": []}), Invalid, "no stream of events"),
    ],
)
def test_refusals_are_told_by_remedy_and_not_tried_again(
    connect: Any, answer: Answer, kind: type[WeftError], words: str
) -> None:
    model, server = connect(answer)
    with pytest.raises(kind) as caught:
        text(model)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.requests) == 1


def test_no_key_is_ever_shown(connect: Any) -> None:
    key = "key-of-the-test-0123456789"
    model, server = connect(
        refuse(401, f"Incorrect API key provided: {key}, not sk-abcdefghijklmnopqrstuvwxyz")
    )
    with pytest.raises(Denied) as caught:
        text(model)
    sent = server.requests[0].headers
    assert key in (sent.get("authorization", "") + sent.get("x-api-key", ""))
    shown = (
        f"{caught.value} {caught.value!r} {caught.value.fields} {model!r} {vars(model)} {model._endpoint!r}"
    )
    assert key not in shown
    assert "sk-abc" not in shown
    assert str(caught.value).count(MARK) == 2


IN_STREAM = {
    "chat": 'data: {"error": {"message": "busy", "type": "overloaded_error"}}\n\n',
    "responses": 'data: {"type": "response.failed", "response": {"error": '
    '{"code": "server_error", "message": "busy"}}}\n\n',
    "messages": 'event: error\ndata: {"type": "error", "error": '
    '{"type": "overloaded_error", "message": "busy"}}\n\n',
}


def test_an_error_before_the_first_token_is_tried_again(connect: Any, wire: str) -> None:
    model, server = connect(Answer(deltas=SAID.deltas, extra={0: IN_STREAM[wire]}), SAID)
    assert text(model) == "Hello"
    assert len(server.requests) == 2


def test_an_error_after_it_is_not_since_what_was_said_cannot_be_taken_back(connect: Any, wire: str) -> None:
    words = tuple(TextDelta(word) for word in ("one ", "two ", "three"))
    model, server = connect(Answer(deltas=(*words, *SAID.deltas[1:]), extra={4: IN_STREAM[wire]}), SAID)
    stream = model.stream(START, [])
    assert next(stream) == TextDelta("one ")
    with pytest.raises(Unavailable, match="busy"):
        list(stream)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "context_length_exceeded", "message": "too much"}, LimitExceeded),
        ({"code": 400, "type": "BadRequestError", "message": "no"}, Invalid),
        ({"type": "authentication_error", "message": "who?"}, Denied),
        ({"code": "rate_limit_exceeded", "message": "slower"}, Unavailable),
        ({"message": "who knows"}, Unavailable),
        ("only words", Unavailable),
    ],
)
def test_errors_inside_a_stream_are_told_by_remedy(error: Any, kind: type[WeftError]) -> None:
    endpoint = Endpoint("http://127.0.0.1/v1", "m", name="m", key_variable="K")
    told = reported(endpoint, error)
    assert type(told) is kind
    assert (error if isinstance(error, str) else error["message"]) in str(told)


def test_responses_report_an_error_as_an_event_too() -> None:
    endpoint = Endpoint("http://127.0.0.1/v1", "m", name="m", key_variable="K")
    data = '{"type": "error", "code": "rate_limit_exceeded", "message": "slower", "param": null}'
    with pytest.raises(Unavailable, match="slower"):
        list(ResponsesFormat().decoder(endpoint, 1).feed(ServerEvent("error", data)))


@pytest.mark.parametrize("raw", ["data: {not json\n\n", 'data: "text"\n\n', "data: [1\n\n"])
def test_what_is_no_event_is_tried_again_then_told(connect: Any, raw: str) -> None:
    broken = Answer(deltas=SAID.deltas, extra={0: raw})
    model, server = connect(broken, SAID)
    assert text(model) == "Hello"
    model, server = connect(broken, broken, retries=1)
    with pytest.raises(Unavailable, match="sent an event that cannot be read"):
        text(model)
    assert len(server.requests) == 2


def test_pings_comments_and_events_of_the_future_are_passed_over(connect: Any) -> None:
    noise = (
        ': keep-alive\n\nevent: ping\ndata: {"type": "ping"}\n\n'
        'event: response.new_thing\ndata: {"type": "response.new_thing", "delta": {"x": [1]}}\n\n'
        "id: 7\nretry: 10\n\n"
    )
    model, server = connect(Answer(deltas=SAID.deltas, extra=dict.fromkeys(range(20), noise)))
    assert text(model) == "Hello"
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["cut_after", "end_after"])
def test_a_reply_that_breaks_off_is_never_taken_for_a_whole_one(connect: Any, wire: str, fault: str) -> None:
    answer = reply("Hello", ToolCall("a", "one", "{}"))
    whole = {"chat": 5, "responses": 10, "messages": 9}[wire]
    for events in range(whole):
        model, _ = connect(
            Answer(deltas=answer.deltas, **{fault: events}),
            Answer(deltas=answer.deltas, **{fault: events}),
            retries=1,
        )
        with pytest.raises(Unavailable):
            collect(model.stream(START, []))


@pytest.mark.parametrize("fault", ["cut_after", "end_after"])
def test_a_cut_before_the_first_token_is_tried_again(connect: Any, fault: str) -> None:
    model, server = connect(Answer(deltas=SAID.deltas, **{fault: 0}), SAID)
    assert text(model) == "Hello"
    assert len(server.requests) == 2


@pytest.mark.parametrize("stall", ["headers", 0, 1])
def test_a_stall_before_the_first_token_ends_by_its_limit(connect: Any, stall: Any) -> None:
    model, server = connect(Answer(deltas=SAID.deltas, stall_after=stall), first_token_s=0.03)
    with pytest.raises(Unavailable, match=r"said nothing for 0\.03 s"):
        text(model)
    assert server.requests[0].left.wait(5)
    assert len(server.requests) == 1


def test_a_stall_midway_ends_by_its_limit(connect: Any, wire: str) -> None:
    events = {"chat": 2, "responses": 4, "messages": 4}[wire]
    model, server = connect(Answer(deltas=SAID.deltas, stall_after=events), between_tokens_s=0.03)
    stream = model.stream(START, [])
    assert next(stream) == TextDelta("Hello")
    with pytest.raises(Unavailable, match=r"said nothing more for 0\.03 s"):
        next(stream)
    assert server.requests[0].left.wait(5)


@pytest.mark.parametrize("stall", ["headers", 0])
def test_a_stalled_request_is_sent_twice_and_the_second_wins(connect: Any, stall: Any) -> None:
    model, server = connect(Answer(deltas=SAID.deltas, stall_after=stall), SAID, hedge_after_s=0.02)
    made = collect(model.stream(START, []))
    assert (made.text, made.usage.input, made.usage.hedged) == ("Hello", 10, 10)
    assert server.requests[0].left.wait(5)
    assert len(server.requests) == 2


def test_a_quick_request_is_sent_once(connect: Any) -> None:
    model, server = connect(SAID, hedge_after_s=5)
    assert collect(model.stream(START, [])).usage.hedged == 0
    assert len(server.requests) == 1


def test_closing_drops_the_connection_at_once(connect: Any, wire: str) -> None:
    events = {"chat": 2, "responses": 4, "messages": 4}[wire]
    model, server = connect(Answer(deltas=SAID.deltas, stall_after=events))
    stream = model.stream(START, [])
    assert next(stream) == TextDelta("Hello")
    stream.close()
    assert server.requests[0].left.wait(5)
    with pytest.raises(Unavailable, match="cancelled"):
        next(stream)


def test_another_thread_can_end_a_wait(connect: Any) -> None:
    model, server = connect(Answer(deltas=SAID.deltas, stall_after="headers"))
    stream = model.stream(START, [])
    _until(lambda: bool(server.requests))
    threading.Timer(0.01, stream.close).start()
    with pytest.raises(Unavailable, match="cancelled"):
        collect(stream)
    assert server.requests[0].left.wait(5)


def test_forgetting_a_stream_drops_its_connection(connect: Any) -> None:
    model, server = connect(Answer(deltas=SAID.deltas, stall_after="headers"))
    stream = model.stream(START, [])
    _until(lambda: bool(server.requests))
    del stream
    assert server.requests[0].left.wait(5)


def test_closing_the_model_ends_what_waits(connect: Any) -> None:
    model, server = connect(Answer(deltas=SAID.deltas, stall_after="headers"))
    stream = model.stream(START, [])
    _until(lambda: bool(server.requests))
    threading.Timer(0.01, model.close).start()
    with pytest.raises(Unavailable, match="cancelled"):
        collect(stream)


def test_connections_are_used_again(connect: Any) -> None:
    model, server = connect(SAID, SAID, refuse(429, retry_after_s=0), SAID)
    for _ in range(3):
        assert text(model) == "Hello"
    assert {request.connection for request in server.requests} == {0}


def test_nobody_waits_for_a_body_that_does_not_end(connect: Any, wire: str) -> None:
    """The model's last word is the end, and a connection that hangs behind it is dropped in time."""
    events = {"chat": 5, "responses": 6, "messages": 8}[wire]
    model, server = connect(Answer(deltas=SAID.deltas, stall_after=events), SAID)
    assert text(model) == "Hello"
    assert not server.requests[0].left.is_set()
    assert text(model) == "Hello"
    assert server.requests[0].left.wait(5)


def test_a_server_that_is_not_there(connect: Any) -> None:
    model, _ = connect(retries=1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        model._endpoint.base_url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(Unavailable, match=r"the connection to `127\.0\.0\.1:\d+` failed"):
            text(model)


def test_retry_after_in_both_of_its_forms() -> None:
    clock = VirtualClock(START_US)
    assert retry_after_s({"retry-after": "2.5"}, clock) == 2.5
    assert retry_after_s({"retry-after": "Thu, 01 Jan 2026 00:00:07 GMT"}, clock) == 7
    assert retry_after_s({"retry-after": "Wed, 31 Dec 2025 00:00:00 GMT"}, clock) == 0
    assert retry_after_s({"retry-after": "soon"}, clock) is None
    assert retry_after_s({}, clock) is None


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)
