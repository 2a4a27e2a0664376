"""The list of the `weft authz` commands."""

from __future__ import annotations

from typing import Final

import typer

from weft.cli.lazy import Entry, lazy_group

_HERE: Final = "weft.cli.authz"
COMMANDS: Final = {
    "schema": Entry(f"{_HERE}.schema:app", "Write, read, compare and check schemas."),
    "write": Entry(f"{_HERE}.write:write", "Touch, create and delete relation tuples, all or nothing."),
    "read": Entry(f"{_HERE}.lists:read", "List stored tuples by object, relation or user."),
    "check": Entry(f"{_HERE}.check:check", "Ask whether a user may; the answer is the exit code."),
    "explain": Entry(f"{_HERE}.check:explain", "Say why a user may or may not."),
    "expand": Entry(f"{_HERE}.expand:expand", "Show the tree of usersets behind a relation."),
    "list-objects": Entry(f"{_HERE}.lists:list_objects", "List what a user may do something on."),
    "list-subjects": Entry(f"{_HERE}.lists:list_subjects", "List who may do something on an object."),
    "list-permissions": Entry(f"{_HERE}.lists:list_permissions", "List what a user may do on an object."),
    "watch": Entry(f"{_HERE}.watch:watch", "Follow changes, in the order of commits."),
    "import": Entry(f"{_HERE}.importing:import_", "Write tuples from a file with one on each line."),
    "export": Entry(f"{_HERE}.exporting:export", "Write all tuples of one moment to a file."),
    "stats": Entry(f"{_HERE}.stats:stats", "Count tuples per relation."),
    "test": Entry(
        f"{_HERE}.testing.command:run_files", "Run the assertions of SpiceDB and OpenFGA test files."
    ),
}

app = typer.Typer(cls=lazy_group(COMMANDS), no_args_is_help=True, add_completion=False)


@app.callback()
def _authz() -> None:
    """Permissions: schemas, relation tuples, and every question about them.

    Tuples are written `doc:1#viewer@user:ann`. The store is `authz` in the data folder, or --data.
    """
