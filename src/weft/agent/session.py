"""The session store: an append-only log of events, and the files that a session changed.

Events are redacted before they are stored: whoever shows, exports or sends them shows no secret that weft
recognises. Files are stored exactly, since an undo that gave back other bytes would damage them; they leave
the store only into a sandbox or the workspace, and whatever shows a piece of one redacts it first.

An event counts at once and is durable a few milliseconds later, so that no model waits for a disk; before
anything leaves the sandbox for good, the store is flushed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar, cast

import msgspec

from weft.agent.claims import Claims
from weft.agent.events import AnyEvent, Event
from weft.agent.secrets import redact_struct
from weft.agent.writing import Writer
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.codec import decode, encode, pack_u64
from weft.core.errors import Corrupt, Invalid, NotFound
from weft.core.ids import IdSource
from weft.kv.model import ItemWrite, Keys, Namespace, Put, TokenSource
from weft.kv.store import KeyValueStore

E = TypeVar("E", bound=Event)

EVENTS: Final = "agent.events"
FILES: Final = "agent.files"
_ANY_EVENT = cast(type[AnyEvent], AnyEvent)


class SessionStore:
    """Events and files of many sessions, in a key-value store, or in this process when there is none."""

    def __init__(
        self, store: KeyValueStore | None = None, *, clock: Clock = SYSTEM_CLOCK, ids: IdSource | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids or IdSource(clock)
        self._tokens = TokenSource(clock)
        self._events: dict[str, list[AnyEvent]] = {}
        self._files: dict[tuple[str, str], bytes] = {}
        self._writer = Writer(store) if store else None
        self.claims = Claims(store, clock, self._ids)
        if store:
            for namespace in (EVENTS, FILES):
                store.configure(Namespace(name=namespace))

    @contextmanager
    def hold(self, session: str) -> Iterator[None]:
        """Drive a session alone; `Conflict` where somebody else does. Everything is durable at the end."""
        with self.claims.hold(session):
            try:
                yield
            finally:
                self.flush()

    def flush(self) -> None:
        """Return once everything that was recorded is durable."""
        if self._writer:
            self._writer.flush()

    def new(
        self, on_event: Callable[[AnyEvent], None] | None = None, *, session: str | None = None
    ) -> Session:
        """A session without events, under a new id unless one is given."""
        return Session(self, session or self._ids.new(), [], on_event)

    def open(self, session: str, on_event: Callable[[AnyEvent], None] | None = None) -> Session:
        """A recorded session; `NotFound` if there is none."""
        events = self.events(session)
        if not events:
            raise NotFound(f"there is no session `{session}`", hint="list the sessions to see their ids")
        return Session(self, session, events, on_event)

    def sessions(self) -> list[str]:
        """The ids of all sessions, oldest first."""
        self.flush()
        found = list(self._events)
        after = None
        while self._store:
            page = self._store.scan_records(EVENTS, after=after)
            found += [record.decode() for record in page.records]
            if (after := page.next) is None:
                break
        return sorted(found)

    def events(self, session: str) -> list[AnyEvent]:
        """Every event of a session, in order."""
        if not self._store:
            return list(self._events.get(session, ()))
        self.flush()
        events: list[AnyEvent] = []
        after = None
        while True:
            page = self._store.get_items(EVENTS, [session.encode()], after=after)
            events += [decode(item.value, _ANY_EVENT, "an event") for item in page.items()]
            if (after := page.next) is None:
                return events

    def append(self, session: str, number: int, event: E) -> E:
        """The event as it was recorded: redacted, with its ids and time."""
        self.claims.renew(session)
        stamp = {"id": self._ids.new(), "session": session, "number": number, "at_us": self._clock.now_us()}
        return self._record(session, number, msgspec.structs.replace(redact_struct(event), **stamp))

    def fork(self, session: str, at: int | None = None) -> str:
        """The id of a new session with the events of another up to and with number `at`, all by default.

        The two share nothing from there on. What a person had approved for the one is not approved for the
        other.
        """
        events = self.events(session)
        if not events:
            raise NotFound(f"there is no session `{session}`", hint="list the sessions to see their ids")
        end = len(events) - 1 if at is None else at
        if not 0 <= end < len(events):
            raise Invalid(
                f"the session `{session}` has no event {at}", hint=f"its events are 0 to {len(events) - 1}"
            )
        forked = self._ids.new()
        for data in self._all_files(session):
            self.save_file(forked, data)
        for number, event in enumerate(events[: end + 1]):
            changed: dict[str, object] = {"id": self._ids.new(), "session": forked}
            if number == 0:
                changed |= {"parent": session, "because": "fork"}
            self._record(forked, number, msgspec.structs.replace(event, **changed))
        return forked

    def _record(self, session: str, number: int, recorded: E) -> E:
        if self._store:
            self._put(EVENTS, session, pack_u64(number), encode(recorded))
        else:
            self._events.setdefault(session, []).append(cast(AnyEvent, recorded))
        return recorded

    def save_file(self, session: str, data: bytes) -> str:
        """The digest under which `file` gives the bytes back."""
        digest = hashlib.sha256(data).hexdigest()
        if self._store:
            self._put(FILES, session, digest.encode(), data)
        else:
            self._files[session, digest] = data
        return digest

    def file(self, session: str, digest: str) -> bytes:
        """The bytes that `save_file` kept."""
        self.flush()
        if self._store:
            items = self._store.get_items(FILES, [session.encode()], Keys((digest.encode(),))).items()
            data = items[0].value if items else None
        else:
            data = self._files.get((session, digest))
        if data is None:
            raise Corrupt(
                f"the session `{session}` has lost a file", hint="start the task anew", digest=digest
            )
        return data

    def _all_files(self, session: str) -> Iterator[bytes]:
        self.flush()
        yield from [data for (owner, _), data in self._files.items() if owner == session]
        after = None
        while self._store:
            page = self._store.get_items(FILES, [session.encode()], after=after)
            yield from (item.value for item in page.items())
            if (after := page.next) is None:
                return

    def _put(self, namespace: str, session: str, key: bytes, value: bytes) -> None:
        put = Put(
            namespace=namespace,
            record=session.encode(),
            items=[ItemWrite(key, value)],
            event_time_us=self._clock.now_us(),
            token=self._tokens.new(),
        )
        if self._writer:
            self._writer.put(put)


class Session:
    """One session's log, open for appending."""

    def __init__(
        self,
        store: SessionStore,
        session: str,
        events: Sequence[AnyEvent],
        on_event: Callable[[AnyEvent], None] | None,
    ) -> None:
        self.store = store
        self.id = session
        self.events = list(events)
        self._on_event = on_event

    def append(self, event: E) -> E:
        """Record the event, then show it; the event as it was recorded."""
        recorded = self.store.append(self.id, len(self.events), event)
        self.events.append(cast(AnyEvent, recorded))
        if self._on_event:
            self._on_event(cast(AnyEvent, recorded))
        return recorded
