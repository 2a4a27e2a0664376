"""Events from Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from weft.core.errors import Conflict, Corrupt
from weft.core.extras import require
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.sources.event_time import event_at
from weft.graph.ingest.sources.opening import fingerprint, opened

_ROWS_PER_BATCH: Final = 1_000
# The footer ends a Parquet file and says where everything is: it changes with whatever is in the file.
_FOOTER_BYTES: Final = 4 << 10


class ParquetSource:
    """The rows of a Parquet file, each an event with a dict as its value; its offset is the row's number,
    from 1.

    `time_field` names the column with the event time: a timestamp, whole microseconds since 1970, or text in
    RFC 3339. Memory is bounded by the file's pages; row groups that were read before are skipped.
    """

    def __init__(self, path: str | Path, *, time_field: str, name: str | None = None) -> None:
        self._path = Path(path)
        self._time_field = time_field
        self.name = name or f"parquet:{self._path.resolve()}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        with self._opened(after) as (file, mark):
            done = after[0].position if 0 in after else 0
            position, groups = 0, list(range(file.num_row_groups))
            while groups and position + file.metadata.row_group(groups[0]).num_rows <= done:
                position += file.metadata.row_group(groups.pop(0)).num_rows
            for rows in file.iter_batches(_ROWS_PER_BATCH, row_groups=groups, use_threads=False):
                skip = max(0, min(done - position, len(rows)))
                for number, value in enumerate(_values(rows.slice(skip)), position + skip + 1):
                    offset = Offset(number, mark)
                    if isinstance(value, Exception):
                        yield Event(offset, 0, None, error=f"the row does not decode: {value}")
                    else:
                        yield event_at(offset, value, self._time_field)
                position += len(rows)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        with self._opened(after) as (file, _):
            return int(file.metadata.num_rows) - (after[0].position if 0 in after else 0)

    @contextmanager
    def _opened(self, after: Mapping[int, Offset]) -> Iterator[tuple[Any, str]]:
        """The file and its mark; `Conflict` when another one was read before."""
        arrow = require("pyarrow", "parquet")
        parquet = require("pyarrow.parquet", "parquet")
        with opened(self._path) as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _FOOTER_BYTES))
            mark = f"{size}:{fingerprint(file.read())}"
            if 0 in after and after[0].mark != mark:
                raise Conflict(
                    f"`{self._path}` is not the file that was read before",
                    hint="restore it, or give the source a new name to read it from the start",
                )
            try:
                yield parquet.ParquetFile(file), mark
            except (arrow.ArrowException, OSError) as error:
                raise Corrupt(
                    f"`{self._path}` is damaged or not a Parquet file: {error}", hint="fetch it again"
                ) from error


def _values(rows: Any) -> list[Any]:
    """Rows as dicts; an exception in place of one that Python cannot hold."""
    try:
        return list(rows.to_pylist())
    except Exception:
        return [_value(rows.slice(at, 1)) for at in range(len(rows))]


def _value(row: Any) -> Any:
    try:
        return row.to_pylist()[0]
    except Exception as error:
        return error
