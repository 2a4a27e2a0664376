"""Side inputs: keyed tables that a job's `enrich` looks into, refreshed while it runs."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, Unavailable
from weft.core.limits import MAX_SIDE_INPUT_ROWS, within
from weft.graph.ingest.sources.event_time import time_us
from weft.graph.ingest.sources.files import file_source

Row = Mapping[str, Any]
Load = Callable[[], Iterable[Row]]


class SideInput:
    """Rows by the value of their `key` field; of rows with one key the last counts.

    `load` gives all rows; it is called at the first look and again by the first look `refresh_s` seconds
    after. When it fails then, the table stays as it was and `failure` says why; at first it is `Unavailable`,
    which ends the job's run before the event.

    A table that is refreshed makes a repeated event see what the table says now. With `since`, the field of
    a row that says from when it holds, `get(key, at_us)` sees the row that held at the event's time: if the
    table keeps its history, every repetition sees the same.
    """

    def __init__(
        self,
        load: Load,
        *,
        key: str,
        since: str | None = None,
        refresh_s: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.failure: Exception | None = None
        self._load = load
        self._key = key
        self._since = since
        self._refresh_s = refresh_s
        self._clock = clock
        self._rows: dict[Any, list[tuple[int, Row]]] | None = None
        self._due_s: float | None = None

    @classmethod
    def from_file(cls, path: str | Path, **options: Any) -> Self:
        """The records of a file in any format of `file_source`; options as for the constructor."""
        return cls(lambda: _file_rows(path), **options)

    @classmethod
    def from_sql(cls, connect: Callable[[], Any], query: str, **options: Any) -> Self:
        """The rows of a query over a DB-API connection, which is opened for each refresh."""
        return cls(lambda: _sql_rows(connect, query), **options)

    def get(self, key: Any, at_us: int | None = None) -> Row | None:
        """The row of a key, with `since` the one that held at an instant; None when there is none."""
        if self._rows is None or (self._due_s is not None and self._clock.monotonic_s() >= self._due_s):
            self._refresh()
        rows = (self._rows or {}).get(key)
        if rows is None:
            return None
        if self._since is None or at_us is None:
            return rows[-1][1]
        place = bisect.bisect_right(rows, at_us, key=lambda row: row[0])
        return rows[place - 1][1] if place else None

    def _refresh(self) -> None:
        try:
            self._rows = self._table()
            self.failure = None
        except Exception as error:
            self.failure = error
            if self._rows is None:
                raise Unavailable(f"a side input cannot be loaded: {error}") from error
        if self._refresh_s is not None:
            self._due_s = self._clock.monotonic_s() + self._refresh_s

    def _table(self) -> dict[Any, list[tuple[int, Row]]]:
        table: dict[Any, list[tuple[int, Row]]] = {}
        for number, row in enumerate(self._load(), 1):
            within("a side input", number, MAX_SIDE_INPUT_ROWS, "rows")
            if self._key not in row:
                raise Invalid(f"row {number:,} has no `{self._key}`", hint="name the field with the key")
            since_us = 0 if self._since is None else time_us(row, self._since)
            rows = table.setdefault(row[self._key], [])
            if self._since is None:
                rows.clear()
            rows.append((since_us, row))
        for rows in table.values():
            rows.sort(key=lambda row: row[0])
        return table


def _file_rows(path: str | Path) -> Iterable[Row]:
    for event in file_source(path, time_field="").events({}):
        if event is not None:
            if not isinstance(event.value, dict):
                raise Invalid(f"record {event.offset.position:,} of `{path}` is no row: {event.error}")
            yield event.value


def _sql_rows(connect: Callable[[], Any], query: str) -> Iterable[Row]:
    with closing(connect()) as connection, closing(connection.cursor()) as cursor:
        cursor.execute(query)
        names = [column[0] for column in cursor.description]
        for row in cursor:
            yield dict(zip(names, row, strict=True))
