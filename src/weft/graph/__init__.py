"""A property graph fed by event streams: what is connected to what, seconds after it happened."""

from weft.graph.graph import Graph, GraphView
from weft.graph.ingest.dedup import Dedup
from weft.graph.ingest.job import Job, job
from weft.graph.ingest.model import Event, RelationWrite
from weft.graph.model import Edge, EdgeRef, Node, NodeRef, PartialNode, Path, Remove
from weft.graph.traverse.result import Count, Group, Result
from weft.graph.traverse.visibility import Visibility
from weft.graph.types import EdgeType, NodeType, types_from_toml
from weft.graph.watch import ExpiredCursor, WatchEvent

__all__ = [
    "Count",
    "Dedup",
    "Edge",
    "EdgeRef",
    "EdgeType",
    "Event",
    "ExpiredCursor",
    "Graph",
    "GraphView",
    "Group",
    "Job",
    "Node",
    "NodeRef",
    "NodeType",
    "PartialNode",
    "Path",
    "RelationWrite",
    "Remove",
    "Result",
    "Visibility",
    "WatchEvent",
    "job",
    "types_from_toml",
]
