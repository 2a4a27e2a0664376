"""An executor in namespaces of its own: taken from the template, and ended with its first process."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
from collections.abc import Mapping

from weft.agent.sandbox import template
from weft.agent.sandbox.inside.keeper import remove_tree
from weft.agent.sandbox.keeper import StartFailed
from weft.agent.sandbox.provider import SandboxFailed
from weft.agent.sandbox.wire import GRACE_S, Stream


class Confined(Stream):
    """The first process of a namespace of processes: when it ends, so have all others in it."""

    def __init__(self, python: str, wanted: template.Wanted) -> None:
        """Take a blank, with which the folder of its state will go; or raise `StartFailed`."""
        try:
            blank = template.take_blank(python, wanted)
        except template.CannotFork as error:
            raise StartFailed("namespaces", f"{error}") from error
        except OSError as error:
            stage = "descriptors" if error.errno == errno.EMFILE else "template"
            raise StartFailed(stage, f"{error}") from error
        super().__init__(blank.sock)
        self.pid, self.other, self.state = blank.pid, blank.other, blank.state
        self.bounded = blank.bounded
        self._pidfd = blank.pidfd
        self._closed = False

    def begin(self, order: Mapping[str, object]) -> None:
        """Have the sandbox completed and wait until it is ready; else close, and raise `StartFailed`."""
        try:
            with contextlib.suppress(SandboxFailed):
                self.send(order)  # a blank that could not be made has said why, and reads no more
            reply = self.receive(GRACE_S)
        except (SandboxFailed, OSError) as error:
            self.close()
            raise StartFailed("executor", f"{error}") from error
        if not reply.ready:
            self.close()
            raise StartFailed(reply.failed or "executor", reply.reason)

    def close(self) -> None:
        """Kill all that is inside, wait for its end, and remove its state."""
        if self._closed:
            return
        self._closed = True
        self._sock.close()
        # An owner that is another user since may not; without its socket the inside ends all the same.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        ended = select.poll()
        ended.register(self._pidfd, select.POLLIN)
        ended.poll(GRACE_S * 1_000)
        os.close(self._pidfd)
        remove_tree(self.state)
