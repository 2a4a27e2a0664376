"""The list of the `weft sandbox` commands."""

from __future__ import annotations

from typing import Final

import typer

from weft.cli.lazy import Entry, lazy_group

_HERE: Final = "weft.cli.sandbox"
COMMANDS: Final = {
    "run": Entry(f"{_HERE}.run:run", "Run a command on a throw-away copy of a workspace."),
    "shell": Entry(f"{_HERE}.shell:shell", "Work in one by hand."),
    "doctor": Entry(f"{_HERE}.doctor:doctor", "What this host can promise, and how to make it promise more."),
    "bench": Entry(f"{_HERE}.bench:bench", "How long sandboxes take here, beside plain processes."),
}

app = typer.Typer(cls=lazy_group(COMMANDS), no_args_is_help=True, add_completion=False)


@app.callback()
def _sandbox() -> None:
    """Sandboxes: commands on a throw-away copy of a workspace, with no way out."""
