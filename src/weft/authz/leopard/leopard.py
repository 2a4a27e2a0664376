"""The index beside a mirror: built when nested groups make it pay, then brought along with every revision.

It is built from a snapshot of the mirror's rows, in the background where there are many; what is committed
meanwhile waits and is applied afterwards. From then on the mirror tells it of each revision before anybody
can ask at it. A schema that says something else about groups, or rows that are loaded anew, begin it anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from threading import RLock, Thread
from typing import Final

from weft.authz.cursor import digest_of
from weft.authz.leopard.file import Origin, load, save
from weft.authz.leopard.index import Edge, Index, Saved
from weft.authz.mirror.mirror import Mirror, RowChange, View
from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.rows import NAMESPACE_SHIFT, SERIAL_MASK, USERSET_SHIFT
from weft.authz.plan import Plan
from weft.authz.schema.model import AllowedSubject

PAYS_FROM: Final = 50
"""Groups that name groups. Fewer are walked as fast."""
SAVED_FROM: Final = 1_000
"""Groups that name groups. The sets of fewer are built as fast as read."""
FILE: Final = ".leopard"
SMALL_ROWS: Final = 5_000
"""Up to here, building takes some ten milliseconds and is done at once."""


class Leopard:
    """The index of one mirror. Methods may be called from any thread."""

    def __init__(self, mirror: Mirror, store_id: bytes | None = None) -> None:
        """With the id of the mirror's store, the sets of a large index are kept in a file beside that."""
        self._mirror = mirror
        self._store_id = store_id
        self._lock = RLock()
        self._shape: Shape | None = None
        """What the index was built for, or is being."""
        self._index: Index | None = None
        self._waiting: list[tuple[int, Sequence[RowChange]]] = []
        """What came while the index was being built."""
        self._background: Thread | None = None
        self._closed = False
        mirror.subscribe(self._follow)

    def for_relation(self, plan: Plan, view: View, namespace: str, relation: str) -> Index | None:
        """The index, where it knows all about the groups of a relation at a view's revision, and has so many
        that it pays; else None."""
        group = plan.groups.get((namespace, relation))
        if group is None or view.revision != self._mirror.head_revision:
            return None
        if sum(len(view.rows(*at).usersets) + len(view.rows(*at).maybe) for at in group.below) < PAYS_FROM:
            return None
        shape = self._shape
        if shape is None or not shape.fits(plan):
            self._begin(Shape(plan, self._mirror.numbers), view)
        with self._lock:
            shape, index = self._shape, self._index
        if index is None or shape is None or not shape.fits(plan):
            return None
        return index if index.revision == view.revision else None

    def for_lists(self, plan: Plan, view: View) -> Index | None:
        """The index, where it pays for some relation."""
        found = (self.for_relation(plan, view, *at) for at in plan.groups)
        return next((index for index in found if index is not None), None)

    def close(self) -> None:
        """Free the index; what runs in the background has ended on return."""
        with self._lock:
            self._closed = True
            self._forget()
        background = self._background
        if background is not None:
            background.join()

    # building

    def _begin(self, shape: Shape, view: View) -> None:
        with self._lock:
            if self._closed or self._background is not None:
                return
            self._forget()
            self._shape = shape
        if sum(len(view.rows(*at).objects) for at in shape.groups) <= SMALL_ROWS:
            self._build(shape)
        else:
            self._start(lambda: self._build(shape))

    def _build(self, shape: Shape) -> None:
        revision = self._mirror.head_revision
        edges = self._mirror.read(revision, lambda view: list(shape.edges(view)))
        index = None
        saved = None
        if edges is not None:
            saved = self._saved(shape)
            index = Index(shape.kinds, shape.computed, self._repair_soon)
            index.build(revision, edges, saved)
        with self._lock:
            if self._shape is not shape:
                return
            if index is None:
                self._forget()
                return
            for at, changes in self._waiting:
                if at > index.revision:
                    index.apply(at, shape.changed(changes))
            self._waiting = []
            self._index = index
        if index.nested >= SAVED_FROM and not index.restored:
            self._save(shape, index)

    def _saved(self, shape: Shape) -> Saved | None:
        if self._store_id is None:
            return None
        return load(self._mirror.folder / FILE, Origin(self._store_id, shape.digest))

    def _save(self, shape: Shape, index: Index) -> None:
        """Where that cannot be, the next process builds the sets anew."""
        if self._store_id is not None:
            with suppress(OSError):
                save(self._mirror.folder / FILE, Origin(self._store_id, shape.digest), index.snapshot())

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            finally:
                self._background = None

        with self._lock:
            if self._background is None and not self._closed:
                self._background = Thread(target=run, name="weft-leopard", daemon=True)
                self._background.start()

    def _repair_soon(self) -> None:
        index = self._index
        if index is not None:
            self._start(index.repair)

    # following

    def _follow(self, revision: int, changes: Sequence[RowChange] | None) -> None:
        """The mirror has applied a revision, and stands still until this returns."""
        with self._lock:
            shape, index = self._shape, self._index
            if shape is None:
                return
            if changes is None or shape.outgrown():
                self._forget()
            elif index is None:
                self._waiting.append((revision, changes))
            else:
                index.apply(revision, shape.changed(changes))

    def _forget(self) -> None:
        self._shape = self._index = None
        self._waiting = []


class Shape:
    """What an index is built for: the groups-only part of a schema, in the numbers of a store."""

    def __init__(self, plan: Plan, numbers: Numbers) -> None:
        self.groups = plan.groups
        self._numbers = numbers
        self.computed: dict[int, list[int]] = {}
        """By kind of userset, the relations of the same object that hold its users, too."""
        self._unwritten: list[tuple[str, str, str]] = []
        """What is computed while one of its names has no number, since no tuple was written with it."""
        self._covered: dict[tuple[int, int], bool] = {}
        self._admitted: dict[tuple[int, int, int, bool], bool] = {}
        for namespace, relation in plan.groups:
            self._compute(namespace, relation)
        kinds = {self._kind(*at) for at in plan.groups}
        self.kinds = frozenset(kind for kind in kinds if kind is not None)
        """Of the usersets that the index knows, by number."""

    def fits(self, plan: Plan) -> bool:
        """Whether a schema says the same about groups."""
        return self.groups is plan.groups or self.groups == plan.groups

    def outgrown(self) -> bool:
        """Whether all names of something computed have numbers by now."""
        number = self._numbers.relation
        return any(all(number(name) is not None for name in names) for names in self._unwritten)

    @property
    def digest(self) -> bytes:
        """Eight bytes, the same for the same shape."""
        computed = sorted((kind, *sorted(held_by)) for kind, held_by in self.computed.items())
        return digest_of(sorted(self.kinds), computed)

    def edges(self, view: View) -> Iterator[Edge]:
        """All that the index is about, at a view."""
        for name in self.groups:
            namespace, relation = self._numbers.namespace(name[0]), self._numbers.relation(name[1])
            if namespace is None or relation is None:
                continue
            rows = view.rows(*name)
            for table in (rows.users, rows.usersets):
                for object_, users in table.items():
                    group = relation << USERSET_SHIFT | object_
                    for user in users:
                        if self._admits(namespace, relation, user):
                            yield Edge(group, user, True)
            for object_, unsure in rows.maybe.items():
                for row in unsure:
                    yield Edge(relation << USERSET_SHIFT | object_, row.user, False)

    def changed(self, changes: Sequence[RowChange]) -> Iterator[Edge]:
        """What a revision changed of it."""
        for touched, namespace, relation, object_, user, maybe in changes:
            if self._covers(namespace, relation):
                state = None
                if touched and (maybe or self._admits(namespace, relation, user)):
                    state = not maybe
                yield Edge(relation << USERSET_SHIFT | object_, user, state)

    def _covers(self, namespace: int, relation: int) -> bool:
        key = namespace, relation
        known = self._covered.get(key)
        if known is None:
            name = self._numbers.name
            known = self._covered[key] = (name(namespace), name(relation)) in self.groups
        return known

    def _admits(self, namespace: int, relation: int, user: int) -> bool:
        """Whether the schema admits such a tuple, without condition and expiry."""
        wildcard = not user & SERIAL_MASK
        key = namespace, relation, user >> NAMESPACE_SHIFT, wildcard
        known = self._admitted.get(key)
        if known is None:
            name = self._numbers.name
            kind = name(user >> NAMESPACE_SHIFT & 0xFFFF), name(user >> USERSET_SHIFT)
            named = self.groups[name(namespace), name(relation)].named
            known = self._admitted[key] = AllowedSubject(*kind, wildcard) in named
        return known

    def _kind(self, namespace: str, relation: str) -> int | None:
        at, number = self._numbers.namespace(namespace), self._numbers.relation(relation)
        return None if at is None or number is None else number << USERSET_SHIFT - NAMESPACE_SHIFT | at

    def _compute(self, namespace: str, relation: str) -> None:
        """Of all relations behind it, directly: one between that no tuple ever named has no groups."""
        held_by = self._numbers.relation(relation)
        names: set[str] = set()
        todo = list(self.groups[namespace, relation].computed)
        while todo:
            name = todo.pop()
            if name not in names:
                names.add(name)
                todo += self.groups[namespace, name].computed
        for name in names:
            kind = self._kind(namespace, name)
            if kind is None or held_by is None:
                self._unwritten.append((namespace, name, relation))
            else:
                self.computed.setdefault(kind, []).append(held_by)
