"""Hops over packed adjacency: a frontier at a time, in the order and with the cuts of `traverse.walk`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from weft.core.limits import MAX_EDGES_PER_STEP
from weft.graph.model import Edge, Node
from weft.graph.packed.edges import Edges
from weft.graph.packed.facts import Numbers
from weft.graph.packed.nodes import Nodes
from weft.graph.traverse.explain import Meter
from weft.graph.traverse.plan import PlannedHop, PlannedStep
from weft.graph.traverse.steps import Limit


class TooMany(Exception):
    """More edges than a step may meet, where it takes the ordinary walk to tell how to go on, or which."""


class Links(NamedTuple):
    """Edges as walked, in order: from which place of the frontier, to which node, and by which number;
    and whether along their direction: all of them, or where ways are mixed, each."""

    here: Numbers
    there: Numbers
    edge: Numbers
    forward: bool | NDArray[np.bool_]

    def only(self, which: Any) -> Links:
        here, there, edge, forward = self
        forward = forward if isinstance(forward, bool) else forward[which]
        return Links(here[which], there[which], edge[which], forward)


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
        here, there, forward = self.origins.take(links.here), links.there, links.forward
        if not isinstance(forward, bool):
            here, there = np.where(forward, here, there), np.where(forward, there, here)
        elif not forward:
            here, there = there, here
        return edges.built(here, there, links.edge, self._now_us)

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
        links = [self._walked(edges, forward, MAX_EDGES_PER_STEP) for _, forward in hop.reads]
        if len(links) == 1:
            return links[0] or self._first(edges, hop, number)
        joined = _joined(links, self.origins)
        if len(joined.here) > MAX_EDGES_PER_STEP:
            raise TooMany
        return joined

    def _walked(self, edges: Edges, forward: bool, at_most: int) -> Links | None:
        """The edges of the origins one way; None where there are more than `at_most`."""
        found = (edges.out if forward else edges.into).lists(self.origins, at_most)
        if found is None:
            return None
        links = Links(*found, forward)
        live = edges.facts.live(links.edge, self._now_us)
        return links if live is None else links.only(live)

    def _first(self, edges: Edges, hop: PlannedHop, number: int) -> Links:
        """As many edges as a step may meet, the first ones, where there are more."""
        forward = hop.reads[0][1]
        if len(self.origins) == 1 or hop.limit or hop.per_node or edges.facts.expiries is not None:
            raise TooMany
        self._cut(f"step {number} meets more than {MAX_EDGES_PER_STEP:,} edges")
        counts = (edges.out if forward else edges.into).counts.take(self.origins)
        enough = np.searchsorted(counts.cumsum(dtype=np.int64), MAX_EDGES_PER_STEP) + 1
        self.origins = self.origins[:enough]
        links = self._walked(edges, forward, int(counts[:enough].sum(dtype=np.int64)))
        assert links is not None
        return links.only(slice(MAX_EDGES_PER_STEP))

    def _cut(self, reason: str) -> None:
        self.reason = self.reason or reason


def _joined(parts: Sequence[Links | None], origins: Numbers) -> Links:
    """Both ways of each node before those of the next; an edge from a node to itself is walked once, out."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        raise TooMany
    here, there, edge = (np.concatenate(column) for column in zip(*(part[:3] for part in known), strict=True))
    forward = np.concatenate([np.full(len(part.here), part.forward) for part in known])
    links = Links(here, there, edge, forward)
    links = links.only(forward | (origins[here] != there))
    return links.only(np.argsort(links.here, kind="stable"))
