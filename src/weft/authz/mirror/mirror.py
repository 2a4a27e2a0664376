"""A mirror: the live rows of one store in memory, kept up with its change log.

The rule for readers. The view at the head is the live rows themselves, read without a lock while another
thread may bring them forward. So an answer from it, and an error too, counts only if `view.intact` is still
true *after* the whole evaluation. If it is not, ask the mirror for a view of the same revision again: by now
that one is of the past, and views of the past stay intact, whatever happens. `Mirror.read` does just this.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import RLock
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable
from weakref import WeakSet

from weft.authz.mirror.load import Loader
from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.past import PastRows, Undo
from weft.authz.mirror.rows import Kind, Maybe, RelationRows, Row
from weft.authz.store import RevisionGone

if TYPE_CHECKING:
    from weft.authz.stores.lmdb_numbered import NumberedChange, NumberedCommit, NumberedStore

T = TypeVar("T")
_UNDO_ROWS: Final = 200_000
"""How many changed rows are kept for views of the past: some 40 MB."""
_PAST_VIEWS: Final = 4
_SLICE_ROWS: Final = 1_000


@runtime_checkable
class Mirrored(Protocol):
    """A store of which a mirror can be made."""

    def numbered(self) -> NumberedStore:
        """Its rows and changes by number."""


class RowChange(NamedTuple):
    """One changed row, as listeners are told of it. A touch replaces what stood there."""

    touched: bool
    namespace: int
    relation: int
    object: int
    user: int
    maybe: bool
    """Whether the row has a condition or an expiry."""


Listener = Callable[[int, Sequence[RowChange] | None], None]
"""Told of each revision that the mirror has applied, while it stands still. None instead of changes: the
mirror was loaded anew, begin again."""


class View:
    """The rows at one revision."""

    __slots__ = ("__weakref__", "_find", "intact", "numbers", "revision")

    def __init__(
        self,
        revision: int,
        numbers: Numbers,
        find: Callable[[str, str], RelationRows | PastRows],
    ) -> None:
        self.revision = revision
        self.numbers = numbers
        self.intact = True
        """Whether everything read so far is of this revision."""
        self._find = find

    def rows(self, namespace: str, relation: str) -> RelationRows | PastRows:
        """The rows of a relation; none for one that was never written."""
        return self._find(namespace, relation)


class _Past(View):
    """A view that stays as it is while the mirror goes on."""

    __slots__ = ("_lock", "_mirrored", "_tables")

    def __init__(
        self, revision: int, numbers: Numbers, lock: RLock, live: Callable[[str, str], RelationRows]
    ) -> None:
        super().__init__(revision, numbers, lambda namespace, relation: self._of(live(namespace, relation)))
        self._lock = lock
        self._tables: dict[RelationRows, PastRows] = {}

    def note(self, undone: Sequence[Undo]) -> None:
        """A commit after this revision changed these rows."""
        for undo in undone:
            self._of(undo.rows).note(undo)

    def _of(self, live: RelationRows) -> PastRows:
        with self._lock:
            rows = self._tables.get(live)
            if rows is None:
                rows = self._tables[live] = PastRows(self._lock, live)
            return rows


class Mirror:
    """See the module. Methods may be called from any thread."""

    def __init__(self, store: NumberedStore) -> None:
        self.numbers = Numbers(store)
        self.state: Literal["loading", "ready", "off"] = "loading"
        self.head_revision = -1
        """The revision of the live rows; -1 until they are loaded."""
        self._store = store
        self._lock = RLock()
        self._rows: dict[tuple[str, str], RelationRows] = {}
        self._view: View | None = None
        self._wall_us = 0
        self._undone: deque[tuple[int, list[Undo]]] = deque()
        self._undone_rows = 0
        self._past: dict[int, _Past] = {}
        self._pasts: WeakSet[_Past] = WeakSet()
        self._listeners: list[Listener] = []

    def view(self, revision: int) -> View | None:
        """The rows at a revision; None when the caller must ask the store: the mirror is not loaded, not yet
        there, or the revision is older than what it can undo."""
        view = self._view
        if view is not None and view.revision == revision and view.intact:
            return view
        with self._lock:
            if self.state == "off":
                return None
            if self.head_revision < revision:
                self.catch_up()
            if self.head_revision == revision:
                return self._view
            return self._past_view(revision)

    def read(self, revision: int, evaluate: Callable[[View], T]) -> T | None:
        """What `evaluate` makes of the rows at a revision; None when there is no view of it."""
        view = self.view(revision)
        if view is None:
            return None
        try:
            result = evaluate(view)
        except Exception:
            if view.intact:
                raise
        else:
            if view.intact:
                return result
        view = self.view(revision)
        return None if view is None else evaluate(view)

    def catch_up(self) -> None:
        """Apply what was committed since."""
        with self._lock:
            if self.state == "off":
                return
            if self.head_revision < 0:
                self._load()
            try:
                while commits := self._store.commits(self.head_revision, self._wall_us, _SLICE_ROWS):
                    for commit in commits:
                        self._apply(commit)
            except RevisionGone:
                self._load()

    def subscribe(self, listener: Listener) -> None:
        """Tell a listener of every revision applied from now on."""
        with self._lock:
            self._listeners.append(listener)

    def close(self) -> None:
        """Free the rows; every view is None from now on."""
        with self._lock:
            self.state = "off"
            self._forget()

    def _forget(self) -> None:
        if self._view is not None:
            self._view.intact = False
        self._view = None
        self.head_revision = -1
        self._rows = {}
        self._undone.clear()
        self._undone_rows = 0
        self._past = {}

    def _load(self) -> None:
        self._forget()
        head = self._store.head()
        for _ in Loader(self._store, self.numbers, self._live).steps():
            pass
        self._wall_us = head.wall_us
        self.state = "ready"
        self._stand_at(head.revision)
        for listener in self._listeners:
            listener(head.revision, None)

    def _stand_at(self, revision: int) -> None:
        self.head_revision = revision
        self._view = View(revision, self.numbers, self._live)

    def _live(self, namespace: str, relation: str) -> RelationRows:
        rows = self._rows.get((namespace, relation))
        if rows is None:
            rows = self._rows.setdefault((namespace, relation), RelationRows())
        return rows

    def _apply(self, commit: NumberedCommit) -> None:
        """Bring the live rows forward by one revision."""
        if self._view is not None:
            self._view.intact = False
        undone = [self._change(change) for change in commit.changes]
        for past in self._pasts:
            past.note(undone)
        self._keep_undone(commit.revision, undone)
        self._wall_us = commit.wall_us
        changes = [
            RowChange(c.touched, c.namespace, c.relation, c.object, c.user, c.tail is not None)
            for c in commit.changes
        ]
        for listener in self._listeners:
            listener(commit.revision, changes)
        self._stand_at(commit.revision)

    def _change(self, change: NumberedChange) -> Undo:
        name = self.numbers.name
        rows = self._live(name(change.namespace), name(change.relation))
        row: Row = None
        if change.touched:
            row = Maybe(change.object, change.user, *change.tail) if change.tail else True
            rows.kinds.add(self._kind(change))
        return Undo(rows, change.object, change.user, rows.put(change.object, change.user, row))

    def _kind(self, change: NumberedChange) -> Kind:
        name = self.numbers.name
        condition, expires_at_us = change.tail or (None, None)
        return Kind(
            name((change.user >> 48) & 0xFFFF),
            name(change.user >> 64),
            not change.user & ((1 << 48) - 1),
            condition.name if condition else "",
            expires_at_us is not None,
        )

    def _keep_undone(self, revision: int, undone: list[Undo]) -> None:
        self._undone.append((revision, undone))
        self._undone_rows += len(undone) + 1
        while self._undone_rows > _UNDO_ROWS:
            _, dropped = self._undone.popleft()
            self._undone_rows -= len(dropped) + 1

    def _past_view(self, revision: int) -> View | None:
        if not self._undone or not self._undone[0][0] - 1 <= revision < self.head_revision:
            return None
        past = self._past.get(revision)
        if past is None:
            past = _Past(revision, self.numbers, self._lock, self._live)
            for at, undone in self._undone:
                if at > revision:
                    past.note(undone)
            self._pasts.add(past)
            self._past[revision] = past
            while len(self._past) > _PAST_VIEWS:
                del self._past[next(iter(self._past))]
        return past
