"""Hot spots: the tuples of an object's relation that is read again and again at one revision are fetched
once, all of them, and serve the reads that follow, whoever they are about (Zanzibar, section 3.2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from weft.authz.serving.flights import Flights
from weft.authz.store import Lookup, Objects, Read, Rows, TupleStore, Users
from weft.authz.tuples import ObjectRef, RelationTuple, TupleFilter, User
from weft.core.telemetry import AUTHZ_HOT, Recorder

_HOT_FROM: Final = 8
"""Reads at one revision, after which the next ones are expected too."""
_MAX_ROWS: Final = 5_000
"""A larger set takes longer to fetch than it saves: some 5 ms from LMDB."""
_MAX_SETS: Final = 1_000
_MAX_COUNTED: Final = 20_000

Spot = tuple[ObjectRef, str, int]
"""Object, relation, revision."""


class _Whole(NamedTuple):
    """All tuples of one relation of one object; `rows` is None where they are too many."""

    rows: Rows | None
    usersets: Rows
    by_user: dict[User, RelationTuple]


class HotSets:
    """Answers reads of a store, as `TupleStore.answer` does. Rows at a revision never change, so what was
    fetched is right for as long as it is kept. Threads may share it."""

    def __init__(self, store: TupleStore, telemetry: Recorder) -> None:
        self._store = store
        self._telemetry = telemetry
        self._counts: dict[Spot, int] = {}
        self._sets: dict[Spot, _Whole] = {}
        self._flights: Flights[_Whole] = Flights(telemetry)

    def answer(self, reads: Sequence[Read], revision: int) -> list[Rows]:
        """The rows live at a revision that each read asks for."""
        answers = [self._known(read, revision) for read in reads]
        left = [read for read, rows in zip(reads, answers, strict=True) if rows is None]
        if not left:
            return answers  # type: ignore[return-value]
        found = iter(self._store.answer(left, revision))
        return [next(found) if rows is None else rows for rows in answers]

    def _known(self, read: Read, revision: int) -> Rows | None:
        if isinstance(read, Objects):
            return None
        spot = read.object, read.relation, revision
        whole = self._sets.get(spot)
        if whole is None:
            if not self._turns_hot(spot):
                return None
            whole = self._flights.run(spot, lambda: self._fetch(spot), lambda _: True)
        if whole.rows is None:
            return None
        self._telemetry.count(AUTHZ_HOT, outcome="served")
        match read:
            case Lookup(users=users):
                return [row for user in users if (row := whole.by_user.get(user)) is not None]
            case Users(usersets=True):
                return list(whole.usersets)
        return list(whole.rows)

    def _turns_hot(self, spot: Spot) -> bool:
        """Count a read; whether there have been as many as it takes."""
        count = self._counts.get(spot, 0) + 1
        if count < _HOT_FROM:
            if len(self._counts) >= _MAX_COUNTED:
                self._counts = {}
            self._counts[spot] = count
            return False
        self._counts.pop(spot, None)
        return True

    def _fetch(self, spot: Spot) -> _Whole:
        object_, relation, revision = spot
        where = TupleFilter(namespace=object_.namespace, object_id=object_.id, relation=relation)
        page = self._store.scan(where, revision, limit=_MAX_ROWS)
        if page.next is None:
            usersets = [row for row in page.items if row.user.is_userset]
            whole = _Whole(page.items, usersets, {row.user: row for row in page.items})
        else:
            whole = _Whole(None, [], {})
        if len(self._sets) >= _MAX_SETS:
            self._sets = {}
        self._sets[spot] = whole
        self._telemetry.count(AUTHZ_HOT, outcome="fetched" if whole.rows is not None else "too large")
        return whole
