"""`weft serve`: permissions and graph over HTTP, from one data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.core.extras import require
from weft.core.settings import load
from weft.core.telemetry import configure_logs


def serve(
    data: Annotated[Path | None, typer.Option(help="The folder that holds authz/ and graph/.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Where to listen; beyond loopback it asks for keys.")
    ] = None,
    port: Annotated[int | None, typer.Option(help="0 takes a free one.")] = None,
    jobs: Annotated[
        Path | None, typer.Option(metavar="JOBS.py", help="Run its jobs over events that are pushed.")
    ] = None,
    time: Annotated[
        str | None, typer.Option(metavar="FIELD", help="The field with the time of a pushed event.")
    ] = None,
) -> None:
    """Serve permissions and graph over HTTP until interrupted."""
    settings = load(flags={"data": data, "server": {"host": host, "port": port}})
    for package in ("fastapi", "uvicorn"):
        require(package, "server")
    from weft.cli.graph.jobs import load_jobs
    from weft.server.serve import serve as serve_until_stopped

    configure_logs(settings.log.level, settings.log.style)
    defined = [] if jobs is None else list(load_jobs(jobs).values())
    serve_until_stopped(settings, defined, time_field=time)
