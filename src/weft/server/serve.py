"""`weft serve` as a function: open the stores, listen, and stop when told to."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from weft import kv
from weft.authz import Authz
from weft.core.errors import Denied, Invalid, Unavailable
from weft.core.settings import ServerSettings, Settings
from weft.core.telemetry import Telemetry
from weft.graph import Graph, Job
from weft.kv.wrappers.observed import ObservedStore
from weft.server.app import build_app
from weft.server.auth import checked_keys, is_loopback
from weft.server.pushes import Pushes

DRAIN_S: Final = 1
"""How long requests may go on once the server is told to stop."""
_GIVE_UP_S: Final = 1.5
"""A store call cannot be interrupted; by then the process ends over it, which no store minds."""


def serve(settings: Settings, jobs: Iterable[Job] = (), *, time_field: str | None = None) -> None:
    """Serve the stores under `settings.data` until SIGINT or SIGTERM, and run jobs over pushed events, whose
    time is in `time_field`.

    `Invalid` for settings that would let in everybody, `Unavailable` where the port is in use.
    """
    keys = checked_keys(settings.server.keys)
    _require_keys_beyond_loopback(settings.server.host, keys)
    telemetry = Telemetry()
    with ExitStack() as stack:
        listener = stack.enter_context(listen(settings.server))
        _make_folder(settings.data)
        authz = stack.enter_context(Authz.open(str(settings.data / "authz"), telemetry=telemetry))
        graph = stack.enter_context(closing(_open_graph(settings.data / "graph", telemetry)))
        stack.enter_context(graph.sweeper())
        pushes = stack.enter_context(Pushes(graph, authz, jobs, time_field=time_field))
        stopping = threading.Event()
        run(build_app(authz, graph, telemetry, keys, pushes, stopping), listener, stopping)


def listen(server: ServerSettings) -> socket.socket:
    """A listening socket at the host and port; port 0 takes a free one."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    try:
        listener = socket.create_server((server.host, server.port), family=family)
        # Connections inherit it. asyncio sets it only where the listener names its protocol, which this one
        # does not: the second part of an answer would wait for the client's delayed acknowledgement, 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise Unavailable(
            f"cannot listen on `{server.host}:{server.port}`: {os.strerror(error.errno or 0).lower()}",
            hint="choose another with --host and --port",
        ) from error


def run(app: ASGIApp, listener: socket.socket, stopping: threading.Event | None = None) -> None:
    """Serve `app` on the socket until SIGINT or SIGTERM, and say on standard output where it listens.
    `stopping` is set for streams to end then."""
    config = uvicorn.Config(
        app,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = _Server(config, stopping or threading.Event())
    # The server hands its signals back when it has stopped; then they must not end the process at once.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)
    host, port = listener.getsockname()[:2]
    print(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stopping: threading.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            deadline = threading.Timer(_GIVE_UP_S, _give_up)
            deadline.daemon = True
            deadline.start()
        self._stopping.set()
        super().handle_exit(sig, frame)


def _give_up() -> None:
    print("weft: stopped before every request was answered", file=sys.stderr, flush=True)
    os._exit(2)


def _require_keys_beyond_loopback(host: str, keys: list[str]) -> None:
    if not keys and not is_loopback(host):
        raise Invalid(
            f"`server.host` is `{host}`, beyond loopback, and `server.keys` is empty",
            hint="set WEFT_SERVER__KEYS to a long random text, or serve on 127.0.0.1",
        )


def _make_folder(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise Invalid(f"`{error.filename}` is a file", hint="name another data folder") from error
    except OSError as error:
        raise Denied(
            f"cannot write to `{data}`: {error.strerror}", hint="name another data folder"
        ) from error


def _open_graph(folder: Path, telemetry: Telemetry) -> Graph:
    store = kv.open(folder)
    try:
        return Graph(ObservedStore(store, telemetry))
    except BaseException:
        store.close()
        raise
