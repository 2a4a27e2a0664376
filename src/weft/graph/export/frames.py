"""The graph as polars' data frames."""

from __future__ import annotations

from typing import Any

from weft.core.extras import require
from weft.graph.export.arrow import to_arrow
from weft.graph.graph import Graph
from weft.graph.traverse.traversal import Traversal


def to_polars(graph: Graph, *, walks: Traversal | None = None) -> dict[str, Any]:
    """A `polars.DataFrame` per type, in memory, by `node_TYPE` and `edge_TYPE`; otherwise as `to_arrow`.
    Needs the extra `polars`."""
    polars = require("polars", "polars")
    return {
        name: polars.from_arrow(reader.read_all()) for name, reader in to_arrow(graph, walks=walks).items()
    }
