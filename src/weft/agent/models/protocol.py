"""What the agent and a model say to each other, whatever the wire format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Literal, Protocol

import msgspec


class ToolCall(msgspec.Struct, frozen=True):
    """A model's request to run a tool. `arguments` is JSON text as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the history. A `tool` message answers the call `call_id`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None


class ToolSpec(msgspec.Struct, frozen=True):
    """A tool as a model sees it; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: dict[str, Any]


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    text: str


class ReasoningDelta(msgspec.Struct, frozen=True, tag="reasoning"):
    text: str


class CallDelta(msgspec.Struct, frozen=True, tag="call"):
    """A piece of the call at `index`: id and name come once, `arguments` in pieces to be joined."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Usage(msgspec.Struct, frozen=True, tag="usage"):
    """Tokens of one request; `cached` is the part of `input` that came from the provider's prompt cache."""

    input: int = 0
    output: int = 0
    cached: int = 0


Delta = TextDelta | ReasoningDelta | CallDelta | Usage


class Model(Protocol):
    """Turns a history and tools into one reply, as a stream.

    Promises.

    - `stream` yields text, reasoning and tool-call deltas in the order in which the model made them, and
      `Usage` at most once, last. Pieces of one call share an index; calls run in the order of their indices.
    - The history and the tools are not changed and not kept.
    - Closing the iterator cancels the request; nothing is yielded after an error.
    - Nothing but the arguments decides the request: no clock, no memory between calls.
    - Errors: `Invalid` for a request that the model cannot take, `LimitExceeded` when it is too long,
      `Denied` for a refused key, `Unavailable` when trying later may help.
    """

    @property
    def name(self) -> str:
        """What people and records call it."""

    @property
    def scripted(self) -> bool:
        """Whether replies come from a script; shown wherever the model's work is shown."""

    def stream(self, messages: Sequence[Message], tools: Sequence[ToolSpec]) -> Iterator[Delta]:
        """The model's reply to the history."""


class Reply(msgspec.Struct, frozen=True):
    """A whole reply."""

    text: str
    reasoning: str
    calls: tuple[ToolCall, ...]
    usage: Usage


def collect(deltas: Iterable[Delta], on_delta: Callable[[Delta], None] | None = None) -> Reply:
    """The reply that a stream adds up to; `on_delta` sees each piece as it comes."""
    text: list[str] = []
    reasoning: list[str] = []
    calls: dict[int, list[CallDelta]] = {}
    usage = Usage()
    for delta in deltas:
        if on_delta:
            on_delta(delta)
        match delta:
            case TextDelta():
                text.append(delta.text)
            case ReasoningDelta():
                reasoning.append(delta.text)
            case CallDelta():
                calls.setdefault(delta.index, []).append(delta)
            case Usage():
                usage = delta
    made = tuple(_joined(index, pieces) for index, pieces in sorted(calls.items()))
    return Reply("".join(text), "".join(reasoning), made, usage)


def _joined(index: int, pieces: list[CallDelta]) -> ToolCall:
    call_id = next((piece.id for piece in pieces if piece.id), f"call_{index}")
    name = next((piece.name for piece in pieces if piece.name), "")
    return ToolCall(call_id, name, "".join(piece.arguments for piece in pieces))
