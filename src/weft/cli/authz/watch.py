"""`weft authz watch`: changes as they are committed."""

from __future__ import annotations

from typing import Annotated

import typer

from weft.authz.results import WatchEvent
from weft.authz.watch import HEARTBEAT_S
from weft.authz.zookie import Zookie
from weft.cli.authz.options import Data, open_authz
from weft.cli.output import Json, emit, note


def watch(
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="earliest|ZOOKIE", help="Begin there.", show_default="now"),
    ] = None,
    namespace: Annotated[
        list[str] | None, typer.Option(help="Only tuples on objects of this one; repeatable.")
    ] = None,
    heartbeat_s: Annotated[
        float, typer.Option(min=0.01, help="Seconds of silence before a sign of life.")
    ] = HEARTBEAT_S,
    data: Data = None,
    json: Json = False,
) -> None:
    """Follow changes, each once and in the order of commits, until interrupted.

    Example: weft authz watch --from earliest --json
    """
    last: Zookie | None = None
    with open_authz(data) as authz:
        try:
            for event in authz.watch(from_, namespaces=namespace or [], heartbeat_s=heartbeat_s):
                _show(event, json)
                last = event.zookie
        except KeyboardInterrupt:
            if last is not None and not json:
                note(f"to go on from here: --from {last}")
            raise


def _show(event: WatchEvent, json: bool) -> None:
    if json:
        changes = [{"operation": change.operation, "tuple": str(change.item)} for change in event.changes]
        schema = event.schema and {"text": event.schema.text, "language": event.schema.language}
        heartbeat = not changes and schema is None
        emit(True, {"zookie": event.zookie, "heartbeat": heartbeat, "changes": changes, "schema": schema}, "")
        return
    if event.schema is not None:
        emit(False, {}, f"schema  {event.schema.language}")
    for change in event.changes:
        emit(False, {}, f"{change.operation:<6}  {change.item}")
    if event.schema is None and not event.changes:
        note(f"nothing new up to {event.zookie}")
