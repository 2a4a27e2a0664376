"""Events from a file of MessagePack values, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from weft.core.errors import Corrupt
from weft.core.extras import require
from weft.core.limits import MAX_LINE_BYTES
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.sources.event_time import event_at
from weft.graph.ingest.sources.opening import Mark, mark_text, opened

_CHUNK_BYTES: Final = 1 << 20
_MARK_BYTES: Final = 64
"""The last bytes of a value that tell it from another one in its place."""


class MsgpackSource:
    """The values of a MessagePack stream, plain or compressed, each an event; its offset is its number,
    from 1.

    `time_field` names the field with the event time: a timestamp, whole microseconds since 1970, or text in
    RFC 3339. A last value that is not complete is left for the next run. Behind bytes that are no
    MessagePack, or a value over `limits.MAX_LINE_BYTES`, nothing can be found: `Corrupt`.
    """

    def __init__(self, path: str | Path, *, time_field: str, name: str | None = None) -> None:
        self._path = Path(path)
        self._time_field = time_field
        self.name = name or f"msgpack:{self._path.resolve()}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        position = start = 0
        with opened(self._path) as file:
            if 0 in after:
                mark = Mark.of(after[0])
                mark.resume(file, self._path, f"value {after[0].position:,}")
                position, start = after[0].position, mark.end
            unpacker = _unpacker()
            held, held_at, end = b"", start, start
            while chunk := file.read(_CHUNK_BYTES):
                held += chunk
                try:
                    unpacker.feed(chunk)
                    for value in unpacker:
                        begin, end = end, start + unpacker.tell()
                        position += 1
                        tail = held[max(begin, end - _MARK_BYTES) - held_at : end - held_at]
                        yield event_at(Offset(position, mark_text(end, tail)), value, self._time_field)
                except (ValueError, require("msgpack", "msgpack").UnpackException) as error:
                    raise Corrupt(
                        f"`{self._path}` is not MessagePack behind byte {end:,}: "
                        f"{str(error) or type(error).__name__}",
                        hint="cut it there",
                    ) from error
                held, held_at = held[end - held_at :], end

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return None


def _unpacker() -> Any:
    """Text that is not UTF-8 keeps its bytes as surrogates, which no id or property takes."""
    return require("msgpack", "msgpack").Unpacker(
        max_buffer_size=MAX_LINE_BYTES + _CHUNK_BYTES,
        strict_map_key=False,
        timestamp=3,
        unicode_errors="surrogateescape",
    )
