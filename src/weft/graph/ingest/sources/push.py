"""Events that others push, acknowledged once they are durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid, LimitExceeded, Unavailable
from weft.graph.ingest.model import Event, Offset
from weft.graph.ingest.sources.event_time import event_at

MAX_WAITING_EVENTS: Final = 50_000
"""What waits is held in memory; more than a second's work only makes pushers time out."""
_BATCH_EVENTS: Final = 5_000


class PushSource:
    """A live source fed by `push`, from any number of threads, while one thread runs a job over it.

    The pusher is the log: what was not acknowledged is pushed again, and with `time_field` a repetition
    changes nothing. Without `time_field` an event happens when it is pushed. Pushes that arrive together
    share a checkpoint. An event's offset is its number, from 1, over all runs.
    """

    def __init__(self, name: str, *, time_field: str | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.name = name
        self._time_field = time_field
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: deque[_Push] = deque()
        self._events_waiting = 0
        self._stopped = False

    def push(self, values: Iterable[Any], *, timeout_s: float = 30.0) -> int:
        """Hand over values, each an event; how many, once they are durable. All are taken in one order.

        `Unavailable` when that takes too long or the run ends before: push them again.
        """
        return self._push([self._event(value) for value in values], timeout_s)

    def push_body(self, body: bytes, *, timeout_s: float = 30.0) -> int:
        """Hand over the body of a request: a JSON array of events, one event, or one per line.

        A line that is not JSON becomes a dead letter; `Invalid` when nothing is JSON.
        """
        return self._push(list(self._parsed(body)), timeout_s)

    def stop(self) -> None:
        """Refuse further pushes; the run ends once what waits is durable."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return self._events_waiting

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        position = after[0].position if 0 in after else 0
        taken: list[_Push] = []
        try:
            while taken := self._take():
                for push in taken:
                    for event in push.events:
                        position += 1
                        yield msgspec.structs.replace(event, offset=Offset(position))
                # The runner makes a checkpoint of every pause before it asks for more.
                yield None
                self._settle(taken, "durable")
                taken = []
        finally:
            with self._changed:
                self._settle([*taken, *self._waiting], "lost")
                self._waiting.clear()
                self._events_waiting = 0

    def _push(self, events: list[Event], timeout_s: float) -> int:
        if len(events) > MAX_WAITING_EVENTS:
            raise LimitExceeded(
                f"a push has {len(events):,} events, the limit is {MAX_WAITING_EVENTS:,}", hint="push fewer"
            )
        push = _Push(events)
        deadline_s = self._clock.monotonic_s() + timeout_s
        with self._changed:
            room = self._await(lambda: self._stopped or self._has_room_for(events), deadline_s)
            if self._stopped or not room:
                why = "takes no more events" if self._stopped else "has too many events waiting"
                raise Unavailable(f"`{self.name}` {why}", hint="push them again later")
            self._waiting.append(push)
            self._events_waiting += len(events)
            self._changed.notify_all()
            self._await(lambda: push.outcome != "waiting", deadline_s)
            if push in self._waiting:
                self._waiting.remove(push)
                self._events_waiting -= len(events)
        if push.outcome != "durable":
            raise Unavailable(
                f"the events for `{self.name}` are not known to be durable", hint="push them again"
            )
        return len(events)

    def _has_room_for(self, events: list[Event]) -> bool:
        return self._events_waiting + len(events) <= MAX_WAITING_EVENTS

    def _await(self, condition: Callable[[], bool], deadline_s: float) -> bool:
        """Wait until the condition holds, or the time is over; whether it holds. The caller has the lock."""
        return self._changed.wait_for(condition, max(0.0, deadline_s - self._clock.monotonic_s()))

    def _take(self) -> list[_Push]:
        """Pushes to be made durable together; none when the source was stopped and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting) or self._stopped)
            taken: list[_Push] = []
            count = 0
            while self._waiting and (not taken or count + len(self._waiting[0].events) <= _BATCH_EVENTS):
                taken.append(self._waiting.popleft())
                count += len(taken[-1].events)
            self._events_waiting -= count
            self._changed.notify_all()
            return taken

    def _settle(self, pushes: Iterable[_Push], outcome: str) -> None:
        with self._changed:
            for push in pushes:
                push.outcome = outcome
            self._changed.notify_all()

    def _parsed(self, body: bytes) -> Iterator[Event]:
        try:
            whole = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            yield from self._lines(body)
            return
        yield from map(self._event, whole if isinstance(whole, list) else [whole])

    def _lines(self, body: bytes) -> Iterator[Event]:
        events = [self._line(line) for line in body.split(b"\n") if line and not line.isspace()]
        if all(event.error.startswith(_NOT_JSON) for event in events):
            raise Invalid("no event in the body is JSON", hint="send a JSON array, or one event per line")
        yield from events

    def _line(self, line: bytes) -> Event:
        try:
            return self._event(msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = line.decode("utf-8", "backslashreplace")
            return Event(_NOWHERE, 0, text, error=f"{_NOT_JSON}: {error}")

    def _event(self, value: Any) -> Event:
        if self._time_field is None:
            return Event(_NOWHERE, self._clock.now_us(), value)
        return event_at(_NOWHERE, value, self._time_field)


class _Push:
    """Events that one caller waits for."""

    __slots__ = ("events", "outcome")

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.outcome = "waiting"


_NOWHERE: Final = Offset(0)
_NOT_JSON: Final = "not JSON"
