"""Events from a file with one JSON value per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec
import xxhash

from weft.core.errors import Conflict, Invalid, NotFound, Unavailable
from weft.core.limits import MAX_LINE_BYTES
from weft.graph.ingest.model import Event, Offset

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class NdjsonSource:
    """The lines of a file, each an event; its offset is the line's number, from 1. Blank lines are skipped.

    `time_field` names the field with the event time: whole microseconds since 1970, or text in RFC 3339. A
    last line without its line break is still being written, and is left for the next run.
    """

    def __init__(self, path: str | Path, *, time_field: str, name: str | None = None) -> None:
        self._path = Path(path)
        self._time_field = time_field
        self.name = name or f"ndjson:{self._path.resolve()}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        with self._open() as file:
            line_number = _resume(file, after.get(0), self._path)
            while line := file.readline(MAX_LINE_BYTES + 1):
                start = file.tell() - len(line)
                whole = len(line) <= MAX_LINE_BYTES
                if not whole:
                    line = _to_line_end(file, line)
                if not line.endswith(b"\n"):
                    return
                line_number += 1
                if not line.strip():
                    continue
                offset = Offset(line_number, f"{file.tell()}:{_fingerprint(line)}:{file.tell() - start}")
                yield self._event(offset, line) if whole else _too_long(offset)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return None

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"there is no file `{self._path}`", hint="check the path") from error
        except OSError as error:
            raise Unavailable(f"`{self._path}` cannot be read: {error.strerror}") from error

    def _event(self, offset: Offset, line: bytes) -> Event:
        try:
            value = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return Event(offset, 0, line.decode("utf-8", "backslashreplace"), error=f"not JSON: {error}")
        try:
            return Event(offset, _time_us(value, self._time_field), value)
        except Invalid as error:
            return Event(offset, 0, value, error=str(error))


def _resume(file: BinaryIO, done: Offset | None, path: Path) -> int:
    """Go behind the last line that was read, if it is still the same line; its number."""
    if done is None:
        return 0
    end, fingerprint, size = done.mark.split(":")
    file.seek(int(end) - int(size))
    if _fingerprint(file.read(min(int(size), MAX_LINE_BYTES + 1))) != fingerprint:
        raise Conflict(
            f"`{path}` is not the file that was read before: line {done.position:,} has changed",
            hint="restore it, or give the source a new name to read it from the start",
        )
    file.seek(int(end))
    return done.position


def _to_line_end(file: BinaryIO, line: bytes) -> bytes:
    """Skip the rest of an overlong line; its beginning, with the line break if it has one."""
    while rest := file.readline(MAX_LINE_BYTES):
        if rest.endswith(b"\n"):
            return line[:MAX_LINE_BYTES] + b"\n"
    return line


def _fingerprint(line: bytes) -> str:
    return xxhash.xxh3_64_hexdigest(line[:MAX_LINE_BYTES])


def _too_long(offset: Offset) -> Event:
    return Event(offset, 0, None, error=f"the line is longer than {MAX_LINE_BYTES:,} bytes")


def _time_us(value: Any, field: str) -> int:
    time = value.get(field) if isinstance(value, dict) else None
    if type(time) is int:
        return time
    if isinstance(time, str):
        try:
            instant = msgspec.convert(time, datetime)
        except msgspec.ValidationError as error:
            raise Invalid(f"`{field}` is not a time: `{time:.80}`") from error
        since = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    raise Invalid(f"it has no event time in `{field}`", hint="use microseconds since 1970, or RFC 3339 text")
