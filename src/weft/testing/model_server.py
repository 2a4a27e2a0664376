"""A model's server on loopback, for tests: replies and faults by a script, in any of the three wire formats.

    with ModelServer([refuse(429, retry_after_s=0), reply("Hello")], format="chat") as server:
        model = open_model(server.url)
        ...
        server.requests[0].body["messages"]

Each request takes the next answer. A request that does not follow the format takes none and gets a 400.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self

import msgspec

from weft.agent.models.protocol import (
    CallDelta,
    Delta,
    ReasoningDelta,
    Stopped,
    StopReason,
    TextDelta,
    ToolCall,
    Usage,
)
from weft.agent.models.scripted import ScriptedCall, ScriptedStep
from weft.testing.model_server_checks import Refused, check
from weft.testing.model_server_events import events

Wire = Literal["chat", "responses", "messages"]
PATHS: Final[dict[str, str]] = {
    "chat": "/chat/completions",
    "responses": "/responses",
    "messages": "/messages",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What one request gets: `deltas` as events, in any order in which a model could make them, or an error;
    and what goes wrong on the way."""

    deltas: tuple[Delta, ...] = ()
    expect: tuple[str, ...] = ()
    """Texts that have to be somewhere in the request's own texts, or else it is refused."""
    status: int = 200
    """Anything but 200 is an error, with `error` as its body."""
    error: Any = None
    headers: dict[str, str] = {}
    chunks: tuple[int, ...] = ()
    """Sizes in bytes of the pieces in which the body is sent, again from the first when they are used up;
    without any, each event is a piece."""
    line_end: Literal["\n", "\r\n", "\r"] = "\n"
    extra: dict[int, str] = {}
    """Raw text to send before the event with this number: pings, comments, unknown events, no JSON at all."""
    stall_after: int | Literal["headers"] | None = None
    """Send so many events and then nothing until the client leaves; `headers`: not even those."""
    cut_after: int | None = None
    """Cut the connection after so many events, in the middle of the next."""
    end_after: int | None = None
    """End the body in good order after so many events."""


def reply(
    text: str = "",
    *calls: ToolCall | ScriptedCall,
    reasoning: str = "",
    usage: Usage | None = None,
    stop: StopReason | None = None,
    **faults: Any,
) -> Answer:
    """A whole reply; `faults` are fields of `Answer`."""
    deltas: list[Delta] = [ReasoningDelta(reasoning)] if reasoning else []
    deltas += [TextDelta(text)] if text else []
    for index, call in enumerate(calls):
        if isinstance(call, ScriptedCall):
            call = ToolCall(call.id or f"call_{call.tool}_{index}", call.tool, call.text())
        deltas.append(CallDelta(index, id=call.id, name=call.name))
        deltas.append(CallDelta(index, arguments=call.arguments))
    deltas += [Stopped(stop or ("calls" if calls else "done")), usage or Usage(10, 1)]
    return Answer(deltas=tuple(deltas), **faults)


def refuse(status: int, message: str = "", *, code: str = "", retry_after_s: float | None = None) -> Answer:
    """An error in the shape that the providers share."""
    headers = {} if retry_after_s is None else {"retry-after": f"{retry_after_s:g}"}
    error = {"type": code or "error", "code": code or None, "message": message or f"status {status}"}
    return Answer(status=status, error={"type": "error", "error": error}, headers=headers)


class Request(msgspec.Struct):
    """What came in. `connection` is the same for requests on one connection."""

    path: str
    headers: dict[str, str]
    raw: bytes
    body: Any
    connection: int
    left: threading.Event
    """Set once the client closed the connection before the answer was complete."""


class ModelServer:
    """Serves from `with` to its end. `script` holds answers, or steps of a script for `scripted:`."""

    def __init__(self, script: Sequence[Answer | ScriptedStep], *, format: Wire = "chat") -> None:  # noqa: A002
        self.format = format
        self.requests: list[Request] = []
        self.refused: list[str] = []
        """What was wrong with requests that did not follow the format."""
        self._answers = iter([_answer(entry, number) for number, entry in enumerate(script)])
        self._lock = threading.Lock()
        self._connections = itertools.count()
        self._open: set[socket.socket] = set()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="model-server")

    @property
    def base_url(self) -> str:
        """The address up to `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    @property
    def url(self) -> str:
        """What `open_model` takes."""
        return f"{self.format}:{self.base_url}#served"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._server.server_close()
        self._thread.join()

    def _connected(self, connection: socket.socket) -> int:
        with self._lock:
            self._open.add(connection)
            return next(self._connections)

    def _disconnected(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def _next(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            try:
                if request.path != "/v1" + PATHS[self.format]:
                    raise Refused(f"there is nothing at {request.path}")
                check(self.format, request.headers, request.body)
            except (Refused, KeyError, TypeError) as error:
                self.refused.append(str(error))
                return refuse(400, f"invalid request: {error}", code="invalid_request_error")
            found = next(self._answers, None)
            if found is None:
                return refuse(400, "the script has ended", code="invalid_request_error")
            if missing := _missing(found, request.body):
                self.refused.append(f"`{missing}` is expected and nowhere in the request")
                return refuse(400, self.refused[-1], code="invalid_request_error")
        return found


def _answer(entry: Answer | ScriptedStep, number: int) -> Answer:
    if isinstance(entry, Answer):
        return entry
    calls = [
        ToolCall(call.id or f"call_{number + 1}_{index + 1}", call.tool, call.text())
        for index, call in enumerate(entry.calls)
    ]
    expect = (entry.expect,) if isinstance(entry.expect, str) else tuple(entry.expect)
    return reply(
        entry.say, *calls, reasoning=entry.reasoning, usage=entry.usage, stop=entry.stop, expect=expect
    )


def _missing(answer: Answer, body: Any) -> str | None:
    """What the answer expects and the request does not say."""
    seen = "\n".join(_texts(body))
    return next((text for text in answer.expect if text not in seen), None)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what some tests are about."""


class _ClientLeft(Exception):
    """The client closed the connection."""


def _handler(server: ModelServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            super().setup()
            self.number = server._connected(self.connection)

        def finish(self) -> None:
            server._disconnected(self.connection)
            with contextlib.suppress(OSError):
                super().finish()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            request = Request(
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                raw=raw,
                body=_json(raw),
                connection=self.number,
                left=threading.Event(),
            )
            answer = server._next(request)
            try:
                if answer.status == 200 and answer.error is None:
                    self._stream(answer)
                else:
                    self._error(answer)
            except (OSError, _ClientLeft):
                request.left.set()
                self.close_connection = True

        def _error(self, answer: Answer) -> None:
            body = answer.error if isinstance(answer.error, bytes) else msgspec.json.encode(answer.error)
            self.send_response(answer.status)
            headers = {"content-type": "application/json", "content-length": str(len(body))}
            for name, value in (headers | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, answer: Answer) -> None:
            if answer.stall_after == "headers":
                self._wait_until_left()
            self.send_response(200)
            headers = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
            for name, value in (headers | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            for piece in _pieces(answer, events(server.format, answer.deltas)):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if answer.stall_after is not None:
                self._wait_until_left()
            if answer.cut_after is not None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            self.wfile.write(b"0\r\n\r\n")

        def _wait_until_left(self) -> None:
            while self.connection.recv(1 << 16):
                pass
            raise _ClientLeft

    return Handler


def _json(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _pieces(answer: Answer, made: list[str]) -> Iterator[bytes]:
    """The body's bytes in the pieces in which they are sent."""
    limits = [answer.stall_after, answer.cut_after, answer.end_after]
    limit = next((limit for limit in limits if isinstance(limit, int)), len(made))
    texts = [answer.extra.get(number, "") + event for number, event in enumerate(made[:limit])]
    texts.append(answer.extra.get(limit, ""))
    if answer.cut_after is not None and limit < len(made):
        texts.append(made[limit][: len(made[limit]) // 2])
    sent = [text.replace("\n", answer.line_end).encode() for text in texts if text]
    if not answer.chunks:
        yield from sent
        return
    whole, sizes, at = b"".join(sent), itertools.cycle(answer.chunks), 0
    while at < len(whole):
        size = next(sizes)
        yield whole[at : at + size]
        at += size
