"""The words of the two-level map: namespaces, tokens, items, mutations, selections and pages.

A namespace maps record ids to sorted items; an item is a key, a value, a version and perhaps an expiry.
Record ids and item keys are bytes and sort bytewise. After Netflix's Key-Value Data Abstraction Layer.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.randomness import system_random


class Token(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Names one write for ever: applying a mutation twice under the same token changes nothing."""

    instant_us: int
    nonce: bytes
    """16 bytes."""


class Version(NamedTuple):
    """Which of two writes to an item wins: the later event time, then the greater token, then tombstone over
    value, then the bytewise greater value, then the later expiry; never the order of arrival."""

    event_time_us: int
    token: Token


class TokenSource:
    """Makes one client's tokens: instants strictly increase, also when the clock steps back."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng or system_random()
        self._lock = threading.Lock()
        self._last_us = -1

    def new(self) -> Token:
        with self._lock:
            self._last_us = max(self._clock.now_us(), self._last_us + 1)
            return Token(self._last_us, self._rng.getrandbits(128).to_bytes(16, "big"))


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """Configuration of one namespace. Times are in seconds; None means without end."""

    name: str
    """Lower-case letters, digits, `_`, `-`, `.` and `/`; at most 64 bytes."""
    ttl_s: float | None = None
    """Items expire this long after their event time."""
    compression: Literal["zstd", "none"] = "zstd"
    cache_records: int = 0
    """How many records the `cached` wrapper keeps; 0 caches nothing."""
    max_value_bytes: int | None = None
    """A tighter limit than `limits.MAX_VALUE_BYTES`."""
    changes_bytes: int = 0
    """How large a log of its changes it keeps, for `KeyValueStore.changes`; 0 keeps none."""


class Item(msgspec.Struct, frozen=True, gc=False):
    """One stored item, as reads return it."""

    key: bytes
    value: bytes
    version: Version
    expires_at_us: int | None = None


class ItemWrite(msgspec.Struct, frozen=True, gc=False):
    """One item to store. `ttl_s` counts from the event time of the put."""

    key: bytes
    value: bytes
    ttl_s: float | None = None


class Keys(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Exactly these items."""

    keys: tuple[bytes, ...]


class Range(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Items with `start <= key < end`; `end=None` has no upper bound."""

    start: bytes = b""
    end: bytes | None = None


class Prefix(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Items whose key starts with `prefix`."""

    prefix: bytes


Selection = Keys | Range | Prefix
ALL: Final = Range()


class Put(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Store items in one record at one event time. `record_ttl_s` sets when all that was put before that
    instant expires; of the three expiries (namespace, record, item) the earliest counts."""

    namespace: str
    record: bytes
    items: Sequence[ItemWrite]
    event_time_us: int
    token: Token
    record_ttl_s: float | None = None


class Delete(msgspec.Struct, frozen=True, kw_only=True, gc=False, tag=True):
    """Delete the selected items of one record as of one event time: items with a greater version stay, and
    writes that arrive later with a lesser version stay deleted. `ALL` deletes the record."""

    namespace: str
    record: bytes
    selection: Selection = ALL
    event_time_us: int
    token: Token


Mutation = Put | Delete


class PageLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page ends. It ends at whichever comes first, and always makes progress of at least one item."""

    items: int = 10_000
    bytes: int = 8 << 20
    """Of keys and uncompressed values."""
    deadline_s: float | None = None
    """On the clock's monotonic time, counted from the call."""


class RecordItems(msgspec.Struct, frozen=True, gc=False):
    """The selected items of one record, in the order asked for."""

    record: bytes
    items: list[Item]


class Page(msgspec.Struct, frozen=True):
    """Part of an answer. `next` resumes right after it, and is None when the answer is complete."""

    records: list[RecordItems]
    next: bytes | None = None

    def items(self) -> list[Item]:
        """All items of the page; for questions about one record."""
        return [item for record in self.records for item in record.items]


class RecordPage(msgspec.Struct, frozen=True):
    """Record ids in the store's own stable order."""

    records: list[bytes]
    next: bytes | None = None


class Exported(msgspec.Struct, frozen=True):
    """Mutations that make the same items, tombstones and expiries elsewhere."""

    mutations: list[Mutation]
    next: bytes | None = None


class Change(NamedTuple):
    """What a write changed, not what to."""

    record: bytes
    key: bytes | None
    """None: anything of the record may have changed."""


class Changes(msgspec.Struct, frozen=True):
    """What changed, in the order of writing, up to and including a generation; ask again after it."""

    changed: list[Change]
    generation: int


class NamespaceStats(msgspec.Struct, frozen=True):
    """What a namespace holds. `live_items` leaves out expired items and tombstones."""

    records: int
    live_items: int
    stored_items: int
    stored_bytes: int
