"""Context values: from what JSON or Python gives to what a condition's parameter takes."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any, Final

from weft.authz.schema.model import ValueType
from weft.core.errors import Invalid, LimitExceeded
from weft.core.limits import MAX_CONDITION_ITEMS, MAX_EXPRESSION_DEPTH

_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
_DURATION: Final = re.compile(r"([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:h|ms|us|µs|ns|m|s))+|0)")
_DURATION_PART: Final = re.compile(r"(\d+\.?\d*|\.\d+)(h|ms|us|µs|ns|m|s)")
_UNIT_US: Final = {
    "h": Fraction(3_600_000_000),
    "m": Fraction(60_000_000),
    "s": Fraction(1_000_000),
    "ms": Fraction(1_000),
    "us": Fraction(1),
    "µs": Fraction(1),
    "ns": Fraction(1, 1_000),
}
# Longer than any time between two timestamps; bounds the arithmetic on what a request sends.
_MAX_DURATION_CHARACTERS: Final = 64


class _Wrong(Exception):
    """A value is not of the type; the text says what would be."""


def check_size(values: Iterable[Any], condition: str) -> None:
    """`LimitExceeded` when a context holds too many values or nests too deep for a check."""
    level, count = list(values), 0
    for _ in range(MAX_EXPRESSION_DEPTH):
        count += len(level)
        if count > MAX_CONDITION_ITEMS:
            message = f"the context of condition `{condition}` holds more than {MAX_CONDITION_ITEMS:,} values"
            raise LimitExceeded(message, hint="send shorter lists and maps")
        level = [
            inner
            for value in level
            if isinstance(value, dict | list | tuple)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    message = f"the context of condition `{condition}` nests more than {MAX_EXPRESSION_DEPTH} levels deep"
    raise LimitExceeded(message, hint="send flatter values")


def coerce(type_: ValueType, value: Any, parameter: str, condition: str) -> Any:
    """The value as the CEL library takes it; `Invalid` that names parameter, expected type and what came."""
    try:
        return _convert(type_, value)
    except _Wrong as wrong:
        raise Invalid(
            f"parameter `{parameter}` of condition `{condition}` takes {type_}, got {_describe(value)}",
            hint=str(wrong),
            parameter=parameter,
            condition=condition,
        ) from None


def _convert(type_: ValueType, value: Any) -> Any:
    if type_.name == "list" and isinstance(value, list | tuple) and type_.of:
        return [_convert(type_.of, item) for item in value]
    if type_.name == "map" and isinstance(value, dict) and type_.of:
        return {_string(key): _convert(type_.of, item) for key, item in value.items()}
    if type_.name in _CONVERTERS:
        return _CONVERTERS[type_.name](value)
    raise _Wrong(f"send {'a JSON array' if type_.name == 'list' else 'a JSON object'}")


def _any(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_any(item) for item in value]
    if isinstance(value, dict):
        return {_string(key): _any(item) for key, item in value.items()}
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _integer(value, -(2**63), 2**63)
    if value is None or isinstance(value, bool | float | bytes | timedelta):
        return value
    if isinstance(value, datetime):
        return _timestamp(value)
    raise _Wrong("send a JSON value")


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise _Wrong("send `true` or `false`")


def _integer(value: Any, low: int, high: int) -> int:
    """An int; also a whole float, since protobuf's Struct has no integers."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and low <= value < high:
        return value
    raise _Wrong(f"send a whole number from {low} to {high - 1}")


def _double(value: Any) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and -(2**63) <= value <= 2**64:
        return float(value)
    if isinstance(value, float):
        return value
    raise _Wrong("send a number")


def _string(value: Any) -> str:
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise _Wrong("send whole Unicode characters, no halves of surrogate pairs") from None
        return value
    raise _Wrong("send a string")


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise _Wrong("send bytes as base64 text") from None


def _timestamp(value: Any) -> datetime:
    try:
        if isinstance(value, str) and _TIMESTAMP.fullmatch(value):
            value = datetime.fromisoformat(value.upper())
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise _Wrong("write it like `2030-01-01T00:00:00Z`")


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        if isinstance(value, str) and len(value) <= _MAX_DURATION_CHARACTERS:
            match = _DURATION.fullmatch(value)
            if match is not None:
                parts = _DURATION_PART.findall(match[2])
                total_us = sum((Fraction(number) * _UNIT_US[unit] for number, unit in parts), Fraction(0))
                return timedelta(microseconds=int(-total_us if match[1] == "-" else total_us))
    except (ValueError, OverflowError):
        pass
    raise _Wrong("write it like `1h30m` or `2.5s`")


def ip_address(value: Any) -> str:
    """Canonical text; an IPv4 address mapped into IPv6 is the IPv4 address."""
    try:
        if not isinstance(value, str):
            raise ValueError
        address = ipaddress.ip_address(value)
    except ValueError:
        raise _Wrong("write it like `192.0.2.1` or `2001:db8::1`") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise _Wrong("leave out the zone after `%`")
        return str(address.ipv4_mapped or address)
    return str(address)


_CONVERTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "any": _any,
    "bool": _bool,
    "bytes": _bytes,
    "double": _double,
    "duration": _duration,
    "int": lambda value: _integer(value, -(2**63), 2**63),
    "ipaddress": ip_address,
    "string": _string,
    "timestamp": _timestamp,
    "uint": lambda value: _integer(value, 0, 2**64),
}


def _describe(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)[:40]
    return f"`{text[:40]}`"
