"""Events from a file with one JSON value per line."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Conflict, Invalid
from weft.core.limits import MAX_LINE_BYTES
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.sources.event_time import event_at
from weft.graph.ingest.sources.opening import Mark, is_compressed, mark_text, opened

_POLL_S: Final = 0.5
_BREAK: Final = ord("\n")
_decode: Final = msgspec.json.Decoder().decode


class NdjsonSource:
    """The lines of a file, plain or compressed, each an event; its offset is the line's number, from 1. Blank
    lines are skipped.

    `time_field` names the field with the event time: whole microseconds since 1970, or text in RFC 3339. A
    last line without its line break is still being written, and is left for the next run.

    With `follow` the source waits for more at the end of the file, until `stop` is called. A file that is
    truncated, overwritten or (once it is read to its end) moved away under it is a `Conflict`.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        time_field: str,
        name: str | None = None,
        follow: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._path = Path(path)
        self._time_field = time_field
        self._follow = follow
        self._clock = clock
        self._stopped = False
        self.name = name or f"ndjson:{self._path.resolve()}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        last = after.get(0)
        with opened(self._path) as file:
            if not self._follow:
                yield from self._lines(file, last)
            elif is_compressed(self._path):
                raise Invalid(f"`{self._path}` is compressed, so it cannot be followed as it grows")
            else:
                yield from self._followed(file, last)

    def _followed(self, file: BinaryIO, last: Offset | None) -> Iterator[Event | None]:
        while True:
            moved, at_end = self._is_moved(file), True
            for event in self._lines(file, last):
                last, at_end = event.offset, False
                yield event
            if self._stopped:
                return
            if moved and at_end:
                raise Conflict(
                    f"`{self._path}` was moved away or replaced while it was followed",
                    hint="follow the new file as a source with a new name",
                )
            yield None
            if self._stopped:
                return
            self._clock.sleep(_POLL_S)
            file.seek(0)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return None

    def stop(self) -> None:
        """Let a followed file end, once what it holds has been read."""
        self._stopped = True

    def _lines(self, file: BinaryIO, last: Offset | None) -> Iterator[Event]:
        """The lines behind the last one, as far as they are complete; `file` stands at its start."""
        number = at = 0
        if last is not None:
            mark = Mark.of(last)
            mark.resume(file, self._path, f"line {last.position:,}")
            number, at = last.position, mark.end
        read, time_field = file.readline, self._time_field
        while line := read(MAX_LINE_BYTES + 1):
            size = len(line)
            if line[-1] != _BREAK:
                size = _size_to_break(file, size)
                if not size:
                    return
            number += 1
            at += size
            if size > MAX_LINE_BYTES:
                # The line's end stands in for all of it.
                yield _too_long(Offset(number, mark_text(at, b"\n")))
                continue
            try:
                value = _decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if not line.isspace():
                    yield _no_json(Offset(number, mark_text(at, line)), line, error)
                continue
            yield event_at(Offset(number, mark_text(at, line)), value, time_field)

    def _is_moved(self, file: BinaryIO) -> bool:
        """Whether the path names another file by now, or none."""
        here = os.fstat(file.fileno())
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)


def _size_to_break(file: BinaryIO, size: int) -> int:
    """The size of a line of which `size` bytes are read; 0 when it does not end."""
    while size > MAX_LINE_BYTES and (rest := file.readline(MAX_LINE_BYTES)):
        size += len(rest)
        if rest[-1] == _BREAK:
            return size
    return 0


def _no_json(offset: Offset, line: bytes, error: Exception) -> Event:
    return Event(offset, 0, line.decode("utf-8", "backslashreplace"), error=f"not JSON: {error}")


def _too_long(offset: Offset) -> Event:
    return Event(offset, 0, None, error=f"the line is longer than {MAX_LINE_BYTES:,} bytes")
