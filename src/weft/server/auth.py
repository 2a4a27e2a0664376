"""Who may ask: bearers of a key; without keys, only requests that were addressed to loopback."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from weft.core.errors import Denied, Invalid, WeftError
from weft.server.status import Unauthenticated
from weft.server.wire import refusal

OPEN: Final = frozenset({"/healthz"})
"""Paths that need no key."""

# RFC 6750's token68: what a header carries unchanged.
_KEY: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_HOST: Final = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")


def checked_keys(keys: Sequence[SecretStr]) -> list[str]:
    """The keys as text; `Invalid`, which never shows a key, where one cannot be sent in a header."""
    texts = [key.get_secret_value() for key in keys]
    for number, text in enumerate(texts, 1):
        if not _KEY.fullmatch(text):
            raise Invalid(
                f"key {number} in `server.keys` is empty or has characters that a header cannot carry",
                hint="use letters, digits and `-._~+/`, as `openssl rand -hex 32` prints them",
            )
    return texts


def is_loopback(host: str) -> bool:
    """Whether an address or a name means this machine alone; other names are not looked up."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Gate:
    """Lets a request through to `app` when it may ask."""

    def __init__(self, app: ASGIApp, keys: Sequence[str]) -> None:
        self._app = app
        self._digests = [_digest(key) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in OPEN:
            try:
                self._admit(Headers(scope=scope))
            except WeftError as error:
                await refusal(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, headers: Headers) -> None:
        if self._digests:
            scheme, _, key = headers.get("authorization", "").partition(" ")
            given = _digest(key.strip())
            # Every digest is compared, each in constant time: how long it takes tells nothing.
            known = sum([hmac.compare_digest(given, digest) for digest in self._digests])
            if scheme.lower() != "bearer" or not known:
                raise Unauthenticated("the request has no valid key", hint="send `authorization: bearer KEY`")
            return
        # A web page whose name resolves to 127.0.0.1 must not speak for the user who reads it.
        host = _HOST.fullmatch(headers.get("host", ""))
        if host is None or not is_loopback(host[1].strip("[]")):
            raise Denied(
                f"without keys only loopback is answered, not `{headers.get('host', '')}`",
                hint="ask for 127.0.0.1, or set server.keys",
            )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("latin-1", "replace")).digest()
