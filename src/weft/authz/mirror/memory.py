"""How much memory a mirror takes, near enough to hold a budget."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from sys import getsizeof
from typing import Any, Final

from weft.authz.mirror.rows import RelationRows

_SAMPLES: Final = 1_000
_NUMBER_BYTES: Final = 32
_MAYBE_BYTES: Final = 150
"""A row with an expiry, and its part of a condition that rows share."""
_GROWTH: Final = 1.25
_FIRST_ROWS: Final = 10_000
_ROW_BYTES: Final = 200


class Meter:
    """Bytes of a growing number of rows: measured now and then, in proportion in between."""

    def __init__(self) -> None:
        self._measured_rows = 0
        self._row_bytes: float = _ROW_BYTES

    def bytes_of(self, tables: Iterable[RelationRows], count: int) -> int:
        """What `count` rows take, in these tables."""
        if count > max(_FIRST_ROWS, self._measured_rows * _GROWTH) or count * _GROWTH < self._measured_rows:
            self._measured_rows = count
            self._row_bytes = sum(map(_table_bytes, tables)) / max(count, 1)
        return int(count * self._row_bytes)


def _table_bytes(rows: RelationRows) -> int:
    members: tuple[dict[int, Any], ...] = (rows.users, rows.usersets, rows.objects)
    maybes: tuple[dict[int, Any], ...] = (rows.maybe, rows.maybe_objects)
    owned = sum(getsizeof(table) + _values_bytes(table) for table in (*members, *maybes))
    numbers = max(len(rows.users), len(rows.usersets), len(rows.maybe)) + len(rows.objects)
    return owned + numbers * _NUMBER_BYTES + sum(len(found) for found in rows.maybe.values()) * _MAYBE_BYTES


def _values_bytes(table: dict[int, Any]) -> int:
    """By a sample that goes through the whole table."""
    if not table:
        return 0
    step = -(-len(table) // _SAMPLES)
    sample = [getsizeof(value) for value in islice(table.values(), 0, None, step)]
    return sum(sample) * len(table) // len(sample)
