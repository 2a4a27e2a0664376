"""`weft graph traverse`, `query` and `show`."""

from __future__ import annotations

import enum
import json as json_
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import typer

from weft.cli.graph.options import Data, open_graph
from weft.cli.graph.output import plain, print_items, print_rows, text, when
from weft.cli.graph.steps import parse_walk
from weft.cli.output import Json, emit, note, print_table, say
from weft.core.errors import Invalid, NotFound
from weft.graph import Edge, Graph, Result
from weft.graph.traverse.steps import Direction, Hop, Query

_EDGES_SHOWN: Final = 20


class Answer(enum.StrEnum):
    """What is asked about where a traversal ends."""

    NODES = "nodes"
    EDGES = "edges"
    PATHS = "paths"
    COUNT = "count"
    COUNT_BY = "count_by"


def traverse(
    walk: Annotated[
        list[str],
        typer.Argument(
            metavar="START STEP...",
            help="Like account:ann out:watched in:watched; or a traversal in JSON.",
            show_default=False,
        ),
    ],
    answer: Annotated[Answer, typer.Option(help="What to tell of where the walks end.")] = Answer.NODES,
    by: Annotated[
        str | None, typer.Option(metavar="PROPERTY", help="For count_by; without it, groups are nodes.")
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="For count_by: keep that many groups.")] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    r"""Walk from nodes along edges. Steps are out:EDGE, in:EDGE, both:EDGE (with a condition on the edges:
    out:EDGE:\{JSON}), where:\{JSON}, order_by:PROPERTY, limit:N and distinct.

    Example: weft graph traverse account:ann out:watched in:watched --answer count_by --top 5
    """
    if answer is not Answer.COUNT_BY and (by, top) != (None, None):
        raise Invalid("--by and --top belong to --answer count_by", hint="leave them out, or ask for that")
    query = parse_walk(walk)
    with open_graph(data) as graph:
        traversal = graph.traverse(query)
        if answer is Answer.COUNT:
            count = traversal.count()
            told = f"{count:,}" + (f" or more: {count.reason}" if count.reason else "")
            emit(json, {"count": int(count), "complete": count.complete, "reason": count.reason}, told)
            return
        ask: dict[Answer, Callable[[], Result[Any]]] = {
            Answer.NODES: traversal.nodes,
            Answer.EDGES: traversal.edges,
            Answer.PATHS: traversal.paths,
            Answer.COUNT_BY: lambda: traversal.count_by(by, top=top),
        }
        found = ask[answer]()
    print_items(found.items, found.reason, json)


def query(
    text: Annotated[str, typer.Argument(metavar="QUERY", help="In quotes.", show_default=False)],
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", "-p", metavar="NAME=VALUE", help="For $NAME, in JSON or as text; repeatable."
        ),
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Ask in a read-only subset of openCypher.

    Example: weft graph query 'MATCH (a:account {id: $id})-[:watched]->(t) RETURN t.id' -p id=ann
    """
    parameters = dict(_parameter(one) for one in param or [])
    with open_graph(data) as graph:
        rows = graph.query(text, **parameters)
    print_rows(rows.columns, rows.items, rows.reason, json)


def show(
    node: Annotated[str, typer.Argument(metavar="TYPE:ID", help="Like account:ann.", show_default=False)],
    data: Data = None,
    json: Json = False,
) -> None:
    """Show a node, and the first edges of each type from it and to it.

    Example: weft graph show account:ann
    """
    kind, colon, name = node.partition(":")
    if not colon:
        raise Invalid(f"`{node}` is no node", hint="write TYPE:ID")
    with open_graph(data) as graph:
        found = graph.node(kind, name)
        lists = list(_edges(graph, kind, name))
    edges = [(way, edge) for way, result in lists for edge in result]
    if found is None and not edges:
        raise NotFound(f"there is no {kind} `{name}`")
    cut = [f"{result[0].type} ({way})" for way, result in lists if not result.complete]
    if json:
        told = {"node": plain(found), "edges": [plain(edge) for _, edge in edges], "complete": not cut}
        emit(True, told, "")
        return
    say(node if found is None else f"{node}  {when(found.event_time_us)}")
    for property_, value in found.properties.items() if found else ():
        say(f"  {property_} = {text(value)}")
    if edges:
        print_table(("", "edge", "node", "when", "properties"), [_row(way, edge) for way, edge in edges])
    if cut:
        note(f"the first {_EDGES_SHOWN} of each are shown; there are more of {', '.join(cut)}")


def _edges(graph: Graph, kind: str, name: str) -> Iterator[tuple[Direction, Result[Edge]]]:
    """The first edges of each type, by direction."""
    for edge in graph.schema.edges.values():
        ends: tuple[tuple[Direction, str], ...] = (("out", edge.source), ("in", edge.target))
        for direction, end in ends:
            if end == kind:
                hop = Hop(direction, edge.name, limit=_EDGES_SHOWN)
                yield direction, graph.traverse(Query(kind, [name], [hop])).edges()


def _row(way: str, edge: Edge) -> tuple[str, ...]:
    other = edge.target if way == "out" else edge.source
    told = ", ".join(f"{name}={text(value)}" for name, value in edge.properties.items())
    return ("->" if way == "out" else "<-", edge.type, other, when(edge.event_time_us), told)


def _parameter(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise Invalid(f"`{given}` is no parameter", hint="write --param NAME=VALUE")
    try:
        return name, json_.loads(value)
    except (ValueError, RecursionError):
        return name, value
