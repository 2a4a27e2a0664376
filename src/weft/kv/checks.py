"""What a store refuses, before it touches anything."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from weft.core import limits
from weft.core.errors import Invalid, NotFound
from weft.kv.model import (
    ALL,
    Delete,
    Keys,
    Mutation,
    Namespace,
    PageLimits,
    Prefix,
    Put,
    Range,
    Selection,
)

_NAME: Final = re.compile(r"[a-z0-9_.\-/]+", re.ASCII)
T = TypeVar("T")
_MAX_TIME_US: Final = 1 << 61


def check_namespace(namespace: Namespace) -> None:
    """`Invalid` or `LimitExceeded` unless every field is usable."""
    if not _NAME.fullmatch(namespace.name):
        raise Invalid(
            f"`{namespace.name}` is not a namespace name", hint="use lower-case letters, digits, _ - . and /"
        )
    limits.within("a namespace name", len(namespace.name), limits.MAX_NAME_BYTES)
    _check_ttl(namespace.ttl_s)
    if namespace.compression not in ("zstd", "none"):
        raise Invalid(f"`{namespace.compression}` is not a compression", hint="use zstd or none")
    if namespace.cache_records < 0:
        raise Invalid(
            f"`{namespace.cache_records}` is not a number of records", hint="use 0 to cache nothing"
        )
    if namespace.changes_bytes < 0:
        raise Invalid(f"`{namespace.changes_bytes}` is not a size of a log", hint="use 0 to keep none")
    if namespace.max_value_bytes is not None:
        if namespace.max_value_bytes < 0:
            raise Invalid(f"`{namespace.max_value_bytes}` is not a size", hint="use a positive number")
        limits.within("max_value_bytes", namespace.max_value_bytes, limits.MAX_VALUE_BYTES)


def find_namespace(namespaces: Mapping[str, T], name: str) -> T:
    """The configured namespace of that name, or `NotFound`."""
    try:
        return namespaces[name]
    except KeyError:
        raise NotFound(
            f"namespace `{name}` is not configured",
            hint="configure it first; `weft kv namespaces` lists those that are",
        ) from None


def check_mutations(mutations: Sequence[Mutation], namespaces: Mapping[str, Namespace], now_us: int) -> None:
    """`Invalid`, `LimitExceeded` or `NotFound` unless every mutation can be applied."""
    limits.within("a batch", len(mutations), limits.MAX_MUTATIONS_PER_BATCH, "mutations")
    latest_us = now_us + limits.MAX_FUTURE_SKEW_US
    largest = {
        name: limits.MAX_VALUE_BYTES if one.max_value_bytes is None else one.max_value_bytes
        for name, one in namespaces.items()
    }
    token = None
    for mutation in mutations:
        kind = type(mutation)
        if kind is not Put and kind is not Delete:
            raise Invalid(f"`{mutation!r}` is not a mutation", hint="use Put or Delete")
        if mutation.namespace not in largest:
            find_namespace(namespaces, mutation.namespace)
        check_record(mutation.record)
        if not -_MAX_TIME_US < mutation.event_time_us <= latest_us:
            raise Invalid(
                f"event time {mutation.event_time_us} is out of range",
                hint=f"use microseconds since 1970, at most {limits.MAX_FUTURE_SKEW_US / 1e6:g} s from now",
            )
        if mutation.token is not token:
            token = mutation.token
            if len(token.nonce) != 16 or not 0 <= token.instant_us < _MAX_TIME_US:
                raise Invalid("a token is an instant and 16 bytes", hint="take tokens from a TokenSource")
        if kind is Put:
            _check_put(mutation, largest[mutation.namespace])  # type: ignore[arg-type]
        else:
            check_selection(mutation.selection)  # type: ignore[union-attr]


def _check_put(put: Put, largest: int) -> None:
    for item in put.items:
        key, value = item.key, item.value
        if type(key) is not bytes or type(value) is not bytes:
            raise Invalid("an item's key and value are bytes", hint="encode them first")
        if len(key) > limits.MAX_ITEM_KEY_BYTES:
            limits.within("an item key", len(key), limits.MAX_ITEM_KEY_BYTES)
        if len(value) > largest:
            limits.within("a value", len(value), largest)
        if item.ttl_s is not None:
            _check_ttl(item.ttl_s)
    if put.record_ttl_s is not None:
        _check_ttl(put.record_ttl_s)


def check_record(record: bytes) -> None:
    """Refuse what is not a record id."""
    if type(record) is not bytes or not record:
        raise Invalid("a record id has at least one byte", hint="name the record in bytes")
    if len(record) > limits.MAX_RECORD_ID_BYTES:
        limits.within("a record id", len(record), limits.MAX_RECORD_ID_BYTES)


def check_selection(selection: Selection) -> None:
    """Refuse what is not a selection of item keys."""
    if selection is ALL:
        return
    match selection:
        case Keys(keys):
            bounds = keys
        case Range(start, end):
            bounds = (start,) if end is None else (start, end)
        case Prefix(prefix):
            bounds = (prefix,)
        case _:
            raise Invalid(f"`{selection!r}` is not a selection", hint="use Keys, Range or Prefix")
    for bound in bounds:
        if type(bound) is not bytes:
            raise Invalid("item keys are bytes", hint="encode them first")
        limits.within("an item key", len(bound), limits.MAX_ITEM_KEY_BYTES)


def check_query(
    records: Sequence[bytes], selection: Selection, page: PageLimits | None, limit_per_record: int | None
) -> None:
    """Refuse a malformed question."""
    for record in records:
        check_record(record)
    check_selection(selection)
    check_page(page)
    _check_at_least_one("limit_per_record", limit_per_record)


def check_limit(limit: int) -> None:
    """Refuse to look for nothing."""
    _check_at_least_one("limit", limit)


def check_page(page: PageLimits | None) -> None:
    """Refuse a page that could not hold anything."""
    if page is not None:
        _check_at_least_one("items", page.items)
        _check_at_least_one("bytes", page.bytes)
        if page.deadline_s is not None and not page.deadline_s >= 0:
            raise Invalid(f"`deadline_s` is {page.deadline_s}", hint="give a number of seconds")


def _check_at_least_one(what: str, number: int | None) -> None:
    if number is not None and number < 1:
        raise Invalid(f"`{what}` is {number}", hint="ask for at least 1")


def _check_ttl(ttl_s: float | None) -> None:
    if ttl_s is not None and not (ttl_s > 0 and math.isfinite(ttl_s)):
        raise Invalid(f"a TTL of {ttl_s} s is not possible", hint="use a positive number of seconds, or None")
