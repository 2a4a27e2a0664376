"""The agent asks the graph, and sees of it what the person for whom it acts may see at that moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from weft.agent.tools.knowledge import Table
from weft.graph import Graph
from weft.graph.traverse.visibility import Visibility


class GraphKnowledge:
    """Fills `agent.tools.knowledge.GraphReader` over one graph.

    `eyes` makes the reader's eyes anew for each query, since one pair of eyes sees one point in time.
    """

    def __init__(self, graph: Graph, eyes: Callable[[], Visibility]) -> None:
        self._graph = graph
        self._eyes = eyes

    @property
    def schema(self) -> str:
        """A line for each type, as a pattern of a query."""
        types = self._graph.schema
        nodes = [f"(:{node.name}{_properties(node.properties)})" for node in types.nodes.values()]
        edges = [
            f"(:{edge.source})-[:{edge.name}{_properties(edge.properties)}]->(:{edge.target})"
            for edge in types.edges.values()
        ]
        return "\n".join([*nodes, *edges])

    def query(self, text: str, parameters: dict[str, Any]) -> Table:
        """The rows of a query in which nodes, edges and paths are plain maps and lists."""
        rows = self._graph.seen_by(self._eyes()).query(text, **parameters)
        plain = [tuple(msgspec.to_builtins(row[column]) for column in rows.columns) for row in rows]
        return Table(rows.columns, plain, rows.reason)


def _properties(properties: Mapping[str, Any]) -> str:
    return f" {{{', '.join(properties)}}}" if properties else ""
