"""What the graph of a repository holds, and how its nodes are named."""

from __future__ import annotations

from typing import Final

import xxhash

from weft.core.limits import MAX_NODE_ID_BYTES
from weft.graph import EdgeType, NodeType
from weft.graph.types import GraphType

PERSON: Final = NodeType("person", properties={"name": str})
FILE: Final = NodeType("file", properties={"path": str, "exists": bool})
TYPES: Final[list[GraphType]] = [
    PERSON,
    FILE,
    NodeType("repository", properties={"tree": str}),
    NodeType("commit", properties={"summary": str, "files": int}),
    NodeType("symbol", properties={"name": str, "kind": str, "file": str, "line": int}),
    EdgeType("authored", source="person", target="commit"),
    EdgeType(
        "changed", source="commit", target="file", properties={"status": str, "added": int, "deleted": int}
    ),
    EdgeType("worked_on", source="person", target="file"),
    EdgeType("defines", source="file", target="symbol"),
    EdgeType("calls", source="symbol", target="symbol"),
]

_HASH_DIGITS: Final = 32


def node_id(text: str) -> str:
    """The text itself where it fits into a node id, else its beginning and a hash of all of it.

    Node ids are object ids too, and `*` is no object: a file of that name is called `./*`.
    """
    if text == "*":
        return "./*"
    encoded = text.encode()
    if len(encoded) <= MAX_NODE_ID_BYTES:
        return text
    kept = encoded[: MAX_NODE_ID_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{kept}~{xxhash.xxh3_128_hexdigest(encoded)}"


def symbol_id(path: str, name: str) -> str:
    """A definition's node id: its file and its qualified name."""
    return node_id(f"{path}::{name}")
