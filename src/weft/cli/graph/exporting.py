"""`weft graph export`: Parquet files, or GraphML."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from weft.cli.graph.options import Data, open_graph
from weft.cli.graph.steps import parse_walk
from weft.cli.output import Json, emit, note
from weft.cli.progress import progress
from weft.graph.export import Exported, to_graphml, to_parquet

_STDOUT: Final = "-"


def export(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="FILE.graphml, a new folder for Parquet files, or - for GraphML on standard output.",
            show_default=False,
        ),
    ],
    walk: Annotated[
        list[str] | None,
        typer.Argument(metavar="[START STEP...]", help="Only what these walks pass, as for traverse."),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Write the graph, or what a traversal walks, to a file or folder that appears once it is whole.

    Example: weft graph export plays.graphml account:ann out:watched
    """
    with open_graph(data) as graph, progress("export", None, "nodes and edges", quiet=json) as advance:
        walks = graph.traverse(parse_walk(walk)) if walk else None

        def told(count: int) -> None:
            advance(0, count)

        if target == _STDOUT:
            to_graphml(graph, sys.stdout.buffer, walks=walks, progress=told)
            return
        if target.endswith(".graphml"):
            done = to_graphml(graph, target, walks=walks, progress=told)
        else:
            done = to_parquet(graph, target, walks=walks, progress=told)
    _show(done, json)


def _show(done: Exported, json: bool) -> None:
    nodes, edges = sum(done.nodes.values()), sum(done.edges.values())
    fields = {
        "nodes": done.nodes,
        "edges": done.edges,
        "one_moment": done.one_moment,
        "complete": done.complete,
        "reason": done.reason,
    }
    emit(json, fields, f"{nodes:,} nodes, {edges:,} edges")
    if not json and not done.one_moment:
        note("others wrote meanwhile: each page is of its own moment")
    if not json and done.reason:
        note(f"not everything: {done.reason}")
