"""Pages: where they end, and the tokens that resume them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import xxhash

from weft.core.clock import Clock
from weft.core.codec import encode, prefix_end
from weft.core.errors import Invalid
from weft.kv.model import Item, Page, PageLimits, Prefix, Range, RecordItems, RecordPage, Selection

DEFAULT_LIMITS: Final = PageLimits()

Scan = Callable[[bytes, bytes | None], Iterable[Item]]
"""The selected live items of a record in order, after a key or from the start."""


class Place(NamedTuple):
    """Where a page ended: at which record, after which key, with how many items of it."""

    record: int
    key: bytes
    taken: int


class _Position(msgspec.Struct, frozen=True, array_like=True):
    """A place in the answer to one question."""

    query: bytes
    place: Place


_START: Final = Place(0, b"", 0)
_positions: Final = msgspec.msgpack.Decoder(_Position)
_places: Final = msgspec.msgpack.Decoder(tuple[bytes, tuple[bytes, bytes | None]])
_FOREIGN: Final = "`after` belongs to another question"
_REPEAT: Final = "repeat the call with the same arguments"


def bounds(selection: Range | Prefix) -> tuple[bytes, bytes | None]:
    """The range of keys that a range or a prefix selects."""
    if isinstance(selection, Prefix):
        return selection.prefix, prefix_end(selection.prefix)
    return selection.start, selection.end


def fill_page(
    scan: Scan,
    namespace: str,
    records: Sequence[bytes],
    selection: Selection,
    *,
    reverse: bool,
    limit_per_record: int | None,
    limits: PageLimits,
    after: bytes | None,
    clock: Clock,
) -> Page:
    """One page of the items that `scan` yields for each record."""

    def query() -> bytes:
        return query_digest(namespace, records, selection, reverse, limit_per_record)

    start = _START if after is None else _resume(after, query())
    resume_key = None if after is None else start.key
    taken = start.taken
    room = Room(limits, clock)
    found: list[RecordItems] = []
    last = _START
    for at in range(start.record, len(records)):
        items: list[Item] = []
        wanted = math.inf if limit_per_record is None else limit_per_record - taken
        if wanted > 0:
            for item in scan(records[at], resume_key):
                if not room.take(len(item.key) + len(item.value)):
                    if items:
                        found.append(RecordItems(records[at], items))
                        last = Place(at, items[-1].key, taken + len(items))
                    return Page(found, page_token(query(), last))
                items.append(item)
                if len(items) >= wanted:
                    break
        if items:
            found.append(RecordItems(records[at], items))
            last = Place(at, items[-1].key, taken + len(items))
        resume_key, taken = None, 0
    return Page(found)


def fill_record_page(
    scan: Callable[[bytes | None], Iterable[tuple[bytes, bytes]]],
    namespace: str,
    limits: PageLimits,
    after: bytes | None,
    clock: Clock,
) -> RecordPage:
    """One page of the records that `scan` yields after a position, as pairs of position and record id."""
    query = _digest([namespace])
    room = Room(limits, clock)
    found: list[bytes] = []
    last = b""
    for position, record in scan(None if after is None else _resume(after, query).key):
        if not room.take(len(record)):
            return RecordPage(found, page_token(query, Place(0, last, 0)))
        found.append(record)
        last = position
    return RecordPage(found)


class Room:
    """What is left of a page."""

    def __init__(self, limits: PageLimits, clock: Clock) -> None:
        self._items = limits.items
        self._bytes = limits.bytes
        self._clock = clock
        self._deadline_s = None if limits.deadline_s is None else clock.monotonic_s() + limits.deadline_s
        self._empty = True

    def take(self, size: int) -> bool:
        """Whether one more of this many bytes fits; the first always does."""
        self._items -= 1
        self._bytes -= size
        if self._empty:
            self._empty = False
            return True
        if self._items < 0 or self._bytes < 0:
            return False
        return self._deadline_s is None or self._clock.monotonic_s() < self._deadline_s


def _digest(query: list[Any]) -> bytes:
    return xxhash.xxh3_128_digest(encode(query))


def query_digest(
    namespace: str,
    records: Sequence[bytes],
    selection: Selection,
    reverse: bool,
    limit_per_record: int | None,
) -> bytes:
    """What tells one question of `get_items` from another."""
    return _digest(
        [namespace, records, type(selection).__name__, encode(selection), reverse, limit_per_record]
    )


def page_token(query: bytes, place: Place) -> bytes:
    """What resumes the answer to a question after a place."""
    return encode(_Position(query, place))


def _resume(after: bytes, query: bytes) -> Place:
    try:
        position = _positions.decode(after)
    except msgspec.MsgspecError:
        position = None
    if position is None or position.query != query:
        raise Invalid(_FOREIGN, hint=_REPEAT)
    return position.place


def export_query(namespace: str, records: Sequence[bytes] | None) -> bytes:
    """What names one export in its page tokens."""
    return _digest([namespace, records])


def resume_export(after: bytes, query: bytes) -> tuple[bytes, bytes | None]:
    """Record and key of the place where a page of an export ended."""
    try:
        found, place = _places.decode(after)
    except msgspec.MsgspecError:
        found, place = b"", (b"", None)
    if found != query:
        raise Invalid(_FOREIGN, hint=_REPEAT)
    return place
