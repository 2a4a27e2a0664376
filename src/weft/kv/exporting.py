"""Stored state told as mutations: the winning writes, the tombstones, the expiries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from weft.core.clock import Clock
from weft.core.codec import encode
from weft.kv.expiry import NEVER_US, ttl_end_us
from weft.kv.model import (
    Delete,
    Exported,
    ItemWrite,
    Keys,
    Mutation,
    PageLimits,
    Put,
    Range,
    Selection,
    Version,
)
from weft.kv.paging import DEFAULT_LIMITS, Room, resume_export


class Place(NamedTuple):
    """Where an export is: in which record, and after which of its items; None before the first."""

    record: bytes
    key: bytes | None


class Entry(NamedTuple):
    """What an export tells at one place."""

    place: Place
    mutations: list[Mutation]
    bytes: int


class RecordExport:
    """Makes the mutations of one record."""

    def __init__(self, namespace: str, record: bytes) -> None:
        self._namespace = namespace
        self._record = record

    def put(self, version: Version, key: bytes, value: bytes, expires_us: int) -> Mutation:
        item = ItemWrite(key, value, ttl_between_s(version.event_time_us, expires_us))
        return self._put((item,), version, None)

    def expire(self, version: Version, expires_us: int) -> Mutation:
        return self._put((), version, ttl_between_s(version.event_time_us, expires_us))

    def delete(self, version: Version, start: bytes, end: bytes | None) -> Mutation:
        selection: Selection = Keys((start,)) if end == start + b"\x00" else Range(start, end)
        return Delete(
            namespace=self._namespace,
            record=self._record,
            selection=selection,
            event_time_us=version.event_time_us,
            token=version.token,
        )

    def _put(self, items: tuple[ItemWrite, ...], version: Version, record_ttl_s: float | None) -> Mutation:
        return Put(
            namespace=self._namespace,
            record=self._record,
            items=items,
            event_time_us=version.event_time_us,
            token=version.token,
            record_ttl_s=record_ttl_s,
        )


def ttl_between_s(event_time_us: int, expires_us: int) -> float | None:
    """The TTL that makes an event expire at exactly that instant: the inverse of `expiry.ttl_end_us`."""
    if expires_us == NEVER_US:
        return None
    near_s = (expires_us - event_time_us) / 1e6
    for ttl_s in (near_s, math.nextafter(near_s, math.inf), math.nextafter(near_s, 0)):
        if ttl_s > 0 and ttl_end_us(event_time_us, ttl_s) == expires_us:
            return ttl_s
    return near_s


def fill_export(entries: Iterable[Entry], query: bytes, page: PageLimits | None, clock: Clock) -> Exported:
    """A page of entries."""
    room = Room(page or DEFAULT_LIMITS, clock)
    mutations: list[Mutation] = []
    last = Place(b"", None)
    for entry in entries:
        if not room.take(entry.bytes):
            return Exported(mutations, encode((query, last)))
        mutations += entry.mutations
        last = entry.place
    return Exported(mutations)


def place_after(after: bytes | None, query: bytes) -> Place | None:
    """The place that a page token names."""
    return None if after is None else Place(*resume_export(after, query))
