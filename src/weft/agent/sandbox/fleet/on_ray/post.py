"""Events from a daemon to the coordinator, each taken in once and in order, though calls are repeated.

Ray repeats a call whose answer was lost. A box that were told ready twice could be taken for one whose reset
is proved, so that the coordinator counts what it has taken in.
"""

from __future__ import annotations

from weft.agent.sandbox.fleet.events import Event


class Outbox:
    """What is to be told, one letter under way at a time; all that comes meanwhile is the next one's."""

    def __init__(self) -> None:
        self._first = 0
        self._events: list[Event] = []
        self._under_way = 0

    def add(self, event: Event) -> None:
        """Tell this after all that was added before."""
        self._events.append(event)

    def next(self) -> tuple[int, list[Event]] | None:
        """The first event's number, and the events; None while a letter is under way, or there is none."""
        if self._under_way or not self._events:
            return None
        self._under_way = len(self._events)
        return self._first, list(self._events)

    def delivered(self) -> None:
        """The letter under way was taken in, or nobody is there to take it."""
        del self._events[: self._under_way]
        self._first += self._under_way
        self._under_way = 0


class Inbox:
    """What was taken in of each sender, whose name no other ever has."""

    def __init__(self) -> None:
        self._next: dict[str, int] = {}

    def fresh(self, sender: str, first: int, events: list[Event]) -> list[Event]:
        """The events that were not taken in before."""
        expected = self._next.get(sender, first)
        self._next[sender] = max(expected, first + len(events))
        return events[max(0, expected - first) :]
