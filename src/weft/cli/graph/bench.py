"""`weft graph bench`: how long a traversal takes on one's own graph."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
import typer

from weft.cli.graph.options import Data, open_graph
from weft.cli.graph.steps import parse_walk
from weft.cli.output import Json, emit, print_table
from weft.cli.progress import progress
from weft.core.clock import SYSTEM_CLOCK
from weft.core.errors import Invalid, NotFound
from weft.core.randomness import derived_random
from weft.graph import Graph
from weft.graph.traverse.steps import Query

_PERCENTS: Final = (50, 95, 99)


def bench(
    walk: Annotated[
        list[str],
        typer.Argument(
            metavar="TYPE STEP...", help="Like account out:watched; as for traverse.", show_default=False
        ),
    ],
    starts: Annotated[int, typer.Option(min=1, help="From how many nodes, drawn at random.")] = 1_000,
    seed: Annotated[int, typer.Option(help="Which nodes are drawn.")] = 1,
    data: Data = None,
    json: Json = False,
) -> None:
    """Time a traversal from nodes drawn at random, one after the other, in this process.

    Example: weft graph bench account out:watched in:watched
    """
    query = parse_walk(walk)
    if query.ids is not None:
        raise Invalid(f"`{walk[0]}` starts from one node", hint="name only the type: the nodes are drawn")
    with open_graph(data) as graph, progress("bench", starts, "traversals", quiet=json) as advance:
        seconds: list[float] = []
        nodes = 0
        for start in _drawn(graph, query, starts, seed):
            began_s = SYSTEM_CLOCK.monotonic_s()
            nodes += len(graph.traverse(msgspec.structs.replace(query, ids=[start])).nodes())
            seconds.append(SYSTEM_CLOCK.monotonic_s() - began_s)
            advance(len(seconds), len(seconds))
    _tell(sorted(seconds), nodes, json)


def _drawn(graph: Graph, query: Query, number: int, seed: int) -> list[str]:
    found = [node.id for node in graph.traverse(Query(query.type)).nodes()]
    if not found:
        raise NotFound(f"the graph has no {query.type}", hint="ingest something first")
    return derived_random(seed, "bench").choices(found, k=number)


def _tell(seconds: list[float], nodes: int, json: bool) -> None:
    told: dict[str, Any] = {"traversals": len(seconds), "nodes": nodes / len(seconds)}
    for percent in _PERCENTS:
        told[f"p{percent}_us"] = seconds[-(-len(seconds) * percent // 100) - 1] * 1e6
    told["per_s"] = len(seconds) / sum(seconds)
    if json:
        emit(True, told, "")
        return
    rows = [
        ("traversals", f"{len(seconds):,}"),
        ("nodes found by each, mean", f"{told['nodes']:,.1f}"),
        *((f"p{percent}", f"{told[f'p{percent}_us']:,.0f} µs") for percent in _PERCENTS),
        ("traversals per second", f"{told['per_s']:,.0f}"),
    ]
    print_table(("", "figure"), rows)
