"""An MCP server that is a program in the sandbox, spoken to line by line."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence

from weft.agent.mcp.message import ServerLost, SessionForgotten
from weft.agent.sandbox import Job, Sandbox
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import LimitExceeded, NotFound, WeftError
from weft.core.limits import MAX_COMMAND_S, MAX_MCP_MESSAGE_BYTES

# Other tools use the sandbox while this one waits.
_WAIT_S = 0.05
_TAIL_BYTES = 2_000


class Stdio:
    """The program runs as a command of the sandbox does: with its files, its limits, and no network.

    One that has ended is started anew by the next request. What it writes on standard error goes to a file
    of the sandbox, of which the end is quoted when it fails.
    """

    def __init__(
        self,
        box: Sandbox,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._box = box
        self._name = name
        self._command = tuple(command)
        self._environment = dict(environment or {})
        self._clock = clock
        self._log = f"/tmp/weft-mcp-{name}.log"
        self._rest = bytearray()
        self._agreed = False
        self._closed = False
        self._job: Job | None = None
        self._start()

    def _start(self) -> None:
        # Only one that has spoken before is worth another start.
        self._agreed = False
        self._rest.clear()
        self._job = self._box.start(
            ["/bin/sh", "-c", 'log=$1; shift; exec "$@" 2>>"$log"', "sh", self._log, *self._command],
            timeout_s=24 * MAX_COMMAND_S,
            environment=self._environment,
            output_bytes=MAX_MCP_MESSAGE_BYTES,
            feed=True,
        )

    def request(self, data: bytes, timeout_s: float) -> Generator[bytes, None, None]:
        deadline_s = self._clock.monotonic_s() + timeout_s
        if self._agreed and not self._closed and self._ended():
            self._start()
            raise SessionForgotten(f"the MCP server `{self._name}` was started anew", hint="connect anew")
        self._send(data)
        while True:
            *lines, rest = self._rest.split(b"\n")
            self._rest = rest
            for line in lines:
                yield bytes(line)
            if self._clock.monotonic_s() > deadline_s:
                raise ServerLost(
                    f"the MCP server `{self._name}` did not answer within {timeout_s:.0f} s",
                    hint="ask for less, or go on without it",
                )
            self._take()

    def notify(self, data: bytes) -> None:
        self._send(data)

    def agreed(self, version: str) -> None:
        self._agreed = True

    def close(self) -> None:
        self._closed = True
        self._end()

    def _ended(self) -> bool:
        """Whether there is nothing to speak to; what was said meanwhile is kept."""
        if self._job is None or self._job.exit_code is not None:
            return True
        try:
            self._rest += self._job.poll().data
        except NotFound:
            return True
        return self._job.exit_code is not None

    def _end(self) -> None:
        if self._job is not None and self._job.exit_code is None:
            # Where its sandbox has gone, it has gone with that.
            with contextlib.suppress(WeftError):
                self._job.stop()
        self._job = None

    def _send(self, data: bytes) -> None:
        if self._job is None:
            raise ServerLost(f"the connection to the MCP server `{self._name}` is closed")
        try:
            self._job.feed(data + b"\n")
        except WeftError as error:
            raise self._lost(str(error)) from error

    def _take(self) -> None:
        if self._job is None:
            raise ServerLost(f"the connection to the MCP server `{self._name}` is closed")
        try:
            seen = self._job.poll(_WAIT_S)
        except WeftError as error:
            raise self._lost(str(error)) from error
        self._rest += seen.data
        if seen.omitted_bytes or len(self._rest) > MAX_MCP_MESSAGE_BYTES:
            self._end()
            raise LimitExceeded(
                f"the MCP server `{self._name}` sent a message of over {MAX_MCP_MESSAGE_BYTES:,} bytes",
                hint="ask it for less",
            )
        if seen.exit_code is not None and b"\n" not in self._rest:
            raise self._lost(f"it ended with exit code {seen.exit_code}")

    def _lost(self, why: str) -> ServerLost:
        if self._ended() and self._job is not None and self._job.exit_code is not None:
            why = f"it ended with exit code {self._job.exit_code}"
        self._end()
        try:
            tail = self._box.run(["tail", "-c", str(_TAIL_BYTES), self._log], timeout_s=5.0).output.strip()
        except WeftError:
            tail = ""
        said = f"; its last words: {' '.join(tail.split())}" if tail else ""
        return ServerLost(f"the MCP server `{self._name}` is gone: {why}{said}", hint="go on without it")
