"""The list of the `weft agent` commands."""

from __future__ import annotations

from typing import Final

import typer

from weft.cli.lazy import Entry, lazy_group

_HERE: Final = "weft.cli.agent"
COMMANDS: Final = {
    "run": Entry(f"{_HERE}.run:run", "Do one task in a workspace."),
    "chat": Entry(f"{_HERE}.chat:chat", "Talk with the agent, turn by turn."),
    "sessions": Entry(f"{_HERE}.sessions:sessions", "List what was done, newest first."),
    "show": Entry(f"{_HERE}.sessions:show", "Show a session's steps."),
    "resume": Entry(f"{_HERE}.run:resume", "Go on with a session, or land what it did."),
    "fork": Entry(f"{_HERE}.changes:fork", "Begin a session from another one's events."),
    "undo": Entry(f"{_HERE}.changes:undo", "Take back what a session changed."),
    "export": Entry(f"{_HERE}.exporting:export", "Write sessions as data to learn from."),
}

app = typer.Typer(cls=lazy_group(COMMANDS), no_args_is_help=True, add_completion=False)


@app.callback()
def _agent() -> None:
    """A coding agent that works in a sandbox, within permissions, with every step on record.

    Sessions are kept in `agent` in the data folder; a session is named by its id, or `last`.
    """
