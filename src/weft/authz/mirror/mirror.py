"""A mirror: the live rows of one store in memory, kept up with its change log.

The first question has it loaded, in the background unless the store is small. Until then, and whenever it has
no view of the revision asked for, questions go to the store. See `views` for the rule for readers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, RLock, Thread
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

from weft.authz.mirror.live import Live
from weft.authz.mirror.load import Loader
from weft.authz.mirror.memory import Meter
from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.views import View
from weft.authz.serving.settings import Serving
from weft.authz.store import RevisionGone, TupleStore
from weft.core.telemetry import AUTHZ_MIRROR_BYTES, AUTHZ_MIRROR_EVENTS, SILENT, Recorder, logger

if TYPE_CHECKING:
    from weft.authz.stores.lmdb_numbered import NumberedCommit, NumberedStore

__all__ = ["Listener", "Mirror", "MirrorStats", "Mirrored", "RowChange", "View"]

T = TypeVar("T")
State = Literal["loading", "ready", "off"]
_SLICE_BYTES: Final = 40_000
"""Of the change log, applied at once: about a thousand rows, in some milliseconds."""
_SMALL_ROWS: Final = 2_000
"""A store that is loaded in milliseconds, by the first question itself."""
_FROZEN_ROWS: Final = 200_000
"""After each so many that are loaded, they are put out of the garbage collector's sight, with everything else
that lives by then (`gc.freeze`): it would go through millions of them, for a second, while all wait."""
_PAUSE_S: Final = 0.000_5
"""How long the background leaves the interpreter to questions, after a slice in which there were some."""


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


class MirrorStats(NamedTuple):
    """How a mirror stands."""

    state: State
    revision: int
    rows: int
    bytes_used: int
    budget_bytes: int


Listener = Callable[[int, Sequence[RowChange] | None], None]
"""Told of each revision that the mirror has applied, before any view shows it. None instead of changes: the
mirror was loaded anew, or is gone; begin again."""


class Mirror:
    """Methods may be called from any thread."""

    def __init__(
        self,
        store: NumberedStore,
        *,
        budget_bytes: int = Serving().mirror_bytes,
        telemetry: Recorder = SILENT,
    ) -> None:
        self.numbers = Numbers(store)
        self.state: State = "loading"
        self.head_revision = -1
        """The newest revision that there is a view of; -1 until the rows are loaded."""
        self.budget_bytes = budget_bytes
        self._store = store
        self._telemetry = telemetry
        self._lock = RLock()
        self._live: Live | None = None
        self._view: View | None = None
        self._meter = Meter()
        self._listeners: list[Listener] = []
        self._background: Thread | None = None
        self._asked = False
        self._stop = Event()

    @classmethod
    def of(cls, store: TupleStore, serving: Serving, telemetry: Recorder) -> Mirror | None:
        """The mirror of a store that can have one, unless it is switched off."""
        if not serving.mirror or not isinstance(store, Mirrored):
            return None
        return cls(store.numbered(), budget_bytes=serving.mirror_bytes, telemetry=telemetry)

    @property
    def folder(self) -> Path:
        """Where its store lies."""
        return self._store.folder

    @property
    def bytes_used(self) -> int:
        """About what the rows take; the texts of `numbers` and what leads back to the past come on top."""
        live = self._live
        return 0 if live is None else self._meter.bytes_of(list(live.tables.values()), live.count)

    def stats(self) -> MirrorStats:
        with self._lock:
            rows = self._live.count if self._live else 0
            return MirrorStats(self.state, self.head_revision, rows, self.bytes_used, self.budget_bytes)

    def view(self, revision: int) -> View | None:
        """The rows at a revision; None when the caller must ask the store: the rows are not loaded, not there
        yet, or the revision is older than what can be undone."""
        view = self._view
        if view is not None and view.revision == revision and view.intact:
            return view
        if self.state == "off":
            return None
        if self._live is None:
            self._begin()
        self._asked = busy = self._background is not None
        if self.state != "ready" or not self._lock.acquire(blocking=not busy):
            return None
        try:
            if self._live is not None and self._live.revision < revision:
                self._follow()
            live = self._live
            if live is None:
                return None
            return live.view if live.revision == revision else live.past(revision)
        finally:
            self._lock.release()

    def read(self, revision: int, evaluate: Callable[[View], T]) -> T | None:
        """What `evaluate` makes of the rows at a revision; None when there is no view of it."""
        while (view := self.view(revision)) is not None:
            try:
                result = evaluate(view)
            except Exception:
                if view.intact:
                    raise
            else:
                if view.intact:
                    return result
        return None

    def catch_up(self) -> None:
        """Apply everything that is committed, and load the rows first if need be, however long that takes."""
        background = self._background
        if background is not None:
            background.join()
        with self._lock:
            if self._live is None and self.state != "off":
                self._load()
            while self._live is not None and self._apply(self._live, large=True):
                pass

    def subscribe(self, listener: Listener) -> None:
        """Tell a listener of every revision applied from now on."""
        with self._lock:
            self._listeners.append(listener)

    def close(self) -> None:
        """Free the rows; there are no more views. What runs in the background has ended on return."""
        self._stop.set()
        background = self._background
        if background is not None:
            background.join()
        with self._lock:
            self._drop("off")

    # following

    def _follow(self) -> None:
        """Bring the live rows forward by what a question can wait for; the background does the rest."""
        if self._live is not None and self._apply(self._live, large=False):
            self._start()

    def _apply(self, live: Live, *, large: bool) -> bool:
        """Apply some of what is new; whether there is more. The lock is held."""
        try:
            news = self._store.news(live.revision, live.wall_us, most_bytes=_SLICE_BYTES, large=large)
        except RevisionGone:
            self._drop("loading", "lost")
            self.numbers.forget()
            self._begin()
            return False
        live.forget_expired(news.forgotten_us)
        try:
            for commit in news.commits:
                live.apply(commit)
                self._tell(commit)
        except BaseException:
            # Half a revision has no way back, and nobody knows who was told.
            self._drop("loading")
            raise
        live.stand()
        self._show(live)
        if news.commits:
            self._record()
            if self.bytes_used > self.budget_bytes:
                self._drop("off", "over_budget")
                return False
        return news.behind

    def _tell(self, commit: NumberedCommit) -> None:
        if self._listeners:
            changes = [
                RowChange(c.touched, c.namespace, c.relation, c.object, c.user, c.tail is not None)
                for c in commit.changes
            ]
            for listener in self._listeners:
                listener(commit.revision, changes)

    def _show(self, live: Live) -> None:
        self.head_revision = live.revision
        self._view = live.view

    def _drop(self, state: State, event: str | None = None) -> None:
        """Free the rows."""
        live, self._live, self._view = self._live, None, None
        self.state = state
        self.head_revision = -1
        if live is not None:
            live.clear()
        self._record(event)
        for listener in self._listeners:
            listener(-1, None)

    def _record(self, event: str | None = None) -> None:
        self._telemetry.observe(AUTHZ_MIRROR_BYTES, self.bytes_used)
        if event is not None:
            self._telemetry.count(AUTHZ_MIRROR_EVENTS, event=event)

    # loading

    def _begin(self) -> None:
        """Load a small store now, and a large one in the background."""
        if self._background is not None:
            return
        with self._lock:
            if self._live is not None or self.state == "off":
                return
            if self._store.count() > _SMALL_ROWS:
                self._start()
            else:
                self._load()

    def _start(self) -> None:
        with self._lock:
            if self._background is None and not self._stop.is_set():
                self._background = Thread(target=self._work, name="weft-mirror", daemon=True)
                self._background.start()

    def _work(self) -> None:
        """Load what is not loaded, and catch up."""
        try:
            if self._live is None:
                self._load()
            more = True
            while more and self._goes_on():
                with self._lock:
                    more = self._live is not None and self._apply(self._live, large=True)
        except Exception as error:
            if not self._stop.is_set():
                logger("weft.authz").warning("the mirror is off: questions go to the store", error=str(error))
                with self._lock:
                    self._drop("off", "failed")
        finally:
            self._background = None

    def _load(self) -> None:
        """Load all rows, and then what changed meanwhile; unless it is closed before that, or over budget."""
        while self._live is None and self.state != "off":
            try:
                live = self._loaded()
            except RevisionGone:
                continue
            if live is None:
                return
            live.begin()
            with self._lock:
                self._live, self._meter, self.state = live, Meter(), "ready"
                live.stand()
                self._show(live)
                self._record("loaded")
                for listener in self._listeners:
                    listener(live.revision, None)

    def _loaded(self) -> Live | None:
        head = self._store.head()
        live = Live(head.revision, head.wall_us, self.numbers, self._lock)
        meter, loader = Meter(), Loader(self._store, self.numbers, live.tables)
        frozen = 0
        for _ in loader.steps():
            if meter.bytes_of(list(live.tables.values()), loader.passed) > self.budget_bytes:
                with self._lock:
                    self._drop("off", "over_budget")
                return None
            if loader.passed >= frozen + _FROZEN_ROWS:
                gc.freeze()
                frozen = loader.passed
            if not self._goes_on():
                return None
        live.count = loader.count
        behind = True
        while behind and self._goes_on():
            news = self._store.news(live.revision, live.wall_us, most_bytes=_SLICE_BYTES, large=True)
            for commit in news.commits:
                live.apply(commit)
            behind = news.behind
        return None if behind else live

    def _goes_on(self) -> bool:
        """Whether the mirror is still wanted; after a moment for questions, if there were some."""
        if self._asked:
            self._asked = False
            self._stop.wait(_PAUSE_S)
        return not self._stop.is_set()
