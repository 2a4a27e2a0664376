"""`weft agent sessions` and `show`: what was done, at a glance and step by step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from weft.agent.history import Summary, summaries
from weft.agent.models.prices import shown as shown_cost
from weft.agent.session import SessionStore
from weft.cli.agent import telling
from weft.cli.agent.options import Data, SessionName, open_sessions, session_id, settings_for
from weft.cli.agent.screen import Screen
from weft.cli.output import Json, note, print_table
from weft.core.errors import Invalid

_PAGE: Final = 50
_MAX_TASK_CHARS: Final = 60
_STATES: Final = ("running", "open", "ok", "failed")


def sessions(
    state: Annotated[str | None, typer.Option(metavar="STATE", help="running, open, ok or failed.")] = None,
    workspace: Annotated[Path | None, typer.Option(metavar="DIR", help="Only those that work there.")] = None,
    task: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those whose task has it.")] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="At most so many.")] = 20,
    sub_agents: Annotated[bool, typer.Option("--sub-agents", help="Also what sub-agents did.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the sessions, newest first. An open one stopped before its end and can be resumed.

    Example: weft agent sessions --state open
    """
    if state is not None and state not in _STATES:
        raise Invalid(f"`{state}` is no state of a session", hint=f"the states are {', '.join(_STATES)}")
    root = None if workspace is None else str(workspace.resolve())
    with open_sessions(settings_for(data)) as store:
        fitting = (
            one
            for one in _all(store, sub_agents)
            if (state is None or one.status == state)
            and (root is None or one.workspace == root)
            and (task is None or task.lower() in one.task.lower())
        )
        found = list(islice(fitting, limit + 1))
    for one in found[:limit] if json else ():
        sys.stdout.write(msgspec.json.encode(one).decode() + "\n")
    if not json:
        columns = ("session", "when", "task", "state", "steps", "cost", "files")
        print_table(columns, [_row(one) for one in found[:limit]])
        if len(found) > limit:
            note(f"there are more; --limit {limit * 2} shows them")


def show(
    session: SessionName,
    full: Annotated[bool, typer.Option("--full", help="Also what is long.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show a session's replies, calls, decisions, results and final diff; --json its events as they are.

    Example: weft agent show last
    """
    with open_sessions(settings_for(data)) as store:
        events = store.open(session_id(store, session)).events
    if json:
        for event in events:
            sys.stdout.write(msgspec.json.encode(event).decode() + "\n")
        return
    screen = Screen()
    for event in events:
        screen.show(telling.afterwards(event, full=full))
    screen.close()


def when(time_us: int) -> str:
    """A time for people, UTC."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M")


def _all(store: SessionStore, sub_agents: bool) -> Iterator[Summary]:
    before = None
    while page := summaries(store, limit=_PAGE, before=before, sub_agents=sub_agents):
        yield from page
        before = page[-1].id


def _row(one: Summary) -> tuple[str, ...]:
    task = " ".join(one.task.split())
    marks = [one.status, *(["landed"] if one.landed else []), *([one.because] if one.because else [])]
    return (
        one.id,
        when(one.started_us),
        task if len(task) <= _MAX_TASK_CHARS else f"{task[: _MAX_TASK_CHARS - 1]}…",
        ", ".join([one.mode, *marks] if one.mode != "act" else marks),
        str(one.steps),
        "script" if one.scripted else shown_cost(one.cost_usd),
        str(len(one.files)),
    )
