"""The tool that asks the graph: graph_query; what answers it is given from outside."""

from __future__ import annotations

from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from weft.agent.policy import Access, Resource
from weft.agent.tools.protocol import Observation, ToolContext
from weft.core import limits


class Table(msgspec.Struct, frozen=True):
    """Rows of values under their column names."""

    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    cut_by: str = ""
    """Why these are not all rows; empty if they are."""


class GraphReader(Protocol):
    """A graph that can be asked.

    Promises.

    - A query only reads; one that would write is `Invalid`.
    - Rows hold only what the person for whom the session acts may see now.
    - Work and answer are bounded; what goes wrong on account of the query is a `WeftError`.
    """

    @property
    def schema(self) -> str:
        """The types of nodes and edges in a few lines, for a model."""

    def query(self, text: str, parameters: dict[str, Any]) -> Table:
        """The answer to one query."""


class GraphQueryArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: Annotated[str, Meta(description="read-only openCypher; empty shows the types", max_length=10_000)]
    parameters: Annotated[dict[str, Any], Meta(description="values of $names")] = {}


class GraphQuery:
    name = "graph_query"
    description = "Ask the graph of code, people, commits and sessions in Cypher: MATCH ... RETURN ... LIMIT."
    read_only = True
    arguments = GraphQueryArguments

    def __init__(self, graph: GraphReader) -> None:
        self._graph = graph

    def accesses(self, arguments: GraphQueryArguments) -> list[Access]:
        return [Access("read", Resource("workspace", "."))]

    def run(self, arguments: GraphQueryArguments, context: ToolContext) -> Observation:
        if not arguments.query.strip():
            return Observation(context.outputs.shown(self._graph.schema))
        table = self._graph.query(arguments.query, arguments.parameters)
        rows = [msgspec.json.encode(row, enc_hook=str).decode() for row in table.rows]
        head = f"{', '.join(table.columns)}  [{len(rows):,} rows]"
        text = context.outputs.listed([head, *rows], limits.MAX_TOOL_HITS, "rows")
        return Observation(f"{text}\n[not all rows: {table.cut_by}]" if table.cut_by else text)
