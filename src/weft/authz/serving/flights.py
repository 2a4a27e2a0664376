"""The lock table: what is asked several times at one moment is worked out once (Zanzibar, section 3.2.5).

Nobody is hurt by another's flight. A leader that fails, or is interrupted, has no result, and who waited
works it out alone; who gives up waiting leaves the leader alone. Whoever waits does so for a bounded time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from contextvars import ContextVar
from threading import Event, Lock
from typing import Final, Generic, TypeVar

from weft.core.telemetry import AUTHZ_FLIGHTS, Recorder

T = TypeVar("T")
CLIENT: Final[ContextVar[str]] = ContextVar("weft_authz_client", default="")
"""Who is asking, where servers know: clients never wait for one another."""
_PATIENCE_S: Final = 0.1
"""Many times what a check takes; a leader that is slower than this is stuck."""


class _Flight(Generic[T]):
    __slots__ = ("landed", "result")

    def __init__(self) -> None:
        self.landed = Event()
        self.result: T | None = None


class Flights(Generic[T]):
    """Work under way, by key and client."""

    def __init__(self, telemetry: Recorder, patience_s: float = _PATIENCE_S) -> None:
        self._telemetry = telemetry
        self._patience_s = patience_s
        self._lock = Lock()
        self._flights: dict[tuple[str, Hashable], _Flight[T]] = {}

    def run(self, key: Hashable, work: Callable[[], T], suits: Callable[[T], bool]) -> T:
        """The result of the work, or of another thread's that was under way, if that one `suits`."""
        whole = CLIENT.get(), key
        with self._lock:
            flight = self._flights.get(whole)
            if flight is None:
                leading = self._flights[whole] = _Flight()
        if flight is None:
            try:
                result = leading.result = work()
            finally:
                with self._lock:
                    del self._flights[whole]
                leading.landed.set()
            self._telemetry.count(AUTHZ_FLIGHTS, outcome="led")
            return result
        if flight.landed.wait(self._patience_s) and flight.result is not None and suits(flight.result):
            self._telemetry.count(AUTHZ_FLIGHTS, outcome="shared")
            return flight.result
        self._telemetry.count(AUTHZ_FLIGHTS, outcome="alone")
        return work()
