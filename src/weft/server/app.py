"""The HTTP face: an application over open stores. Other faces are routers beside these."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST

import weft
from weft.authz import Authz
from weft.core.telemetry import Telemetry
from weft.graph import Graph
from weft.server.auth import Gate
from weft.server.bodies import BoundedBodies
from weft.server.pushes import Pushes
from weft.server.routes_authz import authz_routes
from weft.server.routes_graph import graph_routes
from weft.server.wire import answer, install_refusals


def build_app(
    authz: Authz,
    graph: Graph,
    telemetry: Telemetry,
    keys: Sequence[str] = (),
    pushes: Pushes | None = None,
    stopping: Event | None = None,
) -> FastAPI:
    """The application. Who has a key may ask for everything; without keys, whoever reaches loopback.

    Store calls run in the thread pool; the stores stay the caller's to close, and `pushes` to start and end.
    Streams that have no end of their own end once `stopping` is set.
    """
    app = FastAPI(
        title="weft",
        description=weft.__doc__ or "",
        version=weft.__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    install_refusals(app)
    app.include_router(authz_routes(authz, telemetry))
    app.include_router(graph_routes(graph, authz, pushes or Pushes(graph, authz, ()), stopping or Event()))

    @app.get("/healthz")
    def healthz() -> Response:
        """Whether the server answers; open to everybody."""
        return answer({"status": "ok"})

    @app.get("/metrics")
    def metrics() -> Response:
        """All metrics in Prometheus' text format."""
        return Response(telemetry.exposition(), headers={"content-type": CONTENT_TYPE_LATEST})

    # The one added last is asked first: nobody's body is read before they may ask.
    app.add_middleware(BoundedBodies)
    app.add_middleware(Gate, keys=keys)
    return app
