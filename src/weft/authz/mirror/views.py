"""Views: the rows of a mirror at one revision.

The rule for readers. The view at the head is the live rows themselves, read without a lock while another
thread may bring them forward. So an answer from it, and an error too, counts only if `view.intact` is still
true *after* the whole evaluation. If it is not, ask the mirror for a view of the same revision again: by now
that one is of the past, and views of the past stay intact, whatever happens. `Mirror.read` does just this.

Why that is enough: who changes live rows first takes `intact` from the view that shows them. And a view of
the past does each read under the lock of the changes, and hands out only what nobody changes later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import RLock

from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.past import PastRows, Undo
from weft.authz.mirror.rows import RelationRows


class View:
    """The rows at one revision."""

    __slots__ = ("_find", "intact", "numbers", "revision")

    def __init__(
        self, revision: int, numbers: Numbers, find: Callable[[str, str], RelationRows | PastRows]
    ) -> None:
        self.revision = revision
        self.numbers = numbers
        self.intact = True
        """Whether all that was read so far is of this revision."""
        self._find = find

    def rows(self, namespace: str, relation: str) -> RelationRows | PastRows:
        """The rows of a relation; none for one that was never written."""
        return self._find(namespace, relation)


class PastView(View):
    """A view that stays as it is while the live rows go on."""

    __slots__ = ("__weakref__", "_lock", "_tables")

    def __init__(
        self, revision: int, numbers: Numbers, lock: RLock, live: Callable[[str, str], RelationRows]
    ) -> None:
        super().__init__(revision, numbers, lambda namespace, relation: self._past(live(namespace, relation)))
        self._lock = lock
        self._tables: dict[RelationRows, PastRows] = {}

    def note(self, undone: Sequence[Undo]) -> None:
        """A later revision than this changed these rows; to be told of all such revisions, in order."""
        for undo in undone:
            self._past(undo.rows).note(undo)

    def _past(self, live: RelationRows) -> PastRows:
        with self._lock:
            rows = self._tables.get(live)
            if rows is None:
                rows = self._tables[live] = PastRows(self._lock, live)
            return rows
