"""Views: the rows of a mirror at one revision.

The rule for readers. The view at the head is the live rows themselves, read without a lock while another
thread may bring them forward. So what an evaluation found, and an error that it ran into, counts only if
`view.intact` is still true *afterwards*. If it is not, ask the mirror for a view of the same revision again:
by now that one is of the past, and views of the past stay intact until the mirror frees its rows.
`Mirror.read` does just this.

Why that is enough: who changes live rows first takes `intact` from the view that shows them. And a view of
the past does each read under the lock of the changes, and hands out only what nobody changes later.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock

from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.past import PastRows, Undo
from weft.authz.mirror.rows import RelationRows, Tables


class View:
    """The rows at one revision."""

    __slots__ = ("_tables", "intact", "numbers", "revision")

    def __init__(self, revision: int, numbers: Numbers, tables: Tables) -> None:
        self.revision = revision
        self.numbers = numbers
        self.intact = True
        """Whether all that was read so far is of this revision."""
        self._tables = tables

    def rows(self, namespace: str, relation: str) -> RelationRows | PastRows:
        """The rows of a relation; none for one that was never written."""
        return self._tables[namespace, relation]

    def goes_on(self, before: View) -> bool:
        """Whether it shows the very rows that another view did, brought forward; each view of the past has
        its own."""
        return type(self) is type(before) is View and self._tables is before._tables


class PastView(View):
    """A view that stays as it is while the live rows go on."""

    __slots__ = ("__weakref__", "_lock", "_past")

    def __init__(self, revision: int, numbers: Numbers, tables: Tables, lock: RLock) -> None:
        super().__init__(revision, numbers, tables)
        self._lock = lock
        self._past: dict[RelationRows, PastRows] = {}

    def rows(self, namespace: str, relation: str) -> PastRows:
        return self._rows(self._tables[namespace, relation])

    def note(self, undone: Sequence[Undo]) -> None:
        """A later revision than this changed these rows; to be told of all such revisions, in order."""
        for undo in undone:
            self._rows(undo.rows).note(undo)

    def _rows(self, live: RelationRows) -> PastRows:
        with self._lock:
            rows = self._past.get(live)
            if rows is None:
                rows = self._past[live] = PastRows(self._lock, live)
            return rows
