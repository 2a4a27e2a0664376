"""From what a caller asks for (`at`) to the head that its request is evaluated at, and back to a zookie."""

from __future__ import annotations

from typing import Final

from weft.authz.store import Head, RevisionGone, TupleStore
from weft.authz.zookie import (
    EXACT,
    Consistency,
    ExpiredZookie,
    ForeignZookie,
    FutureZookie,
    Latest,
    Moment,
    Zookie,
    ZookieMint,
)
from weft.core.clock import Clock

_MAX_READ: Final = 10_000


class Moments:
    """The moments of one store. Without a wish, a request takes the newest revision that was committed before
    the last multiple of `window_s`, so that requests of one window share their answers."""

    def __init__(self, store: TupleStore, clock: Clock, window_s: float = 0.0) -> None:
        self._store = store
        self._clock = clock
        self._window_us = int(window_s * 1e6)
        self._mint = ZookieMint(store.store_id, store.secret)
        self._made: tuple[Head, Zookie] | None = None
        """The last zookie: most answers are about the same head."""
        self._rounded = (-1, Head(0, 0, 0))
        """The beginning of a window, and the head that all its requests take."""
        self._read: dict[str, int] = {}
        """The revisions of zookies that this store has been found to have made."""

    def zookie(self, head: Head) -> Zookie:
        """The zookie that names a head."""
        made = self._made
        if made is None or made[0] != head:
            made = self._made = head, self._mint.make(Moment(*head))
        return made[1]

    def head(self, at: Consistency) -> Head:
        """The head that a request is evaluated at."""
        newest = self._store.head()
        if at is None:
            return self._quantized(newest) if self._window_us else newest
        if isinstance(at, Latest):
            return newest
        if isinstance(at, EXACT):
            return self.exact(self.revision(at.zookie, newest))
        revision = self.revision(at, newest)
        if self._window_us:
            quantized = self._quantized(newest)
            return quantized if revision <= quantized.revision else newest
        return newest

    def exact(self, revision: int) -> Head:
        """The head as it was at a revision; `ExpiredZookie` when that is forgotten."""
        try:
            return self._store.head_at(revision)
        except RevisionGone as error:
            raise expired(error) from error

    def revision(self, zookie: Zookie | str, newest: Head) -> int:
        """The revision that a zookie names; `FutureZookie` when the store is not there yet, `ForeignZookie`
        when it went another way: a restored copy counts on from where it was made."""
        known = self._read.get(zookie) if isinstance(zookie, str) else None
        if known is not None and known <= newest.revision:
            return known
        moment = self._mint.read(zookie)
        if moment.revision > newest.revision:
            raise FutureZookie(
                f"zookie names revision {moment.revision}, the store is at {newest.revision}",
                hint="retry once the store has caught up; after restoring an old copy, drop old zookies",
            )
        if self._wall_us(moment.revision, newest) not in (None, moment.wall_us):
            raise ForeignZookie(
                f"zookie names a revision {moment.revision} that this store never had",
                hint="it was restored from an older copy; drop zookies from after that copy",
            )
        if len(self._read) >= _MAX_READ:
            self._read = {}
        self._read[zookie] = moment.revision
        return moment.revision

    def _wall_us(self, revision: int, newest: Head) -> int | None:
        """When a revision was written; None when that is forgotten."""
        if revision == newest.revision:
            return newest.wall_us
        try:
            return self._store.head_at(revision).wall_us
        except RevisionGone:
            return None

    def _quantized(self, newest: Head) -> Head:
        now_us = self._clock.now_us()
        begin_us = now_us - now_us % self._window_us
        at_us, rounded = self._rounded
        if at_us != begin_us:
            rounded = self.exact(self._store.revision_at(begin_us))
            if not rounded.schema_revision:
                return newest
            self._rounded = begin_us, rounded
        return rounded


def expired(error: RevisionGone) -> ExpiredZookie:
    """What a caller is told whose moment is forgotten."""
    return ExpiredZookie(error.message, hint="ask at a newer zookie, or without one")
