"""The two-level map: namespace, record, sorted items; with versions, tokens, expiry and pages."""

from __future__ import annotations

import os
from collections.abc import Iterable

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, Unavailable
from weft.kv.model import (
    ALL,
    Change,
    Changes,
    Delete,
    Item,
    ItemWrite,
    Keys,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    Prefix,
    Put,
    Range,
    RecordItems,
    RecordPage,
    Selection,
    Token,
    TokenSource,
    Version,
)
from weft.kv.store import Capability, ChangesForgotten, KeyValueStore

__all__ = [
    "ALL",
    "Capability",
    "Change",
    "Changes",
    "ChangesForgotten",
    "Delete",
    "Item",
    "ItemWrite",
    "KeyValueStore",
    "Keys",
    "Mutation",
    "Namespace",
    "NamespaceStats",
    "Page",
    "PageLimits",
    "Prefix",
    "Put",
    "Range",
    "RecordItems",
    "RecordPage",
    "Selection",
    "Token",
    "TokenSource",
    "Version",
    "open",
]


def open(  # noqa: A001
    location: str | os.PathLike[str],
    *,
    namespaces: Iterable[Namespace] = (),
    clock: Clock = SYSTEM_CLOCK,
    readonly: bool = False,
) -> KeyValueStore:
    """The store at `memory:` or in a directory, with `namespaces` configured where they are not yet so.

    A directory is created unless `readonly`; then nothing is configured either. Namespaces that have moved to
    another store (`weft.kv.move`) are followed there. `Invalid` for any other URL.
    """
    store: KeyValueStore
    if location == "memory:":
        from weft.kv.memory import MemoryStore

        store = MemoryStore(clock=clock)
    elif isinstance(location, str) and ("://" in location or location.startswith("memory:")):
        raise Invalid(f"`{location}` is no store that there is", hint="name a folder, or `memory:`")
    else:
        from weft.kv.lmdb import LmdbStore
        from weft.kv.wrappers.routed import RoutedStore

        store = RoutedStore(
            LmdbStore.open(location, clock=clock, readonly=readonly),
            lambda place: _open_place(place, clock, readonly),
            clock=clock,
        )
    try:
        configured = store.namespaces()
        missing = [namespace for namespace in namespaces if namespace not in configured]
        if missing and not readonly:
            store.configure(*missing)
    except BaseException:
        store.close()
        raise
    return store


def _open_place(place: str, clock: Clock, readonly: bool) -> KeyValueStore:
    """The store that namespaces have moved to; it is there, and an empty one in its place would be wrong."""
    from weft.core.lmdb_files import DATA_FILE

    if not os.path.isfile(os.path.join(place, DATA_FILE)):
        raise Unavailable(
            f"`{place}`, where namespaces have moved to, holds no store", hint="mount its disk, or restore it"
        )
    return open(place, clock=clock, readonly=readonly)
