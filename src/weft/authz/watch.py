"""Watch: the change log as an endless stream that can be resumed at any event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from weft.authz.moments import Moments
from weft.authz.results import SchemaVersion, WatchEvent
from weft.authz.store import Commit, RevisionGone, TupleStore
from weft.authz.zookie import ExpiredZookie
from weft.core.clock import Clock

HEARTBEAT_S: Final = 5.0
_POLL_S: Final = 0.02
"""How soon a commit of another process is seen."""
_BATCH: Final = 100


def watch(
    store: TupleStore,
    moments: Moments,
    clock: Clock,
    after: int,
    namespaces: frozenset[str],
    heartbeat_s: float,
) -> Iterator[WatchEvent]:
    """Events for the commits after a revision; see `Authz.watch`."""
    last_event_s = clock.monotonic_s()
    while True:
        commits = _changes(store, after)
        for commit in commits:
            after = commit.revision
            event = _event(store, moments, commit, namespaces)
            if event is not None:
                yield event
                last_event_s = clock.monotonic_s()
        if clock.monotonic_s() - last_event_s >= heartbeat_s:
            yield WatchEvent(moments.zookie(store.head_at(after)))
            last_event_s = clock.monotonic_s()
        if not commits:
            clock.sleep(min(_POLL_S, heartbeat_s))


def _changes(store: TupleStore, after: int) -> list[Commit]:
    try:
        return store.changes(after, limit=_BATCH)
    except RevisionGone as error:
        raise ExpiredZookie(error.message, hint="read everything again, then watch from there") from error


def _event(
    store: TupleStore, moments: Moments, commit: Commit, namespaces: frozenset[str]
) -> WatchEvent | None:
    changes = tuple(
        change for change in commit.changes if not namespaces or change.item.object.namespace in namespaces
    )
    if not changes and commit.schema is None:
        return None
    zookie = moments.zookie(store.head_at(commit.revision))
    written = commit.schema
    schema = None if written is None else SchemaVersion(written.text, written.language, zookie)
    return WatchEvent(zookie, changes, schema)
