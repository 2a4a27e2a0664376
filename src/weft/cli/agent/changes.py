"""`weft agent fork` and `undo`: another way from an earlier step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.agent.undo import START
from weft.agent.undo import undo as undo_to
from weft.cli.agent.options import Data, SessionName, open_sessions, session_id, settings_for, started
from weft.cli.agent.permissions import permissions
from weft.cli.output import Json, emit


def fork(
    session: SessionName,
    at: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="The last event to take over.", show_default="all")
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Begin a session with another one's events; the two share nothing from there on.

    Events are numbered as `weft agent show SESSION --json` says. Example: weft agent fork last --at 7
    """
    settings = settings_for(data)
    with open_sessions(settings) as store:
        source = session_id(store, session)
        made = store.fork(source, at)
        with permissions(settings, Path(started(store, made).workspace)) as allowed:
            allowed.grant(made)
    text = f"session {made} goes on from {source}: `weft agent resume {made}`"
    emit(json, {"session": made, "parent": source}, text)


def undo(
    session: SessionName,
    to: Annotated[
        int, typer.Option(min=0, metavar="STEP", help="The last step to keep; 0 keeps none.")
    ] = START,
    data: Data = None,
    json: Json = False,
) -> None:
    """Take back what a session changed after a step, in the workspace too where it landed.

    Only the agent's own changes are touched; where a person edited one of its files since, nothing is undone.

    Example: weft agent undo last --to 2
    """
    with open_sessions(settings_for(data)) as store:
        named = session_id(store, session)
        undone = undo_to(store, named, to)
    paths = [file.path for file in undone.written]
    where = f"in the workspace: {', '.join(paths)}" if paths else "nothing had landed in the workspace"
    text = f"session {named} is as it was after step {undone.to_step}; {where}"
    emit(json, {"session": named, "to_step": undone.to_step, "written": paths}, text)
