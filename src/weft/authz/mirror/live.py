"""The live rows of a mirror, and what leads back from them to the revisions before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from threading import RLock
from typing import TYPE_CHECKING, Final
from weakref import WeakSet

from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.past import Undo
from weft.authz.mirror.rows import (
    NAMESPACE_SHIFT,
    SERIAL_MASK,
    USERSET_SHIFT,
    Kind,
    Maybe,
    RelationRows,
    Row,
    Tables,
)
from weft.authz.mirror.views import PastView, View

if TYPE_CHECKING:
    from weft.authz.stores.lmdb_numbered import NumberedChange, NumberedCommit

_UNDO_ROWS: Final = 200_000
"""How many changed rows are kept for views of the past: some 40 MB."""
_PAST_VIEWS: Final = 4
"""Kept for the next request that asks for the same revision."""
_SWEPT_AT_ONCE: Final = 1_000
"""Objects, with each commit."""


class Live:
    """Live rows at one revision. Whoever changes them holds the lock; readers go by the rule of `views`."""

    def __init__(self, revision: int, wall_us: int, numbers: Numbers, lock: RLock) -> None:
        self.revision = revision
        self.wall_us = wall_us
        self.count = 0
        """Of rows."""
        self.tables = Tables()
        self.view = View(revision, numbers, self.tables)
        self._numbers = numbers
        self._lock = lock
        self._undone: deque[tuple[int, list[Undo]]] = deque()
        self._undone_rows = 0
        self._recent: dict[int, PastView] = {}
        self._past: WeakSet[PastView] = WeakSet()
        self._to_sweep: Iterator[tuple[RelationRows, int]] = iter(())
        self._forgotten_us = 0

    def apply(self, commit: NumberedCommit) -> None:
        """Bring the rows forward by one revision."""
        self.view.intact = False
        undone = [self._change(change) for change in commit.changes]
        for past in self._past:
            past.note(undone)
        self._undone.append((commit.revision, undone))
        self._undone_rows += len(undone) + 1
        while self._undone_rows > _UNDO_ROWS:
            self._undone_rows -= len(self._undone.popleft()[1]) + 1
        self._sweep()
        self.revision, self.wall_us = commit.revision, commit.wall_us

    def stand(self) -> None:
        """Show the rows as they are: nothing is applied for now."""
        if not self.view.intact:
            self.view = View(self.revision, self._numbers, self.tables)

    def past(self, revision: int) -> View | None:
        """The rows as they were; None for what cannot be undone any more, or is yet to come."""
        if not self._undone or not self._undone[0][0] <= revision + 1 <= self.revision:
            return None
        past = self._recent.get(revision)
        if past is None:
            past = PastView(revision, self._numbers, self.tables, self._lock)
            for at, undone in self._undone:
                if at > revision:
                    past.note(undone)
            self._past.add(past)
            self._recent[revision] = past
            while len(self._recent) > _PAST_VIEWS:
                del self._recent[next(iter(self._recent))]
        return past

    def begin(self) -> None:
        """Forget the past: what led here were rows that may have been loaded as they became."""
        self._undone.clear()
        self._undone_rows = 0

    def clear(self) -> None:
        """Free the rows; what is read of any view from now on is void."""
        for view in (self.view, *self._past):
            view.intact = False
        for rows in list(self.tables.values()):
            rows.clear()

    def forget_expired(self, until_us: int) -> None:
        """Rows that expired until then are gone from the store, which takes no revision. Nobody counts them;
        drop them with the commits to come, some with each."""
        if until_us > self._forgotten_us:
            self._forgotten_us = until_us
            self._to_sweep = (
                (rows, object_)
                for rows in list(self.tables.values())
                if any(kind.expires for kind in rows.kinds)
                for object_ in list(rows.maybe)
            )

    def _sweep(self) -> None:
        for rows, object_ in islice(self._to_sweep, _SWEPT_AT_ONCE):
            for row in rows.maybe.get(object_, ()):
                if row.expires_at_us is not None and row.expires_at_us <= self._forgotten_us:
                    rows.put(row.object, row.user, None)
                    self.count -= 1

    def _change(self, change: NumberedChange) -> Undo:
        name = self._numbers.name
        rows = self.tables[name(change.namespace), name(change.relation)]
        row: Row = None
        if change.touched:
            row = Maybe(change.object, change.user, *change.tail) if change.tail else True
            rows.kinds.add(self._kind(change))
        before = rows.put(change.object, change.user, row)
        self.count += (row is not None) - (before is not None)
        return Undo(rows, change.object, change.user, before)

    def _kind(self, change: NumberedChange) -> Kind:
        name, user = self._numbers.name, change.user
        condition, expires_at_us = change.tail or (None, None)
        return Kind(
            name(user >> NAMESPACE_SHIFT & 0xFFFF),
            name(user >> USERSET_SHIFT),
            not user & SERIAL_MASK,
            condition.name if condition else "",
            expires_at_us is not None,
        )
