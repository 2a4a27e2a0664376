"""How a long output is shortened for a model, and kept whole behind a handle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from weft.agent.secrets import redact
from weft.core import limits
from weft.core.errors import NotFound, WeftError
from weft.core.limits import MAX_TOOL_OUTPUT_CHARS

Save = Callable[[bytes], str]
"""Keeps bytes and gives the name under which `Load` finds them."""
Load = Callable[[str], bytes]

_HANDLE_CHARS: Final = 64


class Outputs:
    """What tools said at length, each whole behind a handle that `read_output` opens.

    `save` and `load` are the session store's; without them outputs live as long as this object. What is kept
    is redacted first, as everything that is recorded.
    """

    def __init__(self, save: Save | None = None, load: Load | None = None) -> None:
        self._kept: dict[str, bytes] = {}
        self._save = save or self._remember
        self._load = load or self._kept.__getitem__

    def keep(self, text: str) -> str:
        """The handle of a text."""
        return self._save(redact(text).encode("utf-8", "replace"))

    def rows(self, handle: str) -> list[str]:
        """The lines of a kept text; longer ones than a model is shown go on in the next row."""
        try:
            if len(handle) != _HANDLE_CHARS:
                raise KeyError(handle)
            text = self._load(handle).decode("utf-8", "replace")
        except (KeyError, WeftError) as error:
            raise NotFound(f"there is no output `{handle}`", hint="copy the handle from a note") from error
        return list(_rows(text))

    def shown(self, text: str, limit: int = MAX_TOOL_OUTPUT_CHARS) -> str:
        """The head and the tail of a text, and the handle of it all where something is left out."""
        if len(text) <= limit:
            return text
        return f"{clipped(text, limit)}\n{self._note(text)}"

    def listed(self, rows: Sequence[str], limit: int, what: str) -> str:
        """The first rows, and the handle of all of them where there are more."""
        text = "\n".join(rows)
        if len(rows) <= limit:
            return self.shown(text)
        head = self.shown("\n".join(rows[:limit]))
        return f"{head}\n[{len(rows) - limit:,} more {what}]\n{self._note(text)}"

    def _note(self, text: str) -> str:
        return f"[all of it: read_output handle={self.keep(text)}]"

    def _remember(self, data: bytes) -> str:
        handle = hashlib.sha256(data).hexdigest()
        self._kept[handle] = data
        return handle


def clipped(text: str, limit: int = MAX_TOOL_OUTPUT_CHARS) -> str:
    """The head and the tail of a long text, with a note of what is missing between them."""
    if len(text) <= limit:
        return text
    head, tail = limit // 3, limit - limit // 3
    missing = len(text) - head - tail
    return f"{text[:head]}\n[... {missing:,} characters left out ...]\n{text[-tail:]}"


def shortened(text: str) -> str:
    """One line, fit to be shown."""
    shown = text.rstrip("\r").encode("utf-8", "replace").decode()
    most = limits.MAX_TOOL_LINE_CHARS
    return shown if len(shown) <= most else shown[:most] + " [line cut]"


def _rows(text: str) -> Iterator[str]:
    most = limits.MAX_TOOL_LINE_CHARS
    for line in text.split("\n"):
        yield from (line[at : at + most] for at in range(0, max(1, len(line)), most))
