"""Export and import: all tuples as lines of text, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final

import msgspec

from weft.authz.moments import Moments
from weft.authz.plan import Plan
from weft.authz.store import Head, SchemaMoved, TupleStore, Write
from weft.authz.tuples import RelationTuple, parse_tuple
from weft.authz.writes import require_admitted
from weft.authz.zookie import Zookie
from weft.core.errors import Invalid, LimitExceeded, NotFound, WeftError

_IMPORT_TUPLES: Final = 20_000
"""Per commit: one sync to disk for many tuples, and tens of megabytes of memory."""

_REFUSALS: Final = (Invalid, LimitExceeded, NotFound)
_Parsed = list[tuple[int, RelationTuple]]
"""Tuples, each with the number of its line."""


class Imported(msgspec.Struct, frozen=True):
    """What an import did."""

    tuples: int
    """Lines that held a tuple, whether or not it was there before."""
    zookie: Zookie


def import_lines(
    store: TupleStore, moments: Moments, plan_at: Callable[[Head], Plan], lines: Iterable[str]
) -> Imported:
    """Touch the tuples of all lines; see `Authz.import_tuples`."""
    head = store.head()
    tuples = 0
    parsed = _parsed(lines)
    while batch := list(islice(parsed, _IMPORT_TUPLES)):
        head = _touch(store, plan_at, batch)
        tuples += len(batch)
    return Imported(tuples, moments.zookie(head))


def _parsed(lines: Iterable[str]) -> Iterator[tuple[int, RelationTuple]]:
    for number, line in enumerate(lines, 1):
        if text := line.rstrip("\r\n"):
            try:
                yield number, parse_tuple(text)
            except _REFUSALS as error:
                raise _at_line(number, error) from error


def _touch(store: TupleStore, plan_at: Callable[[Head], Plan], batch: _Parsed) -> Head:
    while True:
        plan = plan_at(store.head())
        for number, item in batch:
            if item.condition is not None or not plan.admits(item):
                try:
                    require_admitted(plan, item)
                except _REFUSALS as error:
                    raise _at_line(number, error) from error
        distinct = {(item.object, item.relation, item.user): item for _, item in batch}
        try:
            return store.write(Write(touch=tuple(distinct.values()), schema_revision=plan.revision))
        except SchemaMoved:
            continue


def _at_line(number: int, error: WeftError) -> Invalid:
    return Invalid(f"line {number}: {error.message}", hint=error.hint, line=number)
