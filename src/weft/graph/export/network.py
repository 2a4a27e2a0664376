"""The graph as networkx's, in memory."""

from __future__ import annotations

from typing import Any

from weft.core.extras import require
from weft.graph.export.portion import Portion
from weft.graph.graph import Graph
from weft.graph.model import Edge, Node, NodeRef
from weft.graph.traverse.traversal import Traversal


def to_networkx(graph: Graph, *, walks: Traversal | None = None) -> Any:
    """A `networkx.MultiDiGraph`. Nodes are `NodeRef`s, an edge's key is its type, attributes are the
    properties and `event_time_us`; a node that only edges know of has none. Needs the extra `networkx`."""
    portion = Portion(graph, walks)
    network = require("networkx", "networkx").MultiDiGraph()
    for name in portion.schema.nodes:
        for nodes in portion.nodes(name):
            network.add_nodes_from((node.ref, _attributes(node)) for node in nodes)
    for name, kind in portion.schema.edges.items():
        for edges in portion.edges(name):
            network.add_edges_from(
                (
                    NodeRef(kind.source, edge.source),
                    NodeRef(kind.target, edge.target),
                    name,
                    _attributes(edge),
                )
                for edge in edges
            )
    return network


def _attributes(thing: Node | Edge) -> dict[str, Any]:
    if thing.event_time_us is None:
        return {}
    return {**thing.properties, "event_time_us": thing.event_time_us}
