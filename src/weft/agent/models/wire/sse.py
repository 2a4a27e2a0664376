"""Server-sent events out of bytes that come in any pieces (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from weft.core.limits import MAX_LINE_BYTES, within

_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class ServerEvent(NamedTuple):
    name: str
    data: str


class EventParser:
    """Takes bytes as they come and gives events as they are complete."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._after_return = False
        self._at_start = True
        self._name = ""
        self._data: list[str] = []

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that these bytes complete; `LimitExceeded` for a line that nobody can mean."""
        if self._after_return and data:
            data = data.removeprefix(b"\n")
            self._after_return = False
        self._rest += data
        within("a line of the model's stream", len(self._rest), MAX_LINE_BYTES)
        if not _LINE_END.search(data):
            return []
        # What ends in a carriage return is a whole line already; a newline after it adds nothing.
        self._after_return = data.endswith(b"\r")
        *lines, rest = _LINE_END.split(bytes(self._rest))
        self._rest = bytearray(rest)
        events = [self._take(line.decode("utf-8", "replace")) for line in lines]
        return [event for event in events if event]

    def close(self) -> list[ServerEvent]:
        """The last event, where only the empty line after it is missing."""
        return [event for event in [self._take("")] if event]

    def _take(self, line: str) -> ServerEvent | None:
        if self._at_start:
            line, self._at_start = line.removeprefix("\ufeff"), False
        if not line:
            name, data = self._name, self._data
            self._name, self._data = "", []
            return ServerEvent(name, "\n".join(data)) if data else None
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            self._data.append(value)
        elif field == "event":
            self._name = value
        return None
