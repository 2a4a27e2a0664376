"""Events from Avro container files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from weft.core.errors import Conflict, Corrupt, Invalid
from weft.core.extras import require
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.sources.event_time import event_at
from weft.graph.ingest.sources.opening import opened

# A block that claims to hold more is damaged.
_MAX_POSITION: Final = 1 << 48


class AvroSource:
    """The records of an Avro container file, each an event; its offset is the record's number, from 1.

    `time_field` names the field with the event time: a timestamp, whole microseconds since 1970, or text in
    RFC 3339. Memory is bounded by the file's blocks. Blocks that were read before are skipped undecoded.
    Within a block nothing is found behind a record that does not decode: the rest is one dead letter.
    """

    def __init__(self, path: str | Path, *, time_field: str, name: str | None = None) -> None:
        self._path = Path(path)
        self._time_field = time_field
        self.name = name or f"avro:{self._path.resolve()}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        last = after.get(0)
        done = last.position if last else 0
        position = 0
        with opened(self._path) as file:
            blocks = self._blocks(file)
            sync = blocks._header["sync"].hex()
            if last is not None and last.mark != sync:
                raise self._changed()
            for block in self._each(blocks):
                end = position + block.num_records
                if not position < end < _MAX_POSITION and block.num_records:
                    raise self._damaged(f"a block says that it holds {block.num_records:,} records")
                if end > done:
                    yield from self._records(block, position, done, sync)
                position = end
        if position < done:
            raise self._changed()

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return None

    def _blocks(self, file: BinaryIO) -> Any:
        try:
            return require("fastavro", "avro").block_reader(file)
        except (ValueError, EOFError, KeyError, UnicodeDecodeError) as error:
            raise Invalid(f"`{self._path}` is not an Avro container file: {error}") from error

    def _each(self, blocks: Any) -> Iterator[Any]:
        while True:
            try:
                block = next(blocks, None)
            except Exception as error:
                raise self._damaged(str(error) or type(error).__name__) from error
            if block is None:
                return
            yield block

    def _records(self, block: Any, position: int, done: int, sync: str) -> Iterator[Event]:
        end = position + block.num_records
        try:
            for value in block:
                position += 1
                if position > done:
                    yield event_at(Offset(position, sync), value, self._time_field)
        except Exception as error:
            # Its place is the last of the block, so that what follows is not read again.
            reason = f"record {position + 1:,} does not decode, and hides {end - position - 1:,} behind it"
            yield Event(Offset(end, sync), 0, None, error=f"{reason}: {type(error).__name__}: {error}")

    def _damaged(self, reason: str) -> Corrupt:
        return Corrupt(f"`{self._path}` is damaged or still being written: {reason}", hint="fetch it again")

    def _changed(self) -> Conflict:
        return Conflict(
            f"`{self._path}` is not the file that was read before",
            hint="restore it, or give the source a new name to read it from the start",
        )
