"""GraphML (http://graphml.graphdrawing.org), written page by page."""

from __future__ import annotations

import base64
import math
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final
from xml.sax.saxutils import escape, quoteattr

from weft.core.errors import Invalid
from weft.graph.export.columns import Column, columns
from weft.graph.export.files import whole_file
from weft.graph.export.portion import Exported, Portion, Progress
from weft.graph.graph import Graph
from weft.graph.model import Edge, Node, NodeRef
from weft.graph.traverse.traversal import Traversal
from weft.graph.types import EdgeType, NodeType

_HEAD: Final = """\
<?xml version="1.0" encoding="UTF-8"?>
<graphml xmlns="http://graphml.graphdrawing.org/xmlns"
         xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
         xsi:schemaLocation="http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd">
"""
_TYPES: Final[dict[type, str]] = {
    str: "string",
    int: "long",
    float: "double",
    bool: "boolean",
    bytes: "string",
}
_NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TYPE_KEY: Final = "type"


def to_graphml(
    graph: Graph,
    target: str | Path | BinaryIO,
    *,
    walks: Traversal | None = None,
    progress: Progress | None = None,
) -> Exported:
    """Write one document, to a file that appears once it is whole, or to a binary stream.

    Nodes are numbered (`n1`), as XML's names cannot hold every id; `type`, `id` and the columns of
    `columns.columns` are their data, declared with their types. A node that only edges know of has no event
    time. Bytes are base64. Memory holds one page; the numbers lie in a temporary file. `Invalid` for a text
    with a character that XML cannot hold.
    """
    portion = Portion(graph, walks, progress)
    with closing(_Numbers()) as numbers:
        document = _document(portion, numbers)
        if isinstance(target, str | Path):
            with whole_file(Path(target)) as part, part.open("wb") as stream:
                stream.writelines(text.encode() for text in document)
        else:
            target.writelines(text.encode() for text in document)
    return portion.exported()


class _Numbers:
    """A number for each node, from 1, in a temporary database that stays in memory while it is small."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.execute(
            "CREATE TABLE nodes (number INTEGER PRIMARY KEY, type TEXT, id TEXT, UNIQUE (type, id))"
        )
        self._database.execute("BEGIN")

    def number(self, ref: NodeRef) -> tuple[int, bool]:
        """The node's number, and whether it is new."""
        done = self._database.execute("INSERT OR IGNORE INTO nodes (type, id) VALUES (?, ?)", ref)
        if done.rowcount and done.lastrowid is not None:
            return done.lastrowid, True
        [number] = self._database.execute(
            "SELECT number FROM nodes WHERE type = ? AND id = ?", ref
        ).fetchone()
        return int(number), False

    def close(self) -> None:
        self._database.close()


class _Kind:
    """How the elements of one type are written."""

    def __init__(self, kind: NodeType | EdgeType, number: int) -> None:
        self.kind = kind
        self.element = "edge" if isinstance(kind, EdgeType) else "node"
        ends = ("source", "target") if isinstance(kind, EdgeType) else ()
        self._columns = [
            (f"{self.element[0]}{number}.{at}", column)
            for at, column in enumerate(columns(kind, taken=(_TYPE_KEY,)), 1)
            if column.name not in ends
        ]
        self._type = f'<data key="{self.element}.{_TYPE_KEY}">{kind.name}</data>'

    def keys(self) -> Iterator[str]:
        for key, column in self._columns:
            yield _key(key, self.element, self._checked(column.name), _TYPES[column.kind])

    def data(self, page: Sequence[Node] | Sequence[Edge]) -> Iterator[str]:
        """The data elements of each."""
        shown = [
            [self._shown(key, column, value) for value in column.values(page)]
            for key, column in self._columns
        ]
        return (self._type + "".join(row) for row in zip(*shown, strict=True))

    def _shown(self, key: str, column: Column, value: Any) -> str:
        if value is None:
            return ""
        text = _FORMS[column.kind](value)
        return f'<data key="{key}">{escape(self._checked(text), {chr(13): "&#13;"})}</data>'

    def _checked(self, text: str) -> str:
        if found := _NOT_XML.search(text):
            raise Invalid(
                f"{self.kind.label} has a text with U+{ord(found[0]):04X}, which XML cannot hold: "
                f"`{text!a:.80}`",
                hint="export to Parquet",
            )
        return text


def _document(portion: Portion, numbers: _Numbers) -> Iterator[str]:
    nodes = {name: _Kind(kind, at) for at, (name, kind) in enumerate(portion.schema.nodes.items(), 1)}
    edges = {name: _Kind(kind, at) for at, (name, kind) in enumerate(portion.schema.edges.items(), 1)}
    yield _HEAD
    for element in ("node", "edge"):
        yield _key(f"{element}.{_TYPE_KEY}", element, _TYPE_KEY, "string")
    for one in (*nodes.values(), *edges.values()):
        yield from one.keys()
    yield '<graph edgedefault="directed">\n'
    for name, writer in nodes.items():
        for page in portion.nodes(name):
            yield from _nodes(page, writer, numbers)
    for name, writer in edges.items():
        for links in portion.edges(name):
            yield from _edges(links, writer, nodes, numbers)
    yield "</graph>\n</graphml>\n"


def _nodes(page: Sequence[Node], writer: _Kind, numbers: _Numbers) -> Iterator[str]:
    for node, data in zip(page, writer.data(page), strict=True):
        number, _ = numbers.number(node.ref)
        yield f'<node id="n{number}">{data}</node>\n'


def _edges(page: Sequence[Edge], writer: _Kind, nodes: dict[str, _Kind], numbers: _Numbers) -> Iterator[str]:
    """The edges, each behind those of its ends that no one has written yet."""
    kind = writer.kind
    assert isinstance(kind, EdgeType)
    for edge, data in zip(page, writer.data(page), strict=True):
        ends = []
        for ref in (NodeRef(kind.source, edge.source), NodeRef(kind.target, edge.target)):
            number, new = numbers.number(ref)
            ends.append(number)
            if new:
                [known] = nodes[ref.type].data([Node(*ref)])
                yield f'<node id="n{number}">{known}</node>\n'
        yield f'<edge source="n{ends[0]}" target="n{ends[1]}">{data}</edge>\n'


def _key(key: str, element: str, name: str, kind: str) -> str:
    return f'<key id="{key}" for="{element}" attr.name={quoteattr(name)} attr.type="{kind}"/>\n'


def _double(value: float) -> str:
    return repr(value) if math.isfinite(value) else "INF" if value > 0 else "-INF"


_FORMS: Final[dict[type, Callable[[Any], str]]] = {
    str: str,
    int: str,
    float: _double,
    bool: lambda value: "true" if value else "false",
    bytes: lambda value: base64.b64encode(value).decode(),
}
