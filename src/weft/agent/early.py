"""Which calls are complete while the model is still writing the rest of its reply."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from weft.agent.models.protocol import CallDelta, Delta, ToolCall, collect


class ArrivingCalls:
    """Watches a reply's stream for calls that may start before its end.

    A call may when its arguments are a whole JSON object and every call before it in the reply may: what
    comes after a call that changes something has to see the change.
    """

    def __init__(self, may_start: Callable[[str], bool]) -> None:
        """`may_start` tells by a tool's name whether its calls may run at any time."""
        self._may_start = may_start
        self._pieces: list[CallDelta] = []
        self._next = 0
        self._closed = False

    def take(self, delta: Delta) -> ToolCall | None:
        """The call that this piece completes, if it may start now."""
        if self._closed or not isinstance(delta, CallDelta):
            return None
        if delta.index != self._next or (delta.name and not self._may_start(delta.name)):
            self._closed = True
            return None
        self._pieces.append(delta)
        if not delta.arguments.rstrip().endswith("}"):
            return None
        (call,) = collect(self._pieces).calls
        if not call.name or not _whole(call.arguments):
            return None
        self._pieces, self._next = [], self._next + 1
        return call


def _whole(arguments: str) -> bool:
    try:
        return isinstance(msgspec.json.decode(arguments), dict)
    except msgspec.DecodeError:
        return False
