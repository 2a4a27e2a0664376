"""Hops over packed adjacency: a frontier at a time, in the order and with the cuts of `traverse.walk`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weft.core.limits import MAX_EDGES_PER_STEP
from weft.graph.model import Edge, Node
from weft.graph.packed.edges import Edges
from weft.graph.packed.facts import spans
from weft.graph.packed.nodes import Nodes
from weft.graph.packed.rows import Rows
from weft.graph.traverse.explain import Meter
from weft.graph.traverse.plan import PlannedHop, PlannedStep
from weft.graph.traverse.steps import Limit

Numbers = NDArray[np.integer[Any]]


class TooMany(Exception):
    """More edges than a step may meet, behind limits that count them in pages: for the ordinary walk."""


class Links(NamedTuple):
    """Edges as walked, in order: from which place of the frontier, to which node, by which number, and
    whether along their direction."""

    here: Numbers
    there: Numbers
    edge: Numbers
    forward: NDArray[np.bool_]

    def only(self, which: Any) -> Links:
        return Links(*(column[which] for column in self))


class PackedWalk:
    """One run; the meter, if any, is told of each step."""

    def __init__(
        self, nodes: Mapping[str, Nodes], edges: Mapping[str, Edges], now_us: int, meter: Meter | None = None
    ) -> None:
        self.reason = ""
        self.hop: PlannedHop
        self.links: Links
        self._nodes = nodes
        self._edges = edges
        self._now_us = now_us
        self._meter = meter

    def run(self, kind: str, ids: Iterable[str], steps: Sequence[PlannedStep]) -> None:
        """Walk hops without conditions and orders; behind the first there may be limits and `distinct`."""
        here = self._nodes[kind]
        self.origins: Numbers = np.array(here.known(ids), np.int32)
        self.frontier = self.origins
        for number, step in enumerate(steps, 1):
            if self._meter:
                self._meter.entered(number)
            if isinstance(step, PlannedHop):
                self._hop(step, number)
            elif isinstance(step, Limit) and len(self.frontier) > step.limit:
                self._cut(f"step {number} keeps {step.limit:,} nodes")
                self.frontier = self.frontier[: step.limit]
                self.links = self.links.only(np.isin(self.links.there, self.frontier))
        if self._meter:
            self._meter.entered(len(steps) + 1)

    def count(self) -> int:
        """How many distinct nodes the walks end at."""
        return len(self.frontier)

    def nodes(self) -> list[Node]:
        """The distinct nodes where the walks end, with their properties."""
        if self._meter:
            self._meter.walked(len(self.frontier))
        return self._nodes[self.hop.to].built(self.frontier, self._now_us)

    def edges(self) -> list[Edge]:
        """The distinct edges of the last hop: `both` may walk one from either end."""
        edges, links = self._edges[self.hop.edge.name], self.links
        if len(self.hop.reads) > 1:
            links = links.only(np.sort(np.unique(links.edge, return_index=True)[1]))
        origins = self.origins[links.here]
        if links.forward.all():
            sources, targets = origins, links.there
        else:
            sources = np.where(links.forward, origins, links.there)
            targets = np.where(links.forward, links.there, origins)
        return edges.built(sources, targets, links.edge, self._now_us)

    def _hop(self, hop: PlannedHop, number: int) -> None:
        self.hop, self.origins = hop, self.frontier
        edges = self._edges[hop.edge.name]
        links = self._links(edges, hop, number)
        if self._meter:
            self._meter.walked(len(links.there))
        if hop.per_node is not None:
            # Links are in the order of origins, so each one's first is where it would be sorted in.
            rank = np.arange(len(links.here)) - np.searchsorted(links.here, links.here)
            if rank.max(initial=0) >= hop.per_node:
                self._cut(f"step {number} walks {hop.per_node:,} edges per node")
                links = links.only(rank < hop.per_node)
        if hop.limit is not None and len(links.here) > hop.limit:
            self._cut(f"step {number} walks {hop.limit:,} edges")
            links = links.only(slice(hop.limit))
        self.links = links
        alone = len(self.origins) == 1 and len(hop.reads) == 1
        self.frontier = links.there if alone else self._nodes[hop.to].distinct(links.there)

    def _links(self, edges: Edges, hop: PlannedHop, number: int) -> Links:
        ways = [(edges.out if forward else edges.into, forward) for _, forward in hop.reads]
        if sum(rows.number_at(self.origins) for rows, _ in ways) <= MAX_EDGES_PER_STEP:
            parts = [self._walked(edges, rows, forward) for rows, forward in ways]
            return parts[0] if len(parts) == 1 else _joined(parts, self.origins)
        if len(ways) > 1 or hop.limit or hop.per_node or edges.facts.expiries is not None:
            raise TooMany
        self._cut(f"step {number} meets more than {MAX_EDGES_PER_STEP:,} edges")
        ends = ways[0][0].counts[self.origins].cumsum(dtype=np.int64)
        self.origins = self.origins[: np.searchsorted(ends, MAX_EDGES_PER_STEP) + 1]
        return self._walked(edges, *ways[0]).only(slice(MAX_EDGES_PER_STEP))

    def _walked(self, edges: Edges, rows: Rows, forward: bool) -> Links:
        if len(self.origins) == 1:
            places: Any = rows.place(self.origins[0])
            there = rows.there[places]
            here: Numbers = np.zeros(len(there), np.int32)
        else:
            counts = rows.counts[self.origins]
            places = spans(rows.starts[self.origins], counts)
            there = rows.there[places]
            here = np.arange(len(counts)).repeat(counts)
        links = Links(
            here, there, rows.edge[places], (np.ones if forward else np.zeros)(len(there), np.bool_)
        )
        live = edges.facts.live(links.edge, self._now_us)
        return links if live is None else links.only(live)

    def _cut(self, reason: str) -> None:
        self.reason = self.reason or reason


def _joined(parts: Sequence[Links], origins: Numbers) -> Links:
    """Both ways of each node before those of the next; an edge from a node to itself is walked once, out."""
    links = Links(*map(np.concatenate, zip(*parts, strict=True)))
    links = links.only(links.forward | (origins[links.here] != links.there))
    return links.only(np.argsort(links.here, kind="stable"))
