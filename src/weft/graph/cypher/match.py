"""Running steps over rows: a generator that asks for reads, one per hop and adjacency list; it does no I/O.

A row is a tuple; its first slot is the row's number where rows have to be told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

from weft.core.errors import LimitExceeded
from weft.core.limits import MAX_EDGES_PER_STEP, MAX_QUERY_ROWS
from weft.graph.cypher.compile import Compiled, Row
from weft.graph.cypher.plan import Ask, Bind, Expand, Keep, MatchPlan, Start, Step
from weft.graph.cypher.shape import Way
from weft.graph.cypher.values import EdgeValue, NodeKey, PathValue
from weft.graph.schema import Schema
from weft.graph.traverse.reads import Asking, Link, Read, Reader, Scan

_Hop = tuple[EdgeValue, NodeKey]
_Trail = tuple[tuple[EdgeValue, ...], NodeKey]
_TRIES_PER_ROW: Final = 10


class Matcher:
    """One run. A cut leaves rows out and is told in `reason`; where it would make a row wrong (a null of
    OPTIONAL MATCH, a pattern in a condition) it is `LimitExceeded` instead."""

    def __init__(self, reader: Reader, schema: Schema) -> None:
        self.reason = ""
        self._schema = schema
        self._reader = reader
        self._strict = 0

    def cut(self, reason: str) -> None:
        if self._strict:
            raise LimitExceeded(reason, hint="start from fewer nodes, or ask for fewer hops")
        self.reason = self.reason or reason

    def match(self, plan: MatchPlan, rows: list[Row]) -> Asking[list[Row]]:
        if not plan.optional:
            return (yield from self.run(plan.steps, rows))
        found: dict[int, list[Row]] = {}
        for row in (yield from self._strictly(plan.steps, rows)):
            found.setdefault(row[0], []).append(row)
        nothing = (None,) * plan.adds
        return [new for at, row in enumerate(rows) for new in found.get(at, [row + nothing])]

    def run(self, steps: Iterable[Step], rows: list[Row]) -> Asking[list[Row]]:
        for step in steps:
            match step:
                case Start():
                    rows = yield from self._start(step, rows)
                case Expand():
                    rows = yield from self._expand(step, rows)
                case Keep(test):
                    rows = yield from self._keep(test, rows)
                case Bind(nodes, edges):
                    rows = [(*row, _path(row, nodes, edges)) for row in rows]
                case Ask(inner):
                    found = {row[0] for row in (yield from self._strictly(inner, rows))}
                    rows = [(*row, at in found) for at, row in enumerate(rows)]
        return rows

    def load(self, asking: Iterable[Compiled], rows: Sequence[Row]) -> Asking[None]:
        """Have the properties that these ask for."""
        every = list(asking)
        slots = {slot for one in every for slot in one.loads}
        yield from self.load_nodes(node for row in rows for slot in slots for node in nodes_in(row[slot]))
        slots = {slot for one in every for slot in one.edges}
        yield from self.load_edges(edge for row in rows for slot in slots for edge in edges_in(row[slot]))

    def load_edges(self, edges: Iterable[EdgeValue]) -> Asking[None]:
        by_type: dict[str, list[EdgeValue]] = {}
        for edge in edges:
            if not edge.item.value:
                by_type.setdefault(edge.type, []).append(edge)
        for name, found in by_type.items():
            links = [Link(edge.source.id, edge.target.id, True, edge.item) for edge in found]
            whole = yield from self._reader.whole(self._schema.edges[name], links)
            for edge, link in zip(found, whole, strict=True):
                edge.item = link.item

    def load_nodes(self, nodes: Iterable[NodeKey]) -> Asking[None]:
        for kind, ids in _by_type(nodes).items():
            yield from self._reader.load(kind, ids)

    def _strictly(self, steps: Iterable[Step], rows: list[Row]) -> Asking[list[Row]]:
        self._strict += 1
        found = yield from self.run(steps, [(at, *row[1:]) for at, row in enumerate(rows)])
        self._strict -= 1
        return found

    def _keep(self, test: Compiled, rows: list[Row]) -> Asking[list[Row]]:
        yield from self.load([test], rows)
        return [row for row in rows if test.get(row) is True]

    def _satisfying(self, test: Compiled | None, nodes: Iterable[NodeKey]) -> Asking[dict[NodeKey, None]]:
        rows: list[Row] = [(node,) for node in nodes]
        if test is not None:
            rows = yield from self._keep(test, rows)
        return dict.fromkeys(row[0] for row in rows)

    def _start(self, step: Start, rows: list[Row]) -> Asking[list[Row]]:
        if not rows:
            return []
        found: list[NodeKey] = []
        if step.ids is not None:
            for kind in step.types:
                ids = yield from self._reader.visible(kind, step.ids)
                found += [NodeKey(kind, one) for one in ids]
        else:
            found = yield from self._scan(step)
        if step.exists:
            yield from self.load_nodes(found)
            found = [node for node in found if self._reader.nodes[node] is not None]
        nodes = yield from self._satisfying(step.test, found)
        return self._joined((*row, node) for row in rows for node in nodes)

    def _scan(self, step: Start) -> Asking[list[NodeKey]]:
        found: dict[NodeKey, None] = {}
        for kind, namespace in step.scans:
            after = None
            while len(found) <= MAX_EDGES_PER_STEP:
                ids, after = yield from self._reader.ids(Scan(namespace, after), kind)
                found.update((NodeKey(kind, one), None) for one in ids)
                if after is None:
                    break
        if len(found) > MAX_EDGES_PER_STEP:
            self.cut(f"the start set has more than {MAX_EDGES_PER_STEP:,} nodes")
        return list(found)[:MAX_EDGES_PER_STEP]

    def _expand(self, step: Expand, rows: list[Row]) -> Asking[list[Row]]:
        origins = dict.fromkeys(row[step.origin] for row in rows if row[step.origin] is not None)
        among = step.ids
        if step.target is not None:
            among = frozenset(row[step.target].id for row in rows if row[step.target] is not None)
        trails: dict[NodeKey, list[_Trail]]
        if step.hops is None:
            hops = yield from self._hops(step, origins, among)
            trails = {node: [((edge,), there) for edge, there in found] for node, found in hops.items()}
        else:
            trails = yield from self._trails(step, origins)
            _limit(trails, lambda there: there.type in step.types and (among is None or there.id in among))
        ends = dict.fromkeys(there for found in trails.values() for _, there in found)
        good = yield from self._satisfying(step.node_test, ends)
        _limit(trails, good.__contains__)
        return self._joined(_expanded(step, rows, trails))

    def _hops(
        self, step: Expand, nodes: Iterable[NodeKey], among: frozenset[bytes] | None = None
    ) -> Asking[dict[NodeKey, list[_Hop]]]:
        """The edges at these nodes, from one read per adjacency list, page by page."""
        by_type = _by_type(nodes)
        found: dict[NodeKey, list[_Hop]] = {}
        count = 0
        for way in step.ways:
            ids = by_type.get(way.here)
            whole = self._schema.edges[way.edge] if step.edge_test and step.edge_test.edges else None
            after = None
            while ids and count <= MAX_EDGES_PER_STEP:
                read = Read(way.namespace, ids, None, after)
                test = _link_test(step, way, among)
                links, after = yield from self._reader.links(read, way.forward, way.there, test, whole)
                count += len(links)
                for link in links:
                    edge = _edge(way, link)
                    here, there = NodeKey(way.here, link.here), NodeKey(way.there, link.there)
                    found.setdefault(here, []).append((edge, there))
                if after is None:
                    break
        if count > MAX_EDGES_PER_STEP:
            self.cut(f"a hop meets more than {MAX_EDGES_PER_STEP:,} edges")
        return found

    def _trails(self, step: Expand, origins: Iterable[NodeKey]) -> Asking[dict[NodeKey, list[_Trail]]]:
        """Every walk of a variable length that takes no edge twice, by where it starts."""
        assert step.hops is not None
        fewest, most = step.hops
        found: dict[NodeKey, list[_Trail]] = {origin: [] for origin in origins}
        front: list[tuple[NodeKey, _Trail]] = [(origin, ((), origin)) for origin in found]
        hops: dict[NodeKey, list[_Hop]] = {}
        count = 0
        for depth in range(1, most + 1):
            new = dict.fromkeys(trail[1] for _, trail in front if trail[1] not in hops)
            read = yield from self._hops(step, new)
            hops.update((node, read.get(node, [])) for node in new)
            longer = []
            for origin, (edges, end) in front:
                for edge, there in hops[end]:
                    if edge not in edges:
                        longer.append((origin, ((*edges, edge), there)))
                        count += 1
                if count > MAX_QUERY_ROWS:
                    self.cut(f"a variable length has more than {MAX_QUERY_ROWS:,} walks")
                    break
            front = longer
            if depth >= fewest:
                for origin, trail in front:
                    found[origin].append(trail)
            if not front or count > MAX_QUERY_ROWS:
                break
        return found

    def _joined(self, rows: Iterator[Row | None]) -> list[Row]:
        """The rows, without the Nones that stand for a try that was none."""
        found: list[Row] = []
        for tries, row in enumerate(rows, 1):
            full = row is not None and len(found) == MAX_QUERY_ROWS
            if full or tries > _TRIES_PER_ROW * MAX_QUERY_ROWS:
                self.cut(f"the patterns match more than {MAX_QUERY_ROWS:,} times")
                break
            if row is not None:
                found.append(row)
        return found


def _expanded(step: Expand, rows: list[Row], trails: dict[NodeKey, list[_Trail]]) -> Iterator[Row | None]:
    closing: dict[tuple[NodeKey, NodeKey], list[_Trail]] = {}
    if step.target is not None:
        for origin, found in trails.items():
            for trail in found:
                closing.setdefault((origin, trail[1]), []).append(trail)
    for row in rows:
        used = _used(row, step.used)
        taken = trails.get(row[step.origin], [])
        if step.target is not None:
            taken = closing.get((row[step.origin], row[step.target]), [])
        for edges, there in taken:
            if used and not used.isdisjoint(edges):
                yield None
                continue
            walked: Any = edges[0]
            if step.hops is not None:
                walked = list(reversed(edges) if step.backward else edges)
            yield (*row, walked) if step.target is not None else (*row, walked, there)


def _used(row: Row, slots: tuple[int, ...]) -> set[EdgeValue]:
    used: set[EdgeValue] = set()
    for slot in slots:
        value = row[slot]
        used.update(value) if isinstance(value, list) else used.add(value)
    return used


def _link_test(step: Expand, way: Way, among: frozenset[bytes] | None) -> Callable[[Link], bool] | None:
    test, loops = step.edge_test, way.loops
    if test is None and among is None and loops:
        return None
    return lambda link: (
        (among is None or link.there in among)
        and (loops or link.here != link.there)
        and (test is None or test.get((_edge(way, link),)) is True)
    )


def _edge(way: Way, link: Link) -> EdgeValue:
    here, there = NodeKey(way.here, link.here), NodeKey(way.there, link.there)
    source, target = (here, there) if way.forward else (there, here)
    return EdgeValue(way.edge, source, target, link.item)


def _limit(trails: dict[NodeKey, list[_Trail]], takes: Callable[[NodeKey], bool]) -> None:
    for origin, found in trails.items():
        trails[origin] = [trail for trail in found if takes(trail[1])]


def _by_type(nodes: Iterable[NodeKey]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for node in dict.fromkeys(nodes):
        found.setdefault(node.type, []).append(node.id)
    return found


def _path(row: Row, nodes: tuple[int, ...], edges: tuple[int, ...]) -> PathValue:
    walked: list[NodeKey] = [row[nodes[0]]]
    taken: list[EdgeValue] = []
    for slot in edges:
        value = row[slot]
        for edge in value if isinstance(value, list) else [value]:
            taken.append(edge)
            walked.append(edge.other(walked[-1]))
    return PathValue(tuple(walked), tuple(taken))


def edges_in(value: Any) -> Iterator[EdgeValue]:
    """All edges in a value of a row."""
    if isinstance(value, EdgeValue):
        yield value
    elif isinstance(value, PathValue):
        yield from value.edges
    elif isinstance(value, list):
        for one in value:
            yield from edges_in(one)


def nodes_in(value: Any) -> Iterator[NodeKey]:
    """All nodes in a value of a row."""
    if isinstance(value, NodeKey):
        yield value
    elif isinstance(value, PathValue):
        yield from value.nodes
    elif isinstance(value, EdgeValue):
        yield from (value.source, value.target)
    elif isinstance(value, list):
        for one in value:
            yield from nodes_in(one)
