"""The host's end of a command that runs on inside a sandbox while other requests come and go."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from weft.core.clock import SYSTEM_CLOCK
from weft.core.errors import Invalid, Unavailable

# Others wait for the sandbox while it waits for output.
MAX_WAIT_S = 1.0
_FEED_AGAIN_S = 0.002


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """What a running command has said since the last time, and whether it still runs."""

    data: bytes
    omitted_bytes: int = 0
    """What was lost before `data`, since nobody took it in time."""
    exit_code: int | None = None
    """None while it runs; 124 at its timeout; 128 and the signal's number where it was killed."""


class _Reply(Protocol):
    """The fields of a sandbox's reply that say how a job is."""

    data: bytes
    omitted_bytes: int
    ended: bool
    exit: int
    count: int


class _Ask(Protocol):
    def __call__(self, op: str, **fields: Any) -> _Reply: ...


class Job:
    """A running command. `SandboxFailed` or `NotFound` when its sandbox was closed or started anew."""

    def __init__(self, ask: _Ask) -> None:
        self._ask = ask
        self._exit_code: int | None = None

    @property
    def exit_code(self) -> int | None:
        """As the last `poll` or `stop` found it."""
        return self._exit_code

    def poll(self, wait_s: float = 0.0) -> Output:
        """What was said since the last time; if nothing, waits up to `wait_s` and `MAX_WAIT_S`."""
        return self._take("poll", wait_s=float(min(wait_s, MAX_WAIT_S)))

    def stop(self) -> Output:
        """Kill the command and all that it started; the rest of its output."""
        return self._take("stop")

    def feed(self, data: bytes, timeout_s: float = 10.0) -> None:
        """Write to its standard input; `Unavailable` where it does not read in time."""
        deadline = SYSTEM_CLOCK.monotonic_s() + timeout_s
        while data:
            taken = self._ask("feed", data=data[: 1 << 20]).count
            data = data[taken:]
            if data and not taken:
                if SYSTEM_CLOCK.monotonic_s() > deadline:
                    raise Unavailable("the command does not read its input", hint="stop it")
                SYSTEM_CLOCK.sleep(_FEED_AGAIN_S)

    def end_input(self) -> None:
        """Close its standard input."""
        self._ask("feed", data=b"")

    def _take(self, op: str, **fields: Any) -> Output:
        if self._exit_code is not None:
            raise Invalid("the command has ended", hint="start it again")
        reply = self._ask(op, **fields)
        if reply.ended:
            self._exit_code = reply.exit
        return Output(data=reply.data, omitted_bytes=reply.omitted_bytes, exit_code=self._exit_code)
