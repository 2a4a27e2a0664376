"""Breadth first, set at a time: a generator that asks for reads and folds the answers; it does no I/O.

The state is a chain of layers. A layer holds the distinct nodes that one hop reached, in how many walks each,
and the links that led there; so a node is expanded once however many walks meet in it, and the paths are all
chains of links. A hop asks for one read, page by page, whatever the number of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from weft.core.limits import MAX_EDGES_PER_STEP
from weft.graph import layout
from weft.graph.model import Edge, Node, id_text
from weft.graph.traverse.plan import Order, Plan, PlannedHop, PlannedStep, PlannedWhere
from weft.graph.traverse.reads import Asking, Link, Read, Reader, Scan
from weft.graph.traverse.steps import Distinct, Limit
from weft.graph.traverse.where import sort_key
from weft.kv.model import Item

T = TypeVar("T")


class Chain(NamedTuple):
    """A walk, or the end of one: its first node, and its links from there."""

    start: bytes
    links: tuple[Link, ...]

    def node(self, depth: int) -> bytes:
        return self.links[depth - 1].there if depth else self.start


@dataclass(slots=True)
class Layer:
    type: str
    walks: dict[bytes, int]
    """Node ids in order, and in how many walks each was reached."""
    hop: PlannedHop | None = None
    links: list[Link] = field(default_factory=list)
    distinct: bool = False

    def keep(self, nodes: Collection[bytes]) -> None:
        """Only these nodes, in their order; links keep theirs."""
        self.walks = {node: self.walks[node] for node in nodes}
        self.links = [link for link in self.links if link.there in self.walks]

    def order(self, nodes: Sequence[bytes]) -> None:
        """The nodes, and the links to them, in this order."""
        place = {node: index for index, node in enumerate(nodes)}
        self.keep(nodes)
        self.links.sort(key=lambda link: place[link.there])

    def edge(self, link: Link) -> Edge:
        assert self.hop is not None
        source, target = (link.here, link.there) if link.forward else (link.there, link.here)
        return layout.edge_from(self.hop.edge.name, source, target, link.item)


class Walk:
    """One run of a plan. `guarded` says that nodes may be hidden."""

    def __init__(self, plan: Plan, *, guarded: bool) -> None:
        self.layers: list[Layer] = []
        self.reason = ""
        self._plan = plan
        self._reader = Reader(guarded=guarded)

    @property
    def last(self) -> Layer:
        return self.layers[-1]

    def cut(self, reason: str) -> None:
        self.reason = self.reason or reason

    def run(self) -> Asking[None]:
        """Fill `layers`."""
        steps = self._plan.steps
        self.layers = [(yield from self._start(steps[0] if steps else None))]
        for number, step in enumerate(steps, 1):
            yield from self._step(step, number)
        if self._plan.ids is not None and self.last.hop is None:
            # Nothing but the request says that these nodes exist.
            self.last.keep(list((yield from self.facts(self.last))))

    def nodes(self, layer: Layer, ids: Iterable[bytes]) -> Asking[list[Node]]:
        """The nodes of a layer with their properties; a node that only edges know of has none."""
        wanted = list(ids)
        yield from self._reader.load(layer.type, wanted)
        return [self._reader.nodes[layer.type, node] or Node(layer.type, id_text(node)) for node in wanted]

    def facts(self, layer: Layer) -> Asking[dict[bytes, dict[str, Any]]]:
        """What conditions and orders may ask of the layer's nodes; nodes without a record are left out."""
        yield from self._reader.load(layer.type, list(layer.walks))
        found = ((node, self._reader.nodes[layer.type, node]) for node in layer.walks)
        return {
            node: {**known.properties, "id": known.id, "event_time_us": known.event_time_us}
            for node, known in found
            if known is not None
        }

    def paths(self) -> Iterator[Chain]:
        """Each walk, ordered by the node at its end."""
        last_distinct = max((at for at, layer in enumerate(self.layers) if layer.distinct), default=-1)
        into = [_links_by_end(layer, first=at <= last_distinct) for at, layer in enumerate(self.layers)]
        for end in self.last.walks:
            pending = [Chain(end, ())]
            while pending:
                chain = pending.pop()
                depth = len(self.layers) - 1 - len(chain.links)
                if not depth:
                    yield chain
                    continue
                links = reversed(into[depth].get(chain.start, []))
                pending.extend(Chain(link.here, (link, *chain.links)) for link in links)

    def _start(self, first: PlannedStep | None) -> Asking[Layer]:
        if self._plan.ids is not None:
            ids = yield from self._reader.visible(self._plan.type, self._plan.ids)
            return Layer(self._plan.type, dict.fromkeys(ids, 1))
        enough = min(first.limit, MAX_EDGES_PER_STEP) if isinstance(first, Limit) else MAX_EDGES_PER_STEP
        found: list[bytes] = []
        after = None
        while len(found) <= enough:
            scan = Scan(layout.node_namespace(self._plan.type), after)
            ids, after = yield from self._reader.ids(scan, self._plan.type)
            found += ids
            if after is None:
                break
        if len(found) > MAX_EDGES_PER_STEP:
            self.cut(f"the start set has more than {MAX_EDGES_PER_STEP:,} nodes")
            del found[MAX_EDGES_PER_STEP:]
        return Layer(self._plan.type, dict.fromkeys(found, 1))

    def _step(self, step: PlannedStep, number: int) -> Asking[None]:
        layer = self.last
        match step:
            case PlannedHop():
                self.layers.append((yield from self._hop(layer, step, number)))
            case PlannedWhere():
                known = yield from self.facts(layer)
                layer.keep([node for node, facts in known.items() if step.test(facts)])
            case Order():
                known = yield from self.facts(layer)
                layer.order(_ordered(list(layer.walks), step, lambda node: known.get(node, {})))
            case Limit():
                if len(layer.walks) > step.limit:
                    self.cut(f"step {number} keeps {step.limit:,} nodes")
                    layer.keep(list(layer.walks)[: step.limit])
            case Distinct():
                layer.walks = dict.fromkeys(layer.walks, 1)
                layer.distinct = True

    def _hop(self, layer: Layer, hop: PlannedHop, number: int) -> Asking[Layer]:
        links = yield from self._links(layer, hop, number)
        if len(hop.reads) > 1:
            place = {node: index for index, node in enumerate(layer.walks)}
            links.sort(key=lambda link: place[link.here])
        if hop.order is not None:
            facts = {id(link): layout.properties_of(link.item) | _time(link.item) for link in links}
            links = _ordered(links, hop.order, lambda link: facts[id(link)])
        if hop.per_node is not None:
            links = self._first_per_node(links, hop.per_node, number)
        if hop.limit is not None and len(links) > hop.limit:
            self.cut(f"step {number} walks {hop.limit:,} edges")
            del links[hop.limit :]
        walks: dict[bytes, int] = {}
        for link in links:
            walks[link.there] = walks.get(link.there, 0) + layer.walks[link.here]
        return Layer(hop.to, walks, hop, links)

    def _links(self, layer: Layer, hop: PlannedHop, number: int) -> Asking[list[Link]]:
        """The links that satisfy the condition and lead to a visible node, as many as the limits need."""
        streaming = hop.order is None and len(hop.reads) == 1
        enough = MAX_EDGES_PER_STEP
        if streaming and hop.per_node is None and hop.limit is not None:
            enough = min(hop.limit, enough)
        pushed = hop.per_node if streaming and hop.test is None and not self._reader.guarded else None
        links: list[Link] = []
        for namespace, forward in hop.reads if layer.walks else ():
            after = None
            while len(links) <= enough:
                read = Read(namespace, list(layer.walks), pushed and pushed + 1, after)
                keep = _keep(hop, loops=forward or len(hop.reads) == 1)
                found, after = yield from self._reader.links(read, forward, hop.to, keep)
                links += found
                if after is None:
                    break
        if len(links) > MAX_EDGES_PER_STEP:
            self.cut(f"step {number} meets more than {MAX_EDGES_PER_STEP:,} edges")
            del links[MAX_EDGES_PER_STEP:]
        return links

    def _first_per_node(self, links: list[Link], per_node: int, number: int) -> list[Link]:
        taken: dict[bytes, int] = {}
        first = []
        for link in links:
            count = taken[link.here] = taken.get(link.here, 0) + 1
            if count <= per_node:
                first.append(link)
        if len(first) < len(links):
            self.cut(f"step {number} walks {per_node:,} edges per node")
        return first


def _keep(hop: PlannedHop, *, loops: bool) -> Callable[[Link], bool] | None:
    """Which links a read of the hop takes: without loops where the other direction's list has them too."""
    test = hop.test
    if test is None:
        return None if loops else lambda link: link.here != link.there
    return lambda link: (
        test(layout.properties_of(link.item) | _time(link.item)) and (loops or link.here != link.there)
    )


def _time(item: Item) -> dict[str, Any]:
    return {"event_time_us": item.version.event_time_us}


def _ordered(things: list[T], order: Order, facts: Any) -> list[T]:
    """Present values first either way; a stable sort, so that ties keep their order."""
    present = [thing for thing in things if facts(thing).get(order.by) is not None]
    absent = [thing for thing in things if facts(thing).get(order.by) is None]
    present.sort(key=lambda thing: sort_key(facts(thing)[order.by]), reverse=order.descending)
    return present + absent


def _links_by_end(layer: Layer, *, first: bool) -> dict[bytes, list[Link]]:
    """The links into each node; only the first where a node, from some layer on, counts once."""
    ends: dict[bytes, list[Link]] = {}
    for link in layer.links:
        into = ends.setdefault(link.there, [])
        if not (first and into):
            into.append(link)
    return ends
