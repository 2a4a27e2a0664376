"""The executor of a pod, through the channels of a WebSocket (the protocol v5.channel.k8s.io, or v4)."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

from weft.agent.sandbox.kubernetes.client import Client
from weft.agent.sandbox.kubernetes.status import Failed, state_of
from weft.agent.sandbox.provider import SandboxFailed
from weft.agent.sandbox.wire import Reply, Stream
from weft.core.errors import WeftError

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_STDIN, _STDOUT, _STDERR, _STATUS, _CLOSE = 0, 1, 2, 3, 255
_PIECE_BYTES: Final = 1 << 18
_SAID_BYTES: Final = 2_000
# What the executor needs to end all and to delete what there is; the pod is deleted in any case.
_END_S: Final = 5.0


class Attached(Stream):
    """An executor that is process 1 of a pod. Closing deletes the pod, and the state folder of this end."""

    def __init__(self, client: Client, name: str, state: str) -> None:
        self._client = client
        self._path = f"{client.pods}/{name}"
        self._state = state
        self._channels = Channels(lambda stack: client.attach(name, stack))
        # It is read, written, bounded in time and shut down as a socket is.
        super().__init__(cast(socket.socket, self._channels))
        self._closed = False

    def receive(self, timeout_s: float) -> Reply:
        """The next reply; `SandboxFailed` with what the cluster says of the pod, where that is the reason."""
        try:
            return super().receive(timeout_s)
        except SandboxFailed as error:
            reason = "" if self._closed else self._reason()
            if not reason:
                raise
            raise SandboxFailed(f"the sandbox has ended: {reason}", hint="open a new one") from error

    def close(self) -> None:
        """Let the executor end and clean up, then delete the pod."""
        if not self._closed:
            self._closed = True
            self._channels.end(_END_S)
            try:
                self._client.delete(self._path)
            finally:
                shutil.rmtree(self._state, ignore_errors=True)

    def _reason(self) -> str:
        try:
            state = state_of(self._client.get(self._path))
        except WeftError as error:
            return f"{error}"
        told = state.reason if isinstance(state, Failed) else ""
        return "; ".join(filter(None, (told, self._channels.said)))


class Channels:
    """As much of a socket as frames need, over the channels of a pod's process."""

    def __init__(self, connect: Callable[[contextlib.ExitStack], ClientConnection]) -> None:
        self._stack = contextlib.ExitStack()
        self._connection = connect(self._stack)
        self._timeout_s: float | None = None
        self._data = bytearray()
        self._over = False
        self.said = ""
        """The last of what came on standard error, and the status of the end."""

    def settimeout(self, seconds: float | None) -> None:
        self._timeout_s = seconds

    def sendall(self, data: bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            for at in range(0, len(data), _PIECE_BYTES):
                self._connection.send(bytes([_STDIN]) + data[at : at + _PIECE_BYTES])
        except ConnectionClosed as error:
            raise ConnectionResetError(f"{error}") from error

    def recv(self, count: int) -> bytes:
        """Some of what the process wrote; empty at its end."""
        while not self._data and not self._over:
            self._take(self._timeout_s)
        data = bytes(self._data[:count])
        del self._data[:count]
        return data

    def shutdown(self, how: int) -> None:
        """Let whoever waits in `recv` see the end; from any thread."""
        with contextlib.suppress(OSError):
            self._connection.socket.shutdown(how)

    def end(self, timeout_s: float) -> None:
        """Close standard input, wait for the process to end, and hang up."""
        with contextlib.suppress(Exception):
            if self._connection.subprotocol == "v5.channel.k8s.io":
                self._connection.send(bytes([_CLOSE, _STDIN]))
                while not self._over:
                    self._take(timeout_s)
        with contextlib.suppress(Exception):
            self._stack.close()

    def _take(self, timeout_s: float | None) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            message = self._connection.recv(timeout=timeout_s)
        except ConnectionClosed:
            self._over = True
            return
        if not isinstance(message, bytes) or not message:
            return
        channel, data = message[0], message[1:]
        if channel == _STDOUT:
            self._data += data
        elif channel == _STDERR:
            self.said = (self.said + data.decode("utf-8", "replace"))[-_SAID_BYTES:].strip()
        elif channel == _STATUS:
            self._over = True
            self.said = "; ".join(filter(None, (self.said, _failure(data))))


def _failure(data: bytes) -> str:
    try:
        status: dict[str, Any] = json.loads(data)
        return "" if status.get("status") == "Success" else str(status.get("message") or "")
    except (ValueError, AttributeError):
        return data.decode("utf-8", "replace")[:_SAID_BYTES]
