"""The list of the `weft kv` commands."""

from __future__ import annotations

from typing import Final

import typer

from weft.cli.lazy import Entry, lazy_group

_HERE: Final = "weft.cli.kv"
COMMANDS: Final = {
    "namespaces": Entry(f"{_HERE}.namespaces:namespaces", "List the namespaces and how they are configured."),
    "get": Entry(f"{_HERE}.items:get", "Show the items of records."),
    "scan": Entry(f"{_HERE}.items:scan", "List the records of a namespace."),
    "put": Entry(f"{_HERE}.items:put", "Store items in a record."),
    "delete": Entry(f"{_HERE}.items:delete", "Delete items, or a whole record."),
    "move": Entry(f"{_HERE}.moving:move", "Move a namespace to another store while others write to it."),
    "stats": Entry(f"{_HERE}.namespaces:stats", "Count records, items and bytes of a namespace."),
}

app = typer.Typer(cls=lazy_group(COMMANDS), no_args_is_help=True, add_completion=False)


@app.callback()
def _kv() -> None:
    """The two-level map: namespaces, records, sorted items.

    Bytes are shown as text where they are printable, else as `hex:00ff`; both are understood as input. The
    store is `graph` in the data folder, or --data.
    """
