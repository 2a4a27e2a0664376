"""What an export holds, page by page: everything in a graph, or what walks passed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from weft.graph import layout
from weft.graph.graph import Graph
from weft.graph.model import Edge, EdgeRef, Node, NodeRef
from weft.graph.traverse.traversal import Traversal
from weft.graph.types import EdgeType
from weft.kv.store import KeyValueStore

Progress = Callable[[int], object]
"""Takes how many nodes and edges have been written so far."""


class Exported(msgspec.Struct, frozen=True):
    """How much was exported, by type.

    An export reads pages of at most 10,000 nodes or edges. Each page is of one moment, and nothing is in two
    pages. Where others write meanwhile, a page shows what they wrote before it was read: what existed from
    beginning to end is there, as it was before or after.
    """

    nodes: dict[str, int]
    edges: dict[str, int]
    one_moment: bool
    """Nothing was written meanwhile, so that the whole export is of one moment (but for what expired)."""
    reason: str = ""
    """What cut the walks short; empty when they are whole."""

    @property
    def complete(self) -> bool:
        return not self.reason


class Portion:
    """The nodes and edges of a graph by type; with `walks`, those on the paths that a traversal finds."""

    def __init__(self, graph: Graph, walks: Traversal | None, progress: Progress | None = None) -> None:
        self.schema = graph.schema
        self._store = graph.store
        self._progress = progress
        self._generation = graph.store.generation()
        self._counts: dict[str, dict[str, int]] = {"nodes": {}, "edges": {}}
        self._walked = None if walks is None else _Walked(walks)

    def nodes(self, name: str) -> Iterator[list[Node]]:
        """Pages of the nodes of a type."""
        if self._walked is None:
            pages = _node_pages(self._store, name)
        else:
            pages = iter([[node for node in self._walked.nodes.values() if node.type == name]])
        for page in pages:
            self._count("nodes", name, len(page))
            yield page

    def edges(self, name: str) -> Iterator[list[Edge]]:
        """Pages of the edges of a type."""
        if self._walked is None:
            pages = _edge_pages(self._store, self.schema.edges[name])
        else:
            pages = iter([[edge for edge in self._walked.edges.values() if edge.type == name]])
        for page in pages:
            self._count("edges", name, len(page))
            yield page

    def exported(self) -> Exported:
        """The report, once all pages are read."""
        unchanged = self._generation is not None and self._generation == self._store.generation()
        reason = "" if self._walked is None else self._walked.reason
        return Exported(self._counts["nodes"], self._counts["edges"], unchanged, reason)

    def _count(self, what: str, name: str, number: int) -> None:
        counts = self._counts[what]
        counts[name] = counts.get(name, 0) + number
        if self._progress is not None:
            self._progress(sum(sum(one.values()) for one in self._counts.values()))


class _Walked:
    """The distinct nodes and edges of all paths."""

    def __init__(self, walks: Traversal) -> None:
        self.nodes: dict[NodeRef, Node] = {}
        self.edges: dict[EdgeRef, Edge] = {}
        after = None
        while True:
            paths = walks.paths(after=after)
            for path in paths:
                known = (node for node in path.nodes if node.event_time_us is not None)
                self.nodes.update((node.ref, node) for node in known)
                self.edges.update((edge.ref, edge) for edge in path.edges)
            after = paths.next
            if after is None:
                break
        self.reason = paths.reason


def _node_pages(store: KeyValueStore, name: str) -> Iterator[list[Node]]:
    namespace = layout.node_namespace(name)
    for records in _record_pages(store, namespace):
        after = None
        while True:
            page = store.get_items(namespace, records, after=after)
            yield [layout.node_from(name, record.record, record.items) for record in page.records]
            after = page.next
            if after is None:
                break


def _edge_pages(store: KeyValueStore, kind: EdgeType) -> Iterator[list[Edge]]:
    name = kind.name
    namespace = layout.pair_namespace(name) if kind.split else layout.out_namespace(name)
    for records in _record_pages(store, namespace):
        after = None
        while True:
            page = store.get_items(namespace, records, after=after)
            yield [
                layout.edge_from(name, *_ends(kind, record.record, item.key), item)
                for record in page.records
                for item in record.items
            ]
            after = page.next
            if after is None:
                break


def _ends(kind: EdgeType, record: bytes, key: bytes) -> tuple[bytes, bytes]:
    return layout.pair_ends(record) if kind.split else (record, key)


def _record_pages(store: KeyValueStore, namespace: str) -> Iterator[list[bytes]]:
    after = None
    while True:
        page = store.scan_records(namespace, after=after)
        if page.records:
            yield page.records
        after = page.next
        if after is None:
            return
