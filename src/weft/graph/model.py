"""The words of the property graph: nodes, edges, references to them, and removals.

Identity is (type, id) for a node and (type, source, target) for an edge: writing the same identity again
replaces it, if the event time is later.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec

from weft.core.errors import Invalid
from weft.core.limits import MAX_NODE_ID_BYTES, within


class NodeRef(NamedTuple):
    """Names a node."""

    type: str
    id: str


class EdgeRef(NamedTuple):
    """Names an edge; `source` and `target` are node ids, their types follow from the edge type."""

    type: str
    source: str
    target: str


class Node(msgspec.Struct, frozen=True, gc=False):
    """A node as it is written or read. `event_time_us` is when it became so: on writing None means now (in a
    job: the event's time); on reading None means that the node is known only through its edges."""

    type: str
    id: str
    properties: dict[str, Any] = {}
    event_time_us: int | None = None

    @property
    def ref(self) -> NodeRef:
        return NodeRef(self.type, self.id)


class PartialNode(Node, frozen=True, gc=False):
    """A node of which only some is written: the property groups that `properties` name, each as a whole. The
    other groups stay as they are. Its type has `groups`; None clears a property."""


class Edge(msgspec.Struct, frozen=True, gc=False):
    """An edge as it is written or read; `event_time_us` as for a node."""

    type: str
    source: str
    target: str
    properties: dict[str, Any] = {}
    event_time_us: int | None = None

    @property
    def ref(self) -> EdgeRef:
        return EdgeRef(self.type, self.source, self.target)


class Remove(msgspec.Struct, frozen=True):
    """The end of a node or an edge as of its event time. Removing a node in a stream leaves its edges, which
    are facts of their own."""

    what: NodeRef | EdgeRef
    event_time_us: int | None = None


class Path(msgspec.Struct, frozen=True):
    """One walk: `edges[i]` joins `nodes[i]` and `nodes[i + 1]`, in either direction."""

    nodes: list[Node]
    edges: list[Edge]


_ENCODING: Final = "utf-8"


def id_bytes(node_id: str) -> bytes:
    """A node id as the store holds it; `Invalid` or `LimitExceeded` when it cannot be one."""
    if type(node_id) is not str or not node_id:
        raise Invalid(f"a node id is a string with at least one character, not `{node_id!r}`")
    try:
        encoded = node_id.encode(_ENCODING)
    except UnicodeEncodeError as error:
        raise Invalid(f"the node id `{node_id!a}` is not Unicode text", hint="escape it") from error
    if len(encoded) > MAX_NODE_ID_BYTES:
        within(f"the node id `{node_id[:40]}…`", len(encoded), MAX_NODE_ID_BYTES)
    return encoded


def id_text(encoded: bytes) -> str:
    """The inverse of `id_bytes`."""
    return encoded.decode(_ENCODING)
