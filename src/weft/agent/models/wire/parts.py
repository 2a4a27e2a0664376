"""The parts of a reply: numbered and accounted for as they come, and put in order again when sent back."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import msgspec

from weft.agent.models.protocol import (
    CallDelta,
    Delta,
    Message,
    Opaque,
    Stopped,
    StopReason,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
)
from weft.agent.secrets import MARK

Part = dict[str, Any] | str | ToolCall
"""A provider's own object, a piece of the text, or a call."""


class Draft:
    """A reply in the making. `turn` is the number of messages before it, for ids that a server left out."""

    def __init__(self, maker: str, turn: int) -> None:
        self._maker = maker
        self._turn = turn
        self._calls: dict[Hashable, int] = {}
        self._ids: list[str] = []
        self._said: set[int] = set()
        self._layout: list[dict[str, Any] | int | str] = []

    def text(self, text: str) -> Iterator[Delta]:
        """A piece of text."""
        if text:
            if self._layout and isinstance(self._layout[-1], int):
                self._layout[-1] += len(text)
            else:
                self._layout.append(len(text))
            yield TextDelta(text)

    def keep(self, block: dict[str, Any]) -> None:
        """An object that the provider wants back here; it may still grow."""
        self._layout.append(block)

    def forget(self, block: dict[str, Any]) -> None:
        """It turned out that the provider would not take it back."""
        self._layout = [part for part in self._layout if part is not block]

    def call(self, key: Hashable, call_id: str, name: str) -> Iterator[Delta]:
        """The beginning of a call that the server knows by `key`; only the first counts."""
        if key in self._calls:
            return
        index = self._calls[key] = len(self._calls)
        if not call_id or call_id in self._ids:
            call_id = f"call_{self._turn}_{index}"
        self._ids.append(call_id)
        self._layout.append(call_id)
        yield CallDelta(index, id=call_id, name=name)

    def arguments(self, key: Hashable, text: str) -> Iterator[Delta]:
        """A piece of a call's arguments; those of a call that never began are dropped."""
        index = self._calls.get(key)
        if text and index is not None:
            self._said.add(index)
            yield CallDelta(index, arguments=text)

    def has_arguments(self, key: Hashable) -> bool:
        return self._calls.get(key) in self._said

    def end(self, stop: StopReason, usage: Usage) -> Iterator[Delta]:
        """What closes the reply. A call without arguments has the empty object."""
        for index in self._calls.values():
            if index not in self._said:
                yield CallDelta(index, arguments="{}")
        if any(isinstance(part, dict) for part in self._layout):
            yield Opaque(self._maker, msgspec.json.encode(self._layout).decode())
        if stop == "done" and self._calls:
            stop = "calls"
        elif stop == "calls" and not self._calls:
            stop = "cut"
        yield Stopped(stop)
        yield usage


def parts(message: Message, maker: str) -> list[Part]:
    """An assistant's message as it was made.

    What another provider made goes without its own objects, and so does what no longer fits them: a summary,
    or a text out of which a secret was taken, so that no signature holds.
    """
    plain: list[Part] = [*([message.content] if message.content else []), *message.calls]
    kept = message.opaque
    if kept is None or kept.maker != maker or MARK in kept.data:
        return plain
    text, calls = message.content, {call.id: call for call in message.calls}
    made: list[Part] = []
    for part in msgspec.json.decode(kept.data, type=list[dict[str, Any] | int | str]):
        if isinstance(part, int):
            made.append(text[:part])
            text = text[part:]
        elif isinstance(part, str):
            if part not in calls:
                return plain
            made.append(calls.pop(part))
        else:
            made.append(part)
    return plain if text or calls else made


def object_arguments(call: ToolCall) -> dict[str, Any]:
    """The arguments as an object. Servers choke on others in a history, so malformed ones are wrapped."""
    try:
        return msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
    except msgspec.MsgspecError:
        return {"malformed": call.arguments}


def text_arguments(call: ToolCall) -> str:
    """The arguments as the text of an object: the model's own where it is one."""
    made = object_arguments(call)
    if call.arguments and made != {"malformed": call.arguments}:
        return call.arguments
    return msgspec.json.encode(made).decode()


def in_order(tools: Sequence[ToolSpec]) -> list[ToolSpec]:
    """The tools by name, so that requests with the same tools begin with the same bytes."""
    return sorted(tools, key=lambda tool: tool.name)
