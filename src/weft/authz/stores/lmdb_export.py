"""Export: all tuples at a revision as lines in an order of their text, though keys are made of numbers.

Objects come in the order of the index over their ids. The rows of one object lie in the order in which
their users were first written, so its lines are sorted. Where they are too many for that, the object is gone
through again for each run of the smallest lines that are left: memory stays bounded, nothing is spilled to
disk, and an export may go on behind any line. No transaction outlives a page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from typing import Final, NamedTuple

from weft.authz.store import indexed_id
from weft.authz.stores.lmdb_layout import FORWARD
from weft.authz.stores.lmdb_read import Found, View
from weft.authz.tuples import RelationTuple

_PAGE_ROWS: Final = 10_000
"""Read in one transaction: tens of milliseconds."""
_RUN_LINES: Final = 200_000
"""Of one object, sorted at once: tens of megabytes."""


class _Place(NamedTuple):
    """Where to go on: with the object at an index key, behind a line of it."""

    key: bytes
    line: str = ""


class Export:
    """One export; `open_view` gives the rows at its revision, each time in a transaction of its own."""

    def __init__(self, open_view: Callable[[], AbstractContextManager[View]]) -> None:
        self._open_view = open_view

    def lines(self, after: RelationTuple | None) -> Iterator[str]:
        """All lines behind a tuple's."""
        with self._open_view() as view:
            namespaces = view.namespaces()
        for name, prefix in namespaces:
            place = _Place(prefix)
            if after is not None and name <= after.object.namespace:
                if name < after.object.namespace:
                    continue
                place = _Place(prefix + indexed_id(after.object.id), str(after))
            yield from self._of_namespace(prefix, place)

    def _of_namespace(self, prefix: bytes, start: _Place) -> Iterator[str]:
        place: _Place | None = start
        while place is not None:
            with self._open_view() as view:
                lines, large, place = _page(view, prefix, place)
            yield from lines
            if large is not None and place is not None:
                yield from self._of_large(large, place.line)
                place = _Place(place.key + b"\0")

    def _of_large(self, number: bytes, after: str) -> Iterator[str]:
        """The lines of an object with more rows than a page, run by run."""
        while run := _smallest(self._batches(number), after):
            yield from run
            after = run[-1]

    def _batches(self, number: bytes) -> Iterator[list[str]]:
        start = b""
        while True:
            with self._open_view() as view:
                rows = list(islice(view.rows(FORWARD, number, after=start), _PAGE_ROWS))
                yield view.lines(number, rows)
            if len(rows) < _PAGE_ROWS:
                return
            start = rows[-1][0]


def _page(view: View, prefix: bytes, place: _Place) -> tuple[list[str], bytes | None, _Place | None]:
    """Lines of whole objects from a place on; the number of the object that is too large for that, if one is;
    and the place behind the lines."""
    page: list[str] = []
    for key, number in view.objects(prefix, place.key):
        behind = place.line if key == place.key else ""
        if len(page) >= _PAGE_ROWS:
            return page, None, _Place(key)
        rows: list[Found] = list(islice(view.rows(FORWARD, number), _PAGE_ROWS + 1))
        if len(rows) > _PAGE_ROWS:
            return page, number, _Place(key, behind)
        lines = view.lines(number, rows)
        page += sorted(line for line in lines if line > behind) if behind else sorted(lines)
    return page, None, None


def _smallest(batches: Iterable[list[str]], after: str) -> list[str]:
    """The least `_RUN_LINES` lines behind a line, in order."""
    kept: list[str] = []
    bound: str | None = None
    for batch in batches:
        kept += [line for line in batch if line > after and (bound is None or line < bound)]
        if len(kept) > 2 * _RUN_LINES:
            kept.sort()
            del kept[_RUN_LINES:]
            bound = kept[-1]
    kept.sort()
    return kept[:_RUN_LINES]
