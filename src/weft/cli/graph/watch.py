"""`weft graph watch`: nodes and edges as they change."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.cli.graph.options import Data, open_graph
from weft.cli.graph.output import plain, text
from weft.cli.output import Json, emit, note
from weft.graph import WatchEvent
from weft.graph.watch import HEARTBEAT_S


def watch(
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="Only nodes or edges of this type; repeatable.")
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Go on from there.", show_default="now")
    ] = None,
    heartbeat_s: Annotated[
        float, typer.Option(min=0.01, help="Seconds of silence before a sign of life.")
    ] = HEARTBEAT_S,
    data: Data = None,
    json: Json = False,
) -> None:
    """Follow nodes and edges as they change, each as it is then, until interrupted.

    Example: weft graph watch --type watched --json
    """
    last: str | None = None
    with open_graph(data) as graph:
        try:
            for event in graph.watch(type_ or [], after=after, heartbeat_s=heartbeat_s):
                _show(event, json)
                last = event.cursor
        except KeyboardInterrupt:
            if last is not None and not json:
                note(f"to go on from here: --after {last}")
            raise


def _show(event: WatchEvent, json: bool) -> None:
    heartbeat = event.now is None and event.removed is None
    if json:
        removed = event.removed and event.removed._asdict()
        told = {"cursor": event.cursor, "heartbeat": heartbeat, "now": plain(event.now), "removed": removed}
        emit(True, told, "")
    elif heartbeat:
        note(f"nothing new up to {event.cursor}")
    elif event.removed is not None:
        emit(False, {}, f"removed  {text(event.removed)}")
    else:
        emit(False, {}, f"now      {text(event.now)}")
