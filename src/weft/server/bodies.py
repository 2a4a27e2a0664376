"""Bodies are read before they are parsed, and no further than the limit; the rest is the server's to drop."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from weft.core.errors import LimitExceeded
from weft.core.limits import MAX_REQUEST_BYTES, within
from weft.server.wire import refusal


class BoundedBodies:
    """Hands `app` requests whose body is whole and at most `MAX_REQUEST_BYTES` long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            whole = await _read(receive)
        except LimitExceeded as error:
            await refusal(error)(scope, receive, send)
            return
        if whole is None:
            return
        unread: list[Message] = [{"type": "http.request", "body": whole, "more_body": False}]

        async def replay() -> Message:
            return unread.pop() if unread else await receive()

        await self._app(scope, replay, send)


async def _read(receive: Receive) -> bytes | None:
    """The body; None when the client went away."""
    whole = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        whole += message.get("body", b"")
        within("the body", len(whole), MAX_REQUEST_BYTES)
        if not message.get("more_body", False):
            return bytes(whole)
