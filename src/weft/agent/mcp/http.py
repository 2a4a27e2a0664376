"""An MCP server behind a URL: the streamable HTTP transport."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Final

from weft.agent.mcp.message import ServerLost, SessionForgotten
from weft.agent.models.wire.sse import EventParser
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Denied, LimitExceeded, NotFound
from weft.core.extras import require
from weft.core.limits import MAX_MCP_MESSAGE_BYTES

if TYPE_CHECKING:
    import httpx

_CONNECT_S: Final = 10.0
_NOTIFY_S: Final = 10.0
# A server may be silent for ever; a thread that listens finds out so often that nobody wants it any more.
_LISTEN_S: Final = 30.0
_SESSION: Final = "mcp-session-id"
_VERSION: Final = "mcp-protocol-version"
_ACCEPT: Final = "application/json, text/event-stream"


class StreamableHttp:
    """One POST for each message; answers come as JSON or as a stream of events.

    `on_message` hears, from another thread, what the server says while nobody asks. Redirects are not
    followed: the policy was asked about this host and no other.
    """

    def __init__(
        self,
        name: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        on_message: Callable[[bytes], None] = lambda data: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._httpx = require("httpx", "agent")
        self._name = name
        self._url = url
        self._clock = clock
        self._on_message = on_message
        self._client: httpx.Client = self._httpx.Client(headers=dict(headers or {}), follow_redirects=False)
        self._session: dict[str, str] = {}
        self._listens = False
        self._closed = False

    def request(self, data: bytes, timeout_s: float) -> Generator[bytes, None, None]:
        deadline_s = self._clock.monotonic_s() + timeout_s
        with self._posted(data, timeout_s) as response:
            if session := response.headers.get(_SESSION):
                self._session[_SESSION] = session
            for message in self._messages(response):
                yield message
                if self._clock.monotonic_s() > deadline_s:
                    raise self._late(timeout_s)

    def notify(self, data: bytes) -> None:
        with self._posted(data, _NOTIFY_S):
            pass

    def agreed(self, version: str) -> None:
        self._session[_VERSION] = version
        if self._listens:
            return
        self._listens = True
        threading.Thread(target=self._listen, name=f"weft-mcp-{self._name}", daemon=True).start()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if _SESSION in self._session:
            with contextlib.suppress(self._httpx.HTTPError):
                self._client.delete(self._url, headers=self._session, timeout=_NOTIFY_S)
        self._client.close()

    @contextlib.contextmanager
    def _posted(self, data: bytes, timeout_s: float) -> Iterator[httpx.Response]:
        """The response to one message while it is read; what breaks it off becomes `ServerLost`."""
        if self._closed:
            raise ServerLost(f"the connection to the MCP server `{self._name}` is closed")
        headers = {"content-type": "application/json", "accept": _ACCEPT, **self._session}
        timeout = self._httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
        try:
            with self._client.stream(
                "POST", self._url, content=data, headers=headers, timeout=timeout
            ) as response:
                self._check(response.status_code)
                yield response
        except self._httpx.TimeoutException as error:
            raise self._late(timeout_s) from error
        except (self._httpx.HTTPError, self._httpx.StreamError) as error:
            raise ServerLost(
                f"the MCP server `{self._name}` cannot be reached: {error}", hint="try again later"
            ) from error

    def _check(self, status: int) -> None:
        if 200 <= status < 300:
            return
        if status in (401, 403):
            raise Denied(f"the MCP server `{self._name}` refuses us ({status})", hint="check its headers")
        if status == 404 and _SESSION in self._session:
            del self._session[_SESSION]
            raise SessionForgotten(f"the MCP server `{self._name}` has forgotten us", hint="connect anew")
        if status == 404:
            raise NotFound(f"there is no MCP server at the URL of `{self._name}`", hint="check the URL")
        raise ServerLost(
            f"the MCP server `{self._name}` answered with status {status}", hint="try again later"
        )

    def _messages(self, response: httpx.Response) -> Iterator[bytes]:
        """The messages in a response, none longer than the limit."""
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            body = bytearray()
            for piece in response.iter_bytes():
                body += piece
                self._bounded(len(body))
            if body.strip():
                yield bytes(body)
            return
        parser, size = EventParser(), 0
        for piece in response.iter_bytes():
            size += len(piece)
            self._bounded(size)
            for event in parser.feed(piece):
                size = 0
                yield event.data.encode()

    def _bounded(self, size: int) -> None:
        if size > MAX_MCP_MESSAGE_BYTES:
            raise LimitExceeded(
                f"the MCP server `{self._name}` sent a message of over {MAX_MCP_MESSAGE_BYTES:,} bytes",
                hint="ask it for less",
            )

    def _listen(self) -> None:
        """Hear what comes without a question; most servers have nothing to say there and refuse."""
        try:
            listening = True
            while listening and not self._closed:
                with contextlib.suppress(self._httpx.ReadTimeout):
                    listening = self._listened()
        except (self._httpx.HTTPError, self._httpx.StreamError, LimitExceeded, RuntimeError, OSError):
            return

    def _listened(self) -> bool:
        """Until the server ends it; False, as it does not want to be listened to."""
        headers = {"accept": "text/event-stream", **self._session}
        timeout = self._httpx.Timeout(_CONNECT_S, read=_LISTEN_S)
        with self._client.stream("GET", self._url, headers=headers, timeout=timeout) as response:
            if response.status_code == 200:
                for message in self._messages(response):
                    self._on_message(message)
        return False

    def _late(self, timeout_s: float) -> ServerLost:
        return ServerLost(
            f"the MCP server `{self._name}` did not answer within {timeout_s:.0f} s",
            hint="ask for less, or go on without it",
        )
