"""Events from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from itertools import islice
from typing import Any

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.graph.ingest.model import Event, Offset


class IterSource:
    """Values from an iterable, each an event; its offset is its place, from 1.

    `time_us` gives a value's event time in microseconds; without it an event happens when it is read. To
    resume, the iterable must begin again with the same values.
    """

    def __init__(
        self,
        name: str,
        values: Iterable[Any],
        *,
        time_us: Callable[[Any], int] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.name = name
        self._values = values
        self._time_us = time_us
        self._clock = clock

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        done = after[0].position if 0 in after else 0
        for position, value in enumerate(islice(self._values, done, None), done + 1):
            yield self._event(Offset(position), value)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        done = after[0].position if 0 in after else 0
        return max(0, len(self._values) - done) if isinstance(self._values, Sized) else None

    def _event(self, offset: Offset, value: Any) -> Event:
        if self._time_us is None:
            return Event(offset, self._clock.now_us(), value)
        try:
            return Event(offset, self._time_us(value), value)
        except Exception as error:
            return Event(offset, 0, value, error=f"it has no event time: {type(error).__name__}: {error}")
