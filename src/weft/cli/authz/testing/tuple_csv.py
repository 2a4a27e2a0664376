"""OpenFGA's tuples as a table: one on each line of a CSV file, below a line that names the columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from weft.authz.tuples import ObjectRef, RelationTuple, TupleCondition, User, check_tuple, parse_context
from weft.cli.authz.testing.suite import PlacedTuple
from weft.cli.inputs import read_text
from weft.core.errors import Invalid, LimitExceeded

_NEEDED: Final = ("user_type", "user_id", "relation", "object_type", "object_id")
_COLUMNS: Final = (*_NEEDED, "user_relation", "condition_name", "condition_context")


def read_tuple_csv(file: Path) -> Iterator[PlacedTuple]:
    """The tuples of a file; `Invalid` names line and remedy."""
    rows = csv.DictReader(io.StringIO(read_text(file), newline=""), strict=True, restval="")
    names = rows.fieldnames or ()
    if not set(_NEEDED) <= set(names) <= set(_COLUMNS):
        raise Invalid(f"{file}:1: the columns are not those of tuples", hint=f"name {', '.join(_COLUMNS)}")
    try:
        for row in rows:
            place = f"{file}:{rows.line_num}"
            if None in row:
                raise Invalid(f"{place}: there are more values than columns", hint="put them in quotes")
            yield PlacedTuple(place, _tuple(place, row))
    except csv.Error as error:
        place = f"{file}:{rows.line_num + 1}"
        raise Invalid(f"{place}: not CSV: {error}", hint="correct it at that place") from error


def _tuple(place: str, row: dict[str, str]) -> RelationTuple:
    user = User(row["user_type"], row["user_id"], row.get("user_relation", ""))
    name, context = row.get("condition_name", ""), row.get("condition_context", "")
    try:
        condition = TupleCondition.of(name, parse_context(context) if context else {}) if name else None
        object_ = ObjectRef(row["object_type"], row["object_id"])
        return check_tuple(RelationTuple(object_, row["relation"], user, condition))
    except (Invalid, LimitExceeded) as error:
        raise Invalid(f"{place}: {error.message}", hint=error.hint) from error
