"""What a wire format is: from a history to a request, and from server-sent events to deltas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from weft.agent.models.protocol import Delta, Message, Options, ToolSpec
from weft.agent.models.wire.endpoint import Endpoint
from weft.agent.models.wire.sse import ServerEvent
from weft.core.errors import Unavailable

T = TypeVar("T")


class Decoder(Protocol):
    """Reads one reply. Events and fields that it does not know are passed over: formats grow."""

    ended: bool
    """Whether the model said that the reply is whole; nothing that comes after it counts."""

    def feed(self, event: ServerEvent) -> Iterator[Delta]:
        """What an event adds; raises the error that it reports."""

    def close(self) -> Iterator[Delta]:
        """What the end of the stream adds; nothing unless the reply was whole without saying so."""


class Format(Protocol):
    """A wire format, without I/O. The same arguments always give the same bytes."""

    name: str
    path: str

    def headers(self, endpoint: Endpoint) -> Mapping[str, str]:
        """The headers that carry the key."""

    def body(
        self, endpoint: Endpoint, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options
    ) -> dict[str, Any]:
        """The request. For a history that goes on, its messages begin with those of the request before."""

    def decoder(self, endpoint: Endpoint, turn: int) -> Decoder:
        """A decoder for the reply to a history of `turn` messages."""


def maker(format_name: str, endpoint: Endpoint) -> str:
    """Who can read the opaque parts of a reply again."""
    return f"{format_name}:{endpoint.model}"


def decoded(endpoint: Endpoint, data: str, shape: type[T]) -> T:
    """The event's JSON; `Unavailable` for what is none, since another try may do better."""
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.MsgspecError as error:
        raise _unreadable(endpoint, error, data) from error


def checked(endpoint: Endpoint, value: dict[str, Any], shape: type[T]) -> T:
    """The fields of a provider's object that are read here; its others are its own affair."""
    try:
        return msgspec.convert(value, shape)
    except msgspec.ValidationError as error:
        raise _unreadable(endpoint, error, str(value)) from error


def _unreadable(endpoint: Endpoint, error: Exception, data: str) -> Unavailable:
    return Unavailable(
        f"`{endpoint.host}` sent an event that cannot be read: {error} in `{endpoint.shown(data)}`",
        hint="try again; if it stays so, the server does not speak this format",
    )
