"""What tests of ingestion share: writes that die, a taker of relation tuples, a graph's whole contents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from weft.graph import layout
from weft.graph.graph import Graph
from weft.graph.ingest.embedded import EmbeddedRunner
from weft.graph.ingest.graph_sink import GraphSink
from weft.graph.ingest.job import Job
from weft.graph.ingest.model import RelationWrite
from weft.graph.ingest.protocols import RelationSink, Source
from weft.graph.ingest.report import IngestReport
from weft.graph.model import Edge, EdgeRef, Node, NodeRef
from weft.testing.graph import IDS


class Crash(Exception):
    """The process dies here."""


class Mortal:
    """A store, or a relation sink, that dies at some of its writes: before they happen, or right after."""

    def __init__(self, inner: Any, method: str, deaths: list[str | None]) -> None:
        self._inner = inner
        self._method = method
        self._deaths = deaths

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._dying(found) if name == self._method else found

    def _dying(self, write: Any) -> Any:
        def call(*arguments: Any) -> None:
            death = self._deaths.pop(0) if self._deaths else None
            if death == "before":
                raise Crash
            write(*arguments)
            if death == "after":
                raise Crash

        return call


class Tuples:
    """Takes relation tuples; knows no event time."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def check(self, write: RelationWrite) -> None:
        assert write.text

    def write(self, writes: Sequence[RelationWrite]) -> None:
        for one in writes:
            (self.held.discard if one.delete else self.held.add)(one.text)


def run_until_done(
    graph: Graph,
    job: Job,
    source: Source,
    deaths: list[str | None],
    *,
    relations: RelationSink | None = None,
    **limits: int,
) -> IngestReport:
    """Run again after every crash, as a supervisor would."""
    store: Any = Mortal(graph.store, "mutate", deaths)
    taker: Any = None if relations is None else Mortal(relations, "write", deaths)
    while True:
        try:
            return EmbeddedRunner(clock=graph.clock, **limits).run(
                job, source, GraphSink(store, graph.schema, taker)
            )
        except Crash:
            continue


def contents(graph: Graph) -> tuple[dict[NodeRef, Node], dict[EdgeRef, Edge]]:
    """All nodes and edges of `weft.testing.graph.TYPES`, both directions compared."""
    nodes = {node.ref: node for kind in ("person", "thing") for node in graph.start(kind).nodes()}
    edges: dict[EdgeRef, Edge] = {}
    for kind in ("knows", "likes"):
        forward = {edge.ref: edge for edge in graph.start("person", IDS).out(kind).edges()}
        end = "person" if kind == "knows" else "thing"
        assert forward == {edge.ref: edge for edge in graph.start(end, IDS).in_(kind).edges()}
        if graph.schema.edges[kind].newest:
            _check_newest(graph, kind, end, list(forward.values()))
        if graph.schema.edges[kind].split:
            assert graph.store.stats(layout.pair_namespace(kind)).live_items == len(forward)
        edges |= forward
    return nodes, edges


def _check_newest(graph: Graph, kind: str, end: str, edges: list[Edge]) -> None:
    """The newest few, of every node and in either direction, are those that sorting finds."""
    by = "-event_time_us"
    for node in IDS:
        out = sorted((one for one in edges if one.source == node), key=lambda one: one.target.encode())
        into = sorted((one for one in edges if one.target == node), key=lambda one: one.source.encode())
        for listed, walk in (
            (out, graph.start("person", node).out(kind, order_by=by, per_node=2)),
            (into, graph.start(end, node).in_(kind, order_by=by, per_node=2)),
        ):
            listed.sort(key=lambda one: one.event_time_us or 0, reverse=True)
            assert list(walk.edges()) == listed[:2]
            assert walk.edges().complete == (len(listed) <= 2)
