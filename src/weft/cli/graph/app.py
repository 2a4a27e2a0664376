"""The list of the `weft graph` commands."""

from __future__ import annotations

from typing import Final

import typer

from weft.cli.lazy import Entry, lazy_group

_HERE: Final = "weft.cli.graph"
COMMANDS: Final = {
    "init": Entry(f"{_HERE}.types:init", "Create a graph with the types of a TOML file, or add types."),
    "ingest": Entry(f"{_HERE}.ingest:ingest", "Run a job over sources until they end."),
    "run": Entry(f"{_HERE}.run:run", "Run jobs over growing sources until interrupted."),
    "backfill": Entry(f"{_HERE}.ingest:backfill", "Run a job over its stream's past, at a bounded rate."),
    "traverse": Entry(f"{_HERE}.questions:traverse", "Walk from nodes along edges."),
    "query": Entry(f"{_HERE}.questions:query", "Ask in openCypher."),
    "show": Entry(f"{_HERE}.questions:show", "Show a node with its edges."),
    "watch": Entry(f"{_HERE}.watch:watch", "Follow nodes and edges as they change."),
    "stats": Entry(f"{_HERE}.types:stats", "Count nodes, edges and bytes per type."),
    "sweep": Entry(f"{_HERE}.types:sweep", "Reclaim what is stale, over a cap, expired or long deleted."),
    "dead-letters": Entry(f"{_HERE}.dead_letters:app", "Show and replay events that a job could not take."),
    "export": Entry(f"{_HERE}.exporting:export", "Write Parquet files or GraphML."),
    "bench": Entry(f"{_HERE}.bench:bench", "Time a traversal from nodes drawn at random."),
}

app = typer.Typer(cls=lazy_group(COMMANDS), no_args_is_help=True, add_completion=False)


@app.callback()
def _graph() -> None:
    """A graph fed by event streams: its types, jobs and questions.

    A node is written `account:ann`. The graph is `graph` in the data folder, or --data.
    """
