"""The rows of a mirror as they were at an older revision: its live rows, and what has changed since."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from threading import RLock
from typing import Generic, TypeVar

import msgspec

from weft.authz.mirror.rows import USERSET_SHIFT, Kind, Maybe, Members, RelationRows, Row

T = TypeVar("T", bound=Members | tuple[Maybe, ...])


class Undo(msgspec.Struct, frozen=True, gc=False):
    """One row that a commit changed, as it was before."""

    rows: RelationRows
    object: int
    user: int
    before: Row


class PastTable(Mapping[int, T], Generic[T]):
    """One dict of `RelationRows` at an older revision. What it gives is never changed afterwards."""

    def __init__(
        self,
        lock: RLock,
        live: Callable[[int], T | None],
        keys: Callable[[], Iterable[int]],
        before: Mapping[int, dict[int, Row]],
        restore: Callable[[T | None, dict[int, Row]], T | None],
    ) -> None:
        self._lock = lock
        self._live = live
        self._keys = keys
        self._before = before
        self._restore = restore
        self._restored: dict[int, T | None] = {}

    def get(self, key: int, default: T | None = None) -> T | None:  # type: ignore[override]
        if key in self._restored:
            found = self._restored[key]
            return default if found is None else found
        with self._lock:
            found = self._live(key)
            before = self._before.get(key)
            if before:
                found = self._restored[key] = self._restore(found, before)
        return default if found is None else found

    def __getitem__(self, key: int) -> T:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return isinstance(key, int) and self.get(key) is not None

    def __iter__(self) -> Iterator[int]:
        with self._lock:
            keys = {*self._keys(), *self._before}
        return (key for key in keys if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class PastRows:
    """`RelationRows` at an older revision."""

    def __init__(self, lock: RLock, live: RelationRows) -> None:
        self._live = live
        self._by_object: dict[int, dict[int, Row]] = {}
        self._by_user: dict[int, dict[int, Row]] = {}

        def members(table: dict[int, Members]) -> Callable[[int], Members | None]:
            return lambda key: live.lend(table[key]) if key in table else None

        by_object, by_user = self._by_object, self._by_user
        self.users: Mapping[int, Members] = PastTable(
            lock, members(live.users), lambda: live.users, by_object, _plain_users
        )
        self.usersets: Mapping[int, Members] = PastTable(
            lock, members(live.usersets), lambda: live.usersets, by_object, _usersets
        )
        self.objects: Mapping[int, Members] = PastTable(
            lock, members(live.objects), lambda: live.objects, by_user, _members
        )
        self.maybe: Mapping[int, tuple[Maybe, ...]] = PastTable(
            lock, live.maybe.get, lambda: live.maybe, by_object, _maybe_users
        )
        self.maybe_objects: Mapping[int, tuple[Maybe, ...]] = PastTable(
            lock,
            live.maybe_objects.get,
            lambda: live.maybe_objects,
            by_user,
            _maybe_objects,
        )

    @property
    def kinds(self) -> set[Kind]:
        return self._live.kinds

    def note(self, undo: Undo) -> None:
        """A row changed after this revision; where it did before, too, that is what counts."""
        self._by_object.setdefault(undo.object, {}).setdefault(undo.user, undo.before)
        self._by_user.setdefault(undo.user, {}).setdefault(undo.object, undo.before)


def _members(now: Members | None, before: dict[int, Row]) -> Members | None:
    found = set(now or ()).difference(before)
    found.update(other for other, row in before.items() if row is True)
    return found or None


def _plain_users(now: Members | None, before: dict[int, Row]) -> Members | None:
    return _members(now, {user: row for user, row in before.items() if not user >> USERSET_SHIFT})


def _usersets(now: Members | None, before: dict[int, Row]) -> Members | None:
    return _members(now, {user: row for user, row in before.items() if user >> USERSET_SHIFT})


def _maybe_users(now: tuple[Maybe, ...] | None, before: dict[int, Row]) -> tuple[Maybe, ...] | None:
    return _maybe([row for row in now or () if row.user not in before], before)


def _maybe_objects(now: tuple[Maybe, ...] | None, before: dict[int, Row]) -> tuple[Maybe, ...] | None:
    return _maybe([row for row in now or () if row.object not in before], before)


def _maybe(kept: list[Maybe], before: dict[int, Row]) -> tuple[Maybe, ...] | None:
    return (*kept, *(row for row in before.values() if isinstance(row, Maybe))) or None
