"""`weft graph init` and `stats`: the types, and how much there is of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.graph.options import Data, open_graph
from weft.cli.inputs import read_text, shown
from weft.cli.output import Json, emit, print_table
from weft.core.errors import Invalid
from weft.graph import layout, types_from_toml
from weft.graph.types import EdgeType, GraphType, NodeType
from weft.kv.store import KeyValueStore


def init(
    file: Annotated[
        Path, typer.Argument(metavar="TYPES.toml", help=r"Tables \[node.NAME] and \[edge.NAME].")
    ],
    data: Data = None,
    json: Json = False,
) -> None:
    """Create a graph with these types; where there is one, add types and properties to it.

    Example: weft graph init types.toml
    """
    try:
        types = types_from_toml(read_text(file))
    except Invalid as error:
        raise Invalid(f"`{shown(file)}`: {error.message}", hint=error.hint) from error
    with open_graph(data, types, create=True) as graph:
        kinds = graph.schema.types()
    if json:
        for kind in kinds:
            emit(True, _fields(kind), "")
    else:
        print_table(("type", "from", "to", "properties"), [_row(kind) for kind in kinds])


def stats(data: Data = None, json: Json = False) -> None:
    """Count what each type has, by reading all of it. A removed or expired thing takes space for a while.

    Example: weft graph stats
    """
    with open_graph(data) as graph:
        counts = [(kind, *_counted(graph.store, kind)) for kind in graph.schema.types()]
    if json:
        for kind, number, size in counts:
            emit(True, {**_name(kind), "count": number, "bytes": size}, "")
        return
    rows = [(_label(kind), f"{number:,}", f"{size:,}") for kind, number, size in counts]
    print_table(("type", "count", "bytes"), rows)


def sweep(data: Data = None, json: Json = False) -> None:
    """Reclaim what types in the order of time no longer need, edges over a cap, and what has expired or was
    deleted long ago. Others may read and write meanwhile.

    Example: weft graph sweep
    """
    with open_graph(data) as graph:
        reclaimed = graph.sweep()
    emit(json, {"reclaimed": reclaimed}, f"{reclaimed:,} reclaimed")


def _counted(store: KeyValueStore, kind: GraphType) -> tuple[int, int]:
    """How many there are, and their bytes: an edge lies in two adjacency lists at least."""
    if isinstance(kind, EdgeType):
        out = store.stats(layout.out_namespace(kind.name))
        others = [name for name in layout.edge_namespaces(kind) if name != layout.out_namespace(kind.name)]
        return out.live_items, out.stored_bytes + sum(store.stats(name).stored_bytes for name in others)
    nodes = store.stats(layout.node_namespace(kind.name))
    return nodes.records, nodes.stored_bytes


def _name(kind: GraphType) -> dict[str, str]:
    return {"kind": "edge" if isinstance(kind, EdgeType) else "node", "type": kind.name}


def _label(kind: GraphType) -> str:
    return f"{_name(kind)['kind']} {kind.name}"


def _fields(kind: GraphType) -> dict[str, object]:
    ends = {"source": kind.source, "target": kind.target} if isinstance(kind, EdgeType) else {}
    return {
        **_name(kind),
        **ends,
        **kind.layout,
        "properties": dict(kind.properties),
        "unknown": kind.unknown,
        "ttl_s": kind.ttl_s,
    }


def _row(kind: GraphType) -> tuple[str, str, str, str]:
    ends = (kind.source, kind.target) if isinstance(kind, EdgeType) else ("", "")
    group_of = kind.group_of if isinstance(kind, NodeType) else {}
    properties = [
        f"{name}: {python}" + (f" in {group_of[name]}" if name in group_of else "")
        for name, python in kind.properties.items()
    ]
    if kind.unknown == "keep":
        properties.append("others")
    properties += [
        name if value is True else f"{name} {value}"
        for name, value in kind.layout.items()
        if name != "groups"
    ]
    return (_label(kind), *ends, ", ".join(properties))
