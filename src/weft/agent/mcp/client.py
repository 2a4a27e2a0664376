"""A client of one MCP server: its handshake, its list of tools, and calls that end in time.

Written on plain threads. The maintained `mcp` package (2.3) is made for an event loop, which would have to
live in a thread of its own beside every session, and takes 0.6 s to import; what a client of tools needs of
the protocol are three requests and three notifications.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Generator
from typing import Any, Final, Protocol, TypeVar

import msgspec

from weft.agent.mcp.message import (
    METHOD_NOT_FOUND,
    PROTOCOL,
    UNDERSTOOD,
    CallResult,
    Initialized,
    Message,
    RemoteTool,
    ServerLost,
    SessionForgotten,
    ToolPage,
    decode,
    encode,
)
from weft.core.errors import Invalid, LimitExceeded, WeftError

T = TypeVar("T")

_CONNECT_S: Final = 30.0
# More tools than this nobody can choose from, and a list without end is no list.
_MAX_TOOLS: Final = 128


class McpError(Invalid):
    """The server refused a request; its message is not to be trusted."""

    code = "mcp"


class Transport(Protocol):
    """Carries messages to one server and back.

    Promises.

    - `request` sends one request and yields what comes back, in order, until it is closed: its response and
      whatever the server says meanwhile. `ServerLost` when nothing more can come or the time is over.
    - `notify` sends what has no answer. Neither is called by two threads at once.
    - `close` ends the connection, and the server where it is ours; does nothing the second time.
    """

    def request(self, data: bytes, timeout_s: float) -> Generator[bytes, None, None]: ...

    def notify(self, data: bytes) -> None: ...

    def agreed(self, version: str) -> None:
        """The revision of the protocol is settled."""

    def close(self) -> None: ...


class McpClient:
    """One connection. Requests of several threads go one after the other."""

    def __init__(self, name: str, transport: Transport) -> None:
        self.name = name
        self._transport = transport
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()
        self._changed = threading.Event()

    def connect(self, timeout_s: float = _CONNECT_S) -> None:
        """The handshake; `ServerLost` where the server speaks no revision that we do."""
        client = {"name": "weft", "version": "0"}
        params = {"protocolVersion": PROTOCOL, "capabilities": {}, "clientInfo": client}
        answer = self._request("initialize", params, Initialized, timeout_s)
        if answer.protocol_version not in UNDERSTOOD:
            raise ServerLost(
                f"the MCP server `{self.name}` speaks protocol `{answer.protocol_version[:40]}`",
                hint=f"use a server that speaks {PROTOCOL}",
            )
        self._transport.agreed(answer.protocol_version)
        self._notify("notifications/initialized")

    @property
    def tools_changed(self) -> bool:
        """Whether the server has said that its tools are others than at the last `tools`."""
        return self._changed.is_set()

    def tools(self, timeout_s: float = _CONNECT_S) -> list[RemoteTool]:
        """All tools of the server, page by page."""
        self._changed.clear()
        found: list[RemoteTool] = []
        cursor: str | None = None
        seen: set[str] = set()
        while True:
            params = {} if cursor is None else {"cursor": cursor}
            page = self._request("tools/list", params, ToolPage, timeout_s)
            found += page.tools
            if len(found) > _MAX_TOOLS:
                raise LimitExceeded(
                    f"the MCP server `{self.name}` has more than {_MAX_TOOLS} tools", hint="use a smaller one"
                )
            cursor = page.next_cursor
            if cursor is None:
                return found
            if cursor in seen:
                raise ServerLost(f"the MCP server `{self.name}` goes round in circles in its list of tools")
            seen.add(cursor)

    def call(self, tool: str, arguments: dict[str, Any], timeout_s: float) -> CallResult:
        """Call a tool. Whatever ends the wait before the answer, the server is told to stop."""
        return self._request("tools/call", {"name": tool, "arguments": arguments}, CallResult, timeout_s)

    def hear(self, data: bytes) -> None:
        """Take in what the server says of its own accord."""
        for message in decode(data):
            self._answer(message)

    def close(self) -> None:
        """End the connection."""
        self._transport.close()

    def _request(self, method: str, params: dict[str, Any], answer: type[T], timeout_s: float) -> T:
        with self._lock:
            try:
                return self._ask(method, params, answer, timeout_s)
            except SessionForgotten:
                if method == "initialize":
                    raise
                self.connect(timeout_s)
                return self._ask(method, params, answer, timeout_s)

    def _ask(self, method: str, params: dict[str, Any], answer: type[T], timeout_s: float) -> T:
        number = next(self._numbers)
        data = encode(id=number, method=method, params=params)
        try:
            with contextlib.closing(self._transport.request(data, timeout_s)) as pieces:
                for message in itertools.chain.from_iterable(map(decode, pieces)):
                    if message.id == number and message.method is None:
                        return self._result(message, answer)
                    self._answer(message)
        except McpError:
            raise
        except BaseException:
            self._cancel(method, number)
            raise
        raise ServerLost(f"the MCP server `{self.name}` gave no answer", hint="try again later")

    def _result(self, message: Message, answer: type[T]) -> T:
        if message.error:
            said = message.error.message[:1_000]
            raise McpError(
                f"the MCP server `{self.name}` refused: {said}", hint="check the name and the arguments"
            )
        try:
            return msgspec.convert(message.result, answer)
        except msgspec.ValidationError as error:
            raise ServerLost(
                f"the MCP server `{self.name}` gave an answer that does not fit: {error}"
            ) from error

    def _answer(self, message: Message) -> None:
        """What the server asks or tells. Only its ping is granted: it gets no model and no files of ours."""
        if message.method == "notifications/tools/list_changed":
            self._changed.set()
        elif message.method is not None and message.id is not None:
            if message.method == "ping":
                reply = encode(id=message.id, result={})
            else:
                refusal = {"code": METHOD_NOT_FOUND, "message": "not offered by this client"}
                reply = encode(id=message.id, error=refusal)
            self._transport.notify(reply)

    def _cancel(self, method: str, number: int) -> None:
        if method != "initialize":
            # Why it is cancelled is what the caller hears, also where the server cannot be told.
            with contextlib.suppress(WeftError):
                self._notify("notifications/cancelled", requestId=number, reason="no longer awaited")

    def _notify(self, method: str, **params: Any) -> None:
        self._transport.notify(encode(method=method, params=params))
