"""`weft graph traverse`, `query` and `show`."""

from __future__ import annotations

import enum
import json as json_
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Final

import typer

from weft.cli.graph.options import Data, open_graph
from weft.cli.graph.output import (
    plain,
    print_items,
    print_plan,
    print_profile,
    print_rows,
    print_summary,
    text,
    when,
)
from weft.cli.graph.steps import parse_walk
from weft.cli.output import Json, emit, note, print_table, say
from weft.core.errors import Invalid, NotFound
from weft.graph import Edge, Graph, Result
from weft.graph.ingest.sources.event_time import time_us
from weft.graph.traverse.steps import Direction, Hop, Query

_EDGES_SHOWN: Final = 20


class Answer(enum.StrEnum):
    """What is asked about where a traversal ends, or about its steps."""

    NODES = "nodes"
    EDGES = "edges"
    PATHS = "paths"
    COUNT = "count"
    COUNT_BY = "count_by"
    SUMMARY = "summary"
    EXPLAIN = "explain"
    PROFILE = "profile"


class Things(enum.StrEnum):
    """What a summary may be of."""

    NODES = "nodes"
    EDGES = "edges"


_PAGED: Final = (Answer.NODES, Answer.EDGES, Answer.PATHS)
_BELONGS: Final = {
    "--by": (Answer.COUNT_BY, Answer.SUMMARY),
    "--of": (Answer.SUMMARY,),
    "--top": (Answer.COUNT_BY,),
    "--page": _PAGED,
    "--after": _PAGED,
}


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
        str | None,
        typer.Option(metavar="PROPERTY", help="For summary and count_by; in the latter else by node."),
    ] = None,
    of: Annotated[Things | None, typer.Option(help="For summary: whose property.")] = None,
    top: Annotated[int | None, typer.Option(min=1, help="For count_by: keep that many groups.")] = None,
    page: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N; a token says how to go on.")
    ] = None,
    after: Annotated[str | None, typer.Option(metavar="TOKEN", help="Go on behind the page before.")] = None,
    within: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Stop reading then, with what was found.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="Only edges that were valid then.")
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Walk from nodes along edges. Steps are out:EDGE, in:EDGE, both:EDGE (with a condition on the edges:
    out:EDGE:{JSON}), where:{JSON}, order_by:PROPERTY, limit:N and distinct.

    Example: weft graph traverse account:ann out:watched in:watched --answer count_by --top 5
    """
    _check(answer, {"--by": by, "--of": of, "--top": top, "--page": page, "--after": after})
    query = parse_walk(walk)
    with open_graph(data) as graph:
        traversal = graph.traverse(query)
        if within is not None:
            traversal = traversal.within(within)
        if as_of is not None:
            traversal = traversal.as_of(_instant(as_of))
        match answer:
            case Answer.EXPLAIN:
                print_plan(traversal.explain(), json)
            case Answer.PROFILE:
                print_profile(traversal.profile(), json)
            case Answer.SUMMARY:
                print_summary(traversal.summary(by or "", of=of.value if of else "nodes"), json)
            case Answer.COUNT:
                count = traversal.count()
                told = f"{count:,}" + (f" or more: {count.reason}" if count.reason else "")
                emit(json, {"count": int(count), "complete": count.complete, "reason": count.reason}, told)
            case _:
                ask: dict[Answer, Callable[[], Result[Any]]] = {
                    Answer.NODES: lambda: traversal.nodes(page=page, after=after),
                    Answer.EDGES: lambda: traversal.edges(page=page, after=after),
                    Answer.PATHS: lambda: traversal.paths(page=page, after=after),
                    Answer.COUNT_BY: lambda: traversal.count_by(by, top=top),
                }
                print_items(ask[answer](), json)


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
    print_rows(rows, json)


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


def _check(answer: Answer, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if value is not None and answer not in _BELONGS[name]:
            raise Invalid(f"{name} belongs to --answer {' or '.join(_BELONGS[name])}", hint="leave it out")
    if answer is Answer.SUMMARY and given["--by"] is None:
        raise Invalid("a summary is of a property", hint="name it with --by")


def _instant(text: str) -> int:
    try:
        return time_us({"--as-of": int(text) if text.isdecimal() else text}, "--as-of")
    except Invalid as error:
        raise Invalid(error.message, hint="write it like 2026-01-31T10:00:00Z") from error


def _parameter(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals or not name:
        raise Invalid(f"`{given}` is no parameter", hint="write --param NAME=VALUE")
    try:
        return name, json_.loads(value)
    except (ValueError, RecursionError):
        return name, value
