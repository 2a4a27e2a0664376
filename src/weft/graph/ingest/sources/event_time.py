"""When an event happened, by a field of its value."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from weft.core.errors import Invalid
from weft.graph.ingest.model import Event, Offset

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def event_at(offset: Offset, value: Any, time_field: str) -> Event:
    """The event with the time in its field; with an error when there is none."""
    if type(value) is dict and type(at_us := value.get(time_field)) is int:
        return Event(offset, at_us, value)
    try:
        return Event(offset, time_us(value, time_field), value)
    except Invalid as error:
        return Event(offset, 0, value, error=str(error))


def time_us(value: Any, field: str) -> int:
    """Whole microseconds since 1970, text in RFC 3339, or a datetime (UTC where it names no zone)."""
    time = value.get(field) if isinstance(value, dict) else None
    if type(time) is int:
        return time
    if isinstance(time, str):
        try:
            time = msgspec.convert(time, datetime)
        except msgspec.ValidationError as error:
            raise Invalid(f"`{field}` is not a time: `{time:.80}`") from error
    if isinstance(time, datetime):
        since = (time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH
        return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    raise Invalid(f"it has no event time in `{field}`", hint="use microseconds since 1970, or RFC 3339 text")
