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
            if self._follow and is_compressed(self._path):
                raise Invalid(f"`{self._path}` is compressed, so it cannot be followed as it grows")
            while True:
                moved, at_end = self._follow and self._is_moved(file), True
                for event in self._lines(file, last):
                    last, at_end = event.offset, False
                    yield event
                if not self._follow or self._stopped:
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
        while line := file.readline(MAX_LINE_BYTES + 1):
            size = len(line)
            ended = line.endswith(b"\n")
            while size > MAX_LINE_BYTES and not ended and (rest := file.readline(MAX_LINE_BYTES)):
                size += len(rest)
                ended = rest.endswith(b"\n")
            if not ended:
                return
            number += 1
            at += size
            if size > MAX_LINE_BYTES:
                # The line's end stands in for all of it.
                yield _too_long(Offset(number, mark_text(at, b"\n")))
            elif not line.isspace():
                yield self._event(Offset(number, mark_text(at, line)), line)

    def _event(self, offset: Offset, line: bytes) -> Event:
        try:
            value = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Event(offset, 0, line.decode("utf-8", "backslashreplace"), error=f"not JSON: {error}")
        return event_at(offset, value, self._time_field)

    def _is_moved(self, file: BinaryIO) -> bool:
        """Whether the path names another file by now, or none."""
        here = os.fstat(file.fileno())
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return True
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)


def _too_long(offset: Offset) -> Event:
    return Event(offset, 0, None, error=f"the line is longer than {MAX_LINE_BYTES:,} bytes")
