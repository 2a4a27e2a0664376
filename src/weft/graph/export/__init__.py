"""The graph, or what a traversal walked, for other tools: Parquet, Arrow, GraphML, networkx, polars."""

from weft.graph.export.arrow import to_arrow, to_parquet
from weft.graph.export.frames import to_polars
from weft.graph.export.graphml import to_graphml
from weft.graph.export.network import to_networkx
from weft.graph.export.portion import Exported

__all__ = ["Exported", "to_arrow", "to_graphml", "to_networkx", "to_parquet", "to_polars"]
