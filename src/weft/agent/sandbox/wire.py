"""The host's end of the frames that an executor speaks: what it can be asked through, and what it replies."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Mapping
from typing import Protocol

import msgspec

from weft.agent.sandbox.provider import SandboxFailed
from weft.core.errors import LimitExceeded
from weft.core.limits import MAX_FILE_BYTES, within

# How long the executor may be silent past a command's own timeout before the sandbox counts as broken.
GRACE_S = 15.0
_MAX_FRAME_BYTES = MAX_FILE_BYTES + (1 << 20)


class Reply(msgspec.Struct):
    """Every field that a reply may have. The inside is not trusted: what does not fit is a broken sandbox."""

    ready: bool = False
    failed: str | None = None
    reason: str = ""
    error: str | None = None
    out: bytes | None = None
    exit: int = 0
    timed_out: bool = False
    duration_s: float = 0.0
    tail: bytes = b""
    omitted_bytes: int = 0
    data: bytes = b""
    name: bytes = b""
    kind: str = ""
    size_bytes: int = 0
    mode: int = 0
    entries: list[Entry] = []
    count: int = 0
    ended: bool = False


class Entry(msgspec.Struct):
    """A directory entry as the executor names it: in bytes."""

    name: bytes
    kind: str
    size_bytes: int
    mode: int


class Executor(Protocol):
    """What a session needs of the executor inside, whatever holds it there and however it is reached.

    A request is a mapping with an `op` of `inside/executor.py`. It gets any number of replies with `out`,
    then exactly one without. After a `SandboxFailed` it answers no more, and `close` is all that is left.
    """

    def send(self, request: Mapping[str, object]) -> None:
        """Pass one request on."""

    def receive(self, timeout_s: float) -> Reply:
        """The next reply; `SandboxFailed` where none comes in time or it is none."""

    def break_off(self) -> None:
        """Let whoever waits for a reply get `SandboxFailed`; from any thread, any number of times."""

    def close(self) -> None:
        """End every process inside and remove all private state; when it returns, nothing is left."""


class Stream:
    """Frames over a connected socket: `Executor` but for its end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, request: Mapping[str, object]) -> None:
        """Pass one request on."""
        self.send_frame(msgspec.msgpack.encode(request))

    def send_frame(self, body: bytes, timeout_s: float = GRACE_S) -> None:
        """Pass on what is one frame already."""
        try:
            self._sock.settimeout(timeout_s)
            self._sock.sendall(struct.pack(">I", len(body)) + body)
        except OSError as error:
            raise SandboxFailed("the sandbox no longer answers", hint="open a new one") from error

    def receive(self, timeout_s: float) -> Reply:
        """The next reply; `SandboxFailed` where none comes in time or it is none."""
        self._sock.settimeout(timeout_s)
        try:
            (length,) = struct.unpack(">I", self._exactly(4))
            within("a reply of the sandbox", length, _MAX_FRAME_BYTES)
            return msgspec.msgpack.decode(self._exactly(length), type=Reply)
        except (OSError, LimitExceeded, msgspec.MsgspecError) as error:
            raise SandboxFailed("the sandbox no longer answers", hint="open a new one") from error

    def _exactly(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            part = self._sock.recv(min(count - len(parts), 1 << 20))
            if not part:
                raise ConnectionResetError("end of stream")
            parts += part
        return bytes(parts)

    def break_off(self) -> None:
        """Let whoever waits for a reply get `SandboxFailed`; from any thread."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
