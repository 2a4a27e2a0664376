"""Another source's events with their values decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from weft.core.errors import WeftError
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.protocols import Source
from weft.graph.ingest.sources.event_time import event_at


class Decoded:
    """The events of `source`, each value passed through `decode`, such as the decoder of an Avro registry.

    `time_field` takes the event time from the decoded value; without it the source's holds. What `decode`
    refuses, by any exception, becomes a dead letter with the value as it came.
    """

    def __init__(
        self, source: Source, decode: Callable[[Any], Any], *, time_field: str | None = None
    ) -> None:
        self.name = source.name
        self._source = source
        self._decode = decode
        self._time_field = time_field

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        for event in self._source.events(after):
            yield event if event is None or event.error else self._decoded(event)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return self._source.pending(after)

    def _decoded(self, event: Event) -> Event:
        try:
            value = self._decode(event.value)
        except Exception as error:
            what = str(error) if isinstance(error, WeftError) else f"{type(error).__name__}: {error}"
            return msgspec.structs.replace(event, error=f"it does not decode: {what}")
        if self._time_field is None:
            return msgspec.structs.replace(event, value=value)
        timed = event_at(event.offset, value, self._time_field)
        return msgspec.structs.replace(timed, partition=event.partition)
