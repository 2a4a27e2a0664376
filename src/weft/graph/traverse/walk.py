"""Breadth first, set at a time: a generator that asks for reads and folds the answers; it does no I/O.

The state is a chain of layers. A layer holds the distinct nodes that one hop reached, in how many walks each,
and the links that led there; so a node is expanded once however many walks meet in it, and the paths are all
chains of links. A hop asks for one read, page by page, whatever the number of nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from weft.core.limits import MAX_EDGES_PER_STEP
from weft.graph import layout
from weft.graph.model import Edge, Node, id_text
from weft.graph.traverse.hops import edge_facts, keep_of, newest_links
from weft.graph.traverse.plan import Order, Plan, PlannedHop, PlannedStep, PlannedWhere
from weft.graph.traverse.reads import Asking, Link, Read, Reader, Scan
from weft.graph.traverse.steps import Distinct, Limit
from weft.graph.traverse.where import sort_key

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

    def facts(self, link: Link) -> dict[str, Any]:
        """What conditions and orders may ask of an edge."""
        return edge_facts(link.item)

    def distinct_links(self) -> list[Link]:
        """The links, one for each edge: `both` may walk an edge from either end."""
        if self.hop is None or len(self.hop.reads) == 1:
            return self.links
        first: dict[tuple[bytes, bytes], Link] = {}
        for link in self.links:
            first.setdefault((link.here, link.there) if link.forward else (link.there, link.here), link)
        return list(first.values())

    def edge(self, link: Link) -> Edge:
        assert self.hop is not None
        source, target = (link.here, link.there) if link.forward else (link.there, link.here)
        return layout.edge_from(self.hop.edge.name, source, target, link.item)


class Wanted(NamedTuple):
    """Which part of the last step's answer will be used, where it can be read alone: what lies `behind` a
    key, and only so many nodes, or `edges`, that one more tells of the rest."""

    behind: bytes | None = None
    enough: int | None = None
    edges: bool = False


EVERYTHING: Final = Wanted()


class Walk:
    """One run of a plan. `guarded` says that nodes may be hidden; `late` tells when to stop reading, and
    `entered` is told the number of each step as it begins."""

    def __init__(
        self,
        plan: Plan,
        *,
        guarded: bool,
        late: Callable[[], bool] | None = None,
        wanted: Wanted = EVERYTHING,
        entered: Callable[[int], None] | None = None,
    ) -> None:
        self.layers: list[Layer] = []
        self.reason = ""
        self.origin: bytes | None = None
        """The node that the last step starts from, if it is one, and its edges come in the order of keys:
        then a walk can begin behind any of them."""
        self.more = False
        """Whether the last step had more edges than it read."""
        self.beginning = True
        """Whether what was found is the beginning of what would have been found without a stop, or a cut on
        the way."""
        self._plan = plan
        self._wanted = wanted
        self._entered = entered or _nothing
        self._reader = Reader(guarded=guarded, late=late)

    @property
    def last(self) -> Layer:
        return self.layers[-1]

    def cut(self, reason: str) -> None:
        self.reason = self.reason or reason

    @property
    def stopped(self) -> bool:
        """Whether something was left out because it got late."""
        return self._reader.stopped

    def run(self) -> Asking[None]:
        """Fill `layers`."""
        steps = self._plan.steps
        self._entered(0)
        self.layers = [(yield from self._start(steps[0] if steps else None))]
        for number, step in enumerate(steps, 1):
            self._entered(number)
            yield from self._step(step, number)
        if self._plan.ids is not None and self.last.hop is None:
            # Nothing but the request says that these nodes exist.
            self.last.keep(list((yield from self.facts(self.last))))
        self._entered(len(steps) + 1)

    def nodes(self, layer: Layer, ids: Iterable[bytes]) -> Asking[list[Node]]:
        """The nodes of a layer with their properties; a node that only edges know of has none. When it gets
        late, only the first of them."""
        wanted, nodes, kind = list(ids), self._reader.nodes, layer.type
        yield from self._reader.load(kind, wanted)
        return [nodes[kind, node] or Node(kind, id_text(node)) for node in wanted if (kind, node) in nodes]

    def whole(self, layer: Layer, links: list[Link]) -> Asking[list[Link]]:
        """Links of a layer with the properties of their edges. When it gets late, only the first of them."""
        if layer.hop is None or not layer.hop.edge.split:
            return links
        return (yield from self._reader.whole(layer.hop.edge, links))

    def facts(self, layer: Layer) -> Asking[dict[bytes, dict[str, Any]]]:
        """What conditions and orders may ask of the layer's nodes; nodes without a record are left out."""
        yield from self._reader.load(layer.type, list(layer.walks))
        self.beginning = self.beginning and not self.stopped
        found = ((node, self._reader.nodes.get((layer.type, node))) for node in layer.walks)
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
            if after is None or self._stop():
                break
        if len(found) > MAX_EDGES_PER_STEP:
            self.cut(f"the start set has more than {MAX_EDGES_PER_STEP:,} nodes")
            del found[MAX_EDGES_PER_STEP:]
        return Layer(self._plan.type, dict.fromkeys(found, 1))

    def _stop(self) -> bool:
        """Whether to read no more, before the answer's last part."""
        if self._reader.stop():
            self.beginning = False
        return self._reader.stopped

    def _step(self, step: PlannedStep, number: int) -> Asking[None]:
        layer = self.last
        match step:
            case PlannedHop():
                self.layers.append((yield from self._hop(layer, step, number)))
            case PlannedWhere():
                known = {} if layer.walks and self._stop() else (yield from self.facts(layer))
                layer.keep([node for node, facts in known.items() if step.test(facts)])
            case Order():
                if layer.walks and self._stop():
                    return
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
            facts = {id(link): edge_facts(link.item) for link in links}
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
        if not layer.walks or self._stop():
            return []
        if hop.newest:
            return self._bounded((yield from newest_links(self._reader, list(layer.walks), hop)), number)
        streaming = hop.order is None and len(hop.reads) == 1
        alone = len(layer.walks) == 1
        last = number == len(self._plan.steps) and streaming and hop.per_node is None
        if last and alone and hop.limit is None:
            self.origin = next(iter(layer.walks))
        enough = self._enough(hop, streaming=streaming, alone=alone, last=last)
        pushed = None
        if streaming and hop.test is None and not self._reader.guarded:
            pushed = min(enough, hop.per_node or enough) + 1
        whole = hop.edge if hop.asks else None
        behind = self._wanted.behind if self.origin is not None else None
        nodes = list(layer.walks)
        links: list[Link] = []
        for namespace, forward in hop.reads:
            keep = keep_of(hop, loops=forward or len(hop.reads) == 1)
            after = None
            while len(links) <= enough:
                read = Read(namespace, nodes, pushed, after, behind)
                found, after = yield from self._reader.links(read, forward, hop.to, keep, whole)
                links += found
                if after is None:
                    break
                if len(links) <= enough and self._reader.stop():
                    self.beginning = self.beginning and last
                    return links
        return self._bounded(links, number)

    def _bounded(self, links: list[Link], number: int) -> list[Link]:
        self.beginning = self.beginning and not self.stopped
        if len(links) > MAX_EDGES_PER_STEP:
            self.cut(f"step {number} meets more than {MAX_EDGES_PER_STEP:,} edges")
            del links[MAX_EDGES_PER_STEP:]
            self.more = number == len(self._plan.steps)
            self.beginning = self.beginning and self.more
        return links

    def _enough(self, hop: PlannedHop, *, streaming: bool, alone: bool, last: bool) -> int:
        """After how many edges a hop need not read on, except to see that there is one more."""
        bounds = [MAX_EDGES_PER_STEP]
        if streaming and hop.per_node is None and hop.limit is not None:
            bounds.append(hop.limit)
        if streaming and hop.per_node is not None and alone:
            bounds.append(hop.per_node)
        if last and self._wanted.enough is not None and (self._wanted.edges or alone):
            bounds.append(self._wanted.enough)
        return min(bounds)

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


def _nothing(_: int) -> None:
    pass


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
