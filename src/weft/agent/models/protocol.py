"""What the agent and a model say to each other, whatever the wire format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Literal, Protocol

import msgspec


class ToolCall(msgspec.Struct, frozen=True):
    """A model's request to run a tool. `arguments` is JSON text as the model wrote it, valid or not."""

    id: str
    name: str
    arguments: str


class Opaque(msgspec.Struct, frozen=True, tag="opaque"):
    """What a provider wants back unchanged with its reply (signed thinking, encrypted reasoning).

    Keep it with the reply and give it back in the `Message`; only the same `maker` reads it. `data` is JSON:
    the reply's parts in order, where an object is the provider's, a number so many characters of the text,
    and a string the id of a call.
    """

    maker: str
    data: str


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the history. A `tool` message answers the call `call_id`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None
    opaque: Opaque | None = None


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


StopReason = Literal["done", "calls", "cut", "refused"]
"""Why a reply ended: the model was done, waits for its calls, was cut off (by the limit on its output, the
window, or for a reason that weft does not know), or refused. A reply that was cut off claims nothing."""


class Stopped(msgspec.Struct, frozen=True, tag="stopped"):
    reason: StopReason


class Usage(msgspec.Struct, frozen=True, tag="usage", omit_defaults=True):
    """Tokens of one request.

    Of `input`, `cached` were read from the provider's prompt cache and `cache_written` put into it; of
    `output`, `reasoning` were thought and not said. `hedged` is the input of a second request that was sent
    when the first stalled: whichever lost is paid for too, as far as anyone can tell.
    """

    input: int = 0
    output: int = 0
    cached: int = 0
    cache_written: int = 0
    reasoning: int = 0
    hedged: int = 0


Delta = TextDelta | ReasoningDelta | CallDelta | Opaque | Stopped | Usage


class Options(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request asks for beside its messages. A model that cannot take a hint goes without it."""

    max_output_tokens: int | None = None
    temperature: float | None = None
    effort: Literal["low", "medium", "high"] | None = None
    """How much a reasoning model thinks."""
    prediction: str = ""
    """A hint: most of the reply will be this text, as when a file is rewritten; it then comes faster."""
    cache_key: str = ""
    """A hint: requests with the same key begin alike, as those of one session do."""


DEFAULTS: Final = Options()


class Model(Protocol):
    """Turns a history and tools into one reply, as a stream.

    Promises.

    - `stream` yields text, reasoning and tool-call deltas in the order in which the model made them, then
      `Opaque`, `Stopped` and `Usage`, each at most once, in this order. Pieces of one call share an index;
      calls run in the order of their indices.
    - A reply that breaks off without the model's word that it ended is an error, never a short reply.
    - The history and the tools are not changed and not kept. The order of the tools does not matter.
    - Closing the iterator cancels the request; nothing is yielded after an error. Over HTTP it may be closed
      from any thread, and whoever waits for its next piece gets an error.
    - Nothing but the arguments decides the request: no clock, no memory between calls.
    - Errors: `Invalid` for a request that the model cannot take, `NotFound` for an unknown model,
      `LimitExceeded` when the history is too long, `Denied` for a refused key, `Unavailable` when trying
      later may help.
    """

    @property
    def name(self) -> str:
        """What people and records call it."""

    @property
    def scripted(self) -> bool:
        """Whether replies come from a script; shown wherever the model's work is shown."""

    @property
    def context_tokens(self) -> int | None:
        """How many tokens a prompt and its reply may have together; None where nobody has said."""

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        """The model's reply to the history."""


class Reply(msgspec.Struct, frozen=True):
    """A whole reply."""

    text: str
    reasoning: str
    calls: tuple[ToolCall, ...]
    usage: Usage
    stop: StopReason = "done"
    opaque: Opaque | None = None


def collect(deltas: Iterable[Delta], on_delta: Callable[[Delta], None] | None = None) -> Reply:
    """The reply that a stream adds up to; `on_delta` sees each piece as it comes."""
    text: list[str] = []
    reasoning: list[str] = []
    calls: dict[int, list[CallDelta]] = {}
    usage = Usage()
    stop: StopReason | None = None
    opaque = None
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
            case Opaque():
                opaque = delta
            case Stopped():
                stop = delta.reason
            case Usage():
                usage = delta
    made = tuple(_joined(index, pieces) for index, pieces in sorted(calls.items()))
    ended: StopReason = stop or ("calls" if made else "done")
    return Reply("".join(text), "".join(reasoning), made, usage, ended, opaque)


def _joined(index: int, pieces: list[CallDelta]) -> ToolCall:
    call_id = next((piece.id for piece in pieces if piece.id), f"call_{index}")
    name = next((piece.name for piece in pieces if piece.name), "")
    return ToolCall(call_id, name, "".join(piece.arguments for piece in pieces))
