"""The keeper of one sandbox as its owner holds it: a process that makes it and cleans up after it."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from weft.agent.sandbox import template
from weft.agent.sandbox.inside.keeper import clean_up
from weft.agent.sandbox.provider import SandboxFailed
from weft.agent.sandbox.wire import GRACE_S, Stream


class StartFailed(Exception):
    """The keeper could not make the sandbox: at which stage, and why."""

    def __init__(self, stage: str, reason: str) -> None:
        super().__init__(f"{stage}: {reason}")
        self.stage = stage
        self.reason = reason


class Keeper(Stream):
    """A keeper process, the socket to its executor, and the lifeline whose closing ends both."""

    def __init__(self, python: str) -> None:
        """Start the process, which then waits for its spec, or raise `StartFailed`."""
        self._spec: Mapping[str, object] | None = None
        try:
            forked = template.fork_keeper(python)
        except OSError as error:
            raise StartFailed("keeper", f"{error}") from error
        super().__init__(forked.sock)
        self.pid, self._lifeline = forked.pid, forked.lifeline
        self._closed = False

    def begin(self, spec: Mapping[str, object]) -> None:
        """Have the sandbox made and wait until the executor is ready; else close, and raise `StartFailed`."""
        self._spec = spec
        try:
            self.send(spec)
            reply = self.receive(GRACE_S)
        except (SandboxFailed, OSError) as error:
            self.close()
            raise StartFailed("keeper", f"{error}") from error
        if not reply.ready:
            self.close()
            raise StartFailed(reply.failed or "keeper", reply.reason)

    def close(self) -> None:
        """Let go: the keeper kills all that is inside, removes its state and ends."""
        if not self._closed:
            self._closed = True
            self._sock.close()
            with self._lifeline:
                self._lifeline.shutdown(socket.SHUT_WR)
                self._lifeline.recv(1)
            # A keeper that was itself killed has left this to the owner.
            if self._spec is not None:
                clean_up(self._spec)
