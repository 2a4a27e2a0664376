"""Oracles and strategies for weft.graph: a dictionary for the graph, lists of whole walks for a traversal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from weft.graph.model import Edge, EdgeRef, Node, NodeRef, PartialNode, Remove
from weft.graph.schema import Schema
from weft.graph.traverse.steps import Distinct, Hop, Limit, OrderBy, Query, Step, Where
from weft.graph.types import EdgeType, NodeType

TYPES: list[NodeType | EdgeType] = [
    NodeType("person", properties={"n": int, "s": str}),
    NodeType("thing", properties={"n": int, "s": str}),
    EdgeType("knows", source="person", target="person", properties={"n": int, "s": str}),
    EdgeType(
        "likes",
        source="person",
        target="thing",
        properties={"n": int, "s": str, "valid_from_us": int, "valid_to_us": int},
    ),
]


def _laid_out(
    person: dict[str, list[str]], thing: dict[str, list[str]], knows: dict[str, Any], likes: dict[str, Any]
) -> list[NodeType | EdgeType]:
    kinds = [kind.properties for kind in TYPES]
    return [
        NodeType("person", properties=kinds[0], groups=person),
        NodeType("thing", properties=kinds[1], groups=thing),
        EdgeType("knows", source="person", target="person", properties=kinds[2], **knows),
        EdgeType("likes", source="person", target="thing", properties=kinds[3], **likes),
    ]


LAYOUTS: list[list[NodeType | EdgeType]] = [
    TYPES,
    _laid_out({"count": ["n"]}, {"a": ["n"], "b": ["s"]}, {"split": True}, {"split": True, "newest": True}),
    _laid_out({"count": ["n"]}, {}, {"newest": True}, {"split": True}),
]
"""The same types, laid out in every way: a graph of any of them answers alike."""


class ModelGraph:
    """The dumbest graph: apply every output in the order of event time."""

    def __init__(
        self, outputs: Iterable[Node | Edge | Remove] = (), types: Sequence[NodeType | EdgeType] = TYPES
    ) -> None:
        self.outputs = list(outputs)
        self.edges: dict[EdgeRef, Edge] = {}
        self._kinds = {kind.name: kind for kind in types if isinstance(kind, NodeType)}
        self._groups: dict[NodeRef, dict[str, Node]] = {}
        for output in sorted(self.outputs, key=lambda output: output.event_time_us or 0):
            self._apply(output)
        self.nodes = {ref: _whole(list(groups.values())) for ref, groups in self._groups.items()}

    def _apply(self, output: Node | Edge | Remove) -> None:
        if isinstance(output, Node):
            self._groups.setdefault(output.ref, {}).update(self._parts(output))
        elif isinstance(output, Edge):
            self.edges[output.ref] = output
        elif isinstance(output.what, NodeRef):
            self._groups.pop(output.what, None)
        else:
            self.edges.pop(output.what, None)

    def _parts(self, node: Node) -> dict[str, Node]:
        """The groups that a node writes, each as a node of its own."""
        kind = self._kinds[node.type]
        named = {kind.group_of.get(name, "") for name in node.properties}
        return {
            group: Node(
                node.type,
                node.id,
                {
                    name: value
                    for name, value in node.properties.items()
                    if kind.group_of.get(name, "") == group and value is not None
                },
                node.event_time_us,
            )
            for group in ["", *kind.groups]
            if group in named or not isinstance(node, PartialNode)
        }


def _whole(parts: list[Node]) -> Node:
    properties = {name: value for part in parts for name, value in part.properties.items()}
    return Node(parts[0].type, parts[0].id, properties, max(part.event_time_us or 0 for part in parts))


class ModelWalk(NamedTuple):
    """One whole walk, and whether it counts (a walk that `distinct` drops no longer does)."""

    nodes: tuple[str, ...]
    edges: tuple[Edge, ...]


class ModelAnswer(NamedTuple):
    """What a traversal must return: `steps` are the last hop's edges with where they were walked from and to;
    `walks` come in any order."""

    type: str
    nodes: list[str]
    steps: list[tuple[str, str, Edge]]
    walks: list[ModelWalk]

    @property
    def edges(self) -> list[Edge]:
        return list({edge.ref: edge for _, _, edge in self.steps}.values())


def walk_model(
    graph: ModelGraph, schema: Schema, query: Query, visible: Callable[[NodeRef], bool] = lambda _: True
) -> ModelAnswer:
    """The answer to a query by brute force: every walk is kept whole, every edge is looked at."""
    known = sorted(ref.id for ref in graph.nodes if ref.type == query.type)
    ids = known if query.ids is None else list(dict.fromkeys(query.ids))
    nodes = [one for one in ids if visible(NodeRef(query.type, one))]
    answer = ModelAnswer(query.type, nodes, [], [ModelWalk((node,), ()) for node in nodes])
    hopped = False
    for step in query.steps:
        hopped = hopped or isinstance(step, Hop)
        if isinstance(step, Hop) and step.per_node is None:
            step = msgspec.structs.replace(step, per_node=query.per_node)
        answer = _model_step(_as_of(graph, query.as_of_us), schema, answer, step, visible)
    if not hopped:
        answer = _keep(answer, [node for node in answer.nodes if NodeRef(query.type, node) in graph.nodes])
    return answer


def _as_of(graph: ModelGraph, as_of_us: int | None) -> ModelGraph:
    """The graph without the edges that are not valid at an instant."""
    if as_of_us is None:
        return graph
    return ModelGraph(
        [
            *graph.nodes.values(),
            *(
                edge
                for edge in graph.edges.values()
                if edge.properties.get("valid_from_us", as_of_us) <= as_of_us
                and edge.properties.get("valid_to_us", as_of_us + 1) > as_of_us
            ),
        ]
    )


def _model_step(
    graph: ModelGraph, schema: Schema, now: ModelAnswer, step: Step, visible: Callable[[NodeRef], bool]
) -> ModelAnswer:
    def facts(node: str) -> dict[str, Any]:
        known = graph.nodes.get(NodeRef(now.type, node))
        return _facts(known) | {"id": known.id} if known else {}

    match step:
        case Hop():
            return _model_hop(graph, schema, now, step, visible)
        case Where():
            return _keep(now, [node for node in now.nodes if matches(facts(node), step.where)])
        case OrderBy():
            ordered = _sorted(now.nodes, step.by, facts)
            steps = [one for node in ordered for one in now.steps if one[1] == node]
            return now._replace(nodes=ordered, steps=steps)
        case Limit():
            return _keep(now, now.nodes[: step.limit])
        case Distinct():
            first = {walk.nodes[-1]: walk for walk in reversed(now.walks)}
            return now._replace(walks=list(first.values()))


def _model_hop(
    graph: ModelGraph, schema: Schema, now: ModelAnswer, hop: Hop, visible: Callable[[NodeRef], bool]
) -> ModelAnswer:
    kind = schema.edges[hop.edge]
    forwards = hop.direction != "in" and kind.source == now.type
    to = kind.target if forwards else kind.source
    steps: list[tuple[str, str, Edge]] = []
    for node in now.nodes:
        found = []
        for edge in graph.edges.values():
            if edge.type != hop.edge or not matches(_facts(edge), hop.where):
                continue
            if forwards and edge.source == node:
                found.append((0, node, edge.target, edge))
            loop_seen = forwards and edge.source == edge.target
            if hop.direction != "out" and kind.target == now.type and edge.target == node and not loop_seen:
                found.append((1, node, edge.source, edge))
        found.sort(key=lambda one: (one[0], one[2].encode()))
        steps += [one[1:] for one in found if visible(NodeRef(to, one[2]))]
    if hop.order_by is not None:
        steps = _sorted(steps, hop.order_by, lambda one: _facts(one[2]))
    if hop.per_node is not None:
        steps = [
            one
            for index, one in enumerate(steps)
            if sum(other[0] == one[0] for other in steps[:index]) < hop.per_node
        ]
    steps = steps[: hop.limit]
    return ModelAnswer(
        to,
        list(dict.fromkeys(there for _, there, _ in steps)),
        steps,
        [
            ModelWalk((*walk.nodes, there), (*walk.edges, edge))
            for here, there, edge in steps
            for walk in now.walks
            if walk.nodes[-1] == here
        ],
    )


def _keep(now: ModelAnswer, nodes: list[str]) -> ModelAnswer:
    walks = [walk for walk in now.walks if walk.nodes[-1] in nodes]
    steps = [one for one in now.steps if one[1] in nodes]
    return now._replace(nodes=nodes, steps=steps, walks=walks)


def _facts(thing: Node | Edge) -> dict[str, Any]:
    return {**thing.properties, "event_time_us": thing.event_time_us}


def _sorted(things: list[Any], by: str, facts: Callable[[Any], dict[str, Any]]) -> list[Any]:
    name = by.removeprefix("-")
    present = [thing for thing in things if name in facts(thing)]
    present.sort(key=lambda thing: facts(thing)[name], reverse=by.startswith("-"))
    return present + [thing for thing in things if name not in facts(thing)]


def matches(facts: dict[str, Any], where: dict[str, Any]) -> bool:
    """Whether the condition holds; property values here compare whenever both are there."""
    for name, wanted in where.items():
        if name not in facts:
            return False
        for symbol, operand in wanted.items() if isinstance(wanted, dict) else [("=", wanted)]:
            if not _compare(facts[name], symbol, operand):
                return False
    return True


def _compare(value: Any, symbol: str, operand: Any) -> bool:
    match symbol:
        case "=" | "!=":
            return bool((value == operand) == (symbol == "="))
        case "<" | ">=":
            return bool((value < operand) == (symbol == "<"))
        case ">" | "<=":
            return bool((value > operand) == (symbol == ">"))
        case "in":
            return bool(value in operand)
        case "starts_with":
            return str(value).startswith(str(operand))
    raise AssertionError(symbol)


IDS: Sequence[str] = ("a", "A", "b ", "é\0")
_properties = st.fixed_dictionaries(
    {}, optional={"n": st.integers(0, 3), "s": st.sampled_from(["", "x", "xy", "é"])}
)
_some = st.dictionaries(st.just("n"), st.none() | st.integers(0, 3), min_size=1) | st.fixed_dictionaries(
    {"s": st.none() | st.sampled_from(["", "x"])}, optional={"n": st.integers(0, 3)}
)
_validity = st.fixed_dictionaries(
    {}, optional={"valid_from_us": st.integers(0, 3), "valid_to_us": st.integers(0, 3)}
)
_ends = {"knows": "person", "likes": "person"}


def outputs(types: Sequence[NodeType | EdgeType] = TYPES) -> st.SearchStrategy[Node | Edge | Remove]:
    """Writes and removals over few names, so that they meet; without event times."""
    grouped = [kind.name for kind in types if isinstance(kind, NodeType) and kind.groups]
    ids = st.sampled_from(IDS)
    nodes = st.builds(Node, st.sampled_from(["person", "thing"]), ids, _properties)
    edges = st.builds(Edge, st.sampled_from(list(_ends)), ids, ids, _properties)
    return st.one_of(
        nodes,
        edges,
        edges,
        nodes.map(lambda node: Remove(node.ref)),
        edges.map(lambda edge: Remove(edge.ref)),
        *([st.builds(PartialNode, st.sampled_from(grouped), ids, _some)] if grouped else []),
    )


_wheres: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({}),
    st.just({}),
    st.just({}),
    st.fixed_dictionaries({"n": st.integers(0, 3)}),
    st.fixed_dictionaries(
        {
            "n": st.dictionaries(
                st.sampled_from(["<", "<=", ">", ">=", "!=", "="]), st.integers(0, 3), min_size=1
            )
        }
    ),
    st.fixed_dictionaries({"s": st.sampled_from([{"starts_with": "x"}, {"in": ["", "xy"]}, "é"])}),
)
_orders = st.none() | st.none() | st.sampled_from(["n", "-n", "s", "-s", "event_time_us", "-event_time_us"])
_limits = st.none() | st.none() | st.integers(1, 4)


def graphs() -> st.SearchStrategy[ModelGraph]:
    """Small and dense, with loops, bare nodes and an event time of its own for each write."""
    ids = st.sampled_from(IDS)
    edges = st.one_of(
        st.builds(Edge, st.just("knows"), ids, ids, _properties),
        st.builds(Edge, st.just("likes"), ids, ids, st.builds(dict.__or__, _properties, _validity)),
    )
    written = st.tuples(st.lists(outputs(), max_size=15), st.lists(edges, min_size=6, max_size=24))
    return written.map(
        lambda parts: ModelGraph(
            msgspec.structs.replace(one, event_time_us=1 + at)
            for at, one in enumerate([*parts[0], *parts[1]])
        )
    )


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """Traversals that the schema of `TYPES` allows."""
    here = start = draw(st.sampled_from(["person", "thing"]))
    ids = draw(st.one_of(st.just(list(IDS)), st.none(), st.lists(st.sampled_from(IDS), max_size=4)))
    steps: list[Step] = []
    for _ in range(draw(st.integers(0, 5))):
        if draw(st.integers(0, 2)):
            hop, here = draw(_hops(here))
            steps.append(hop)
        else:
            steps.append(draw(_node_steps))
    dated = any(isinstance(step, Hop) and step.edge == "likes" for step in steps)
    as_of_us = draw(st.none() | st.integers(-1, 4)) if dated else None
    return Query(start, ids, steps, as_of_us, per_node=draw(st.none() | st.integers(1, 3)))


_node_steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(Where, _wheres),
    st.builds(OrderBy, st.sampled_from(["n", "-n", "id", "-id", "-event_time_us"])),
    st.builds(Limit, st.integers(1, 4)),
    st.just(Distinct()),
)


@st.composite
def _hops(draw: st.DrawFn, here: str) -> tuple[Hop, str]:
    ways = [("in", "likes", "person"), ("both", "likes", "person")]
    if here == "person":
        ways = [("out", "likes", "thing"), ("both", "likes", "thing")]
        ways += [(direction, "knows", "person") for direction in ("out", "in", "both")]
    direction, edge, there = draw(st.sampled_from(ways))
    hop = Hop(
        direction,  # type: ignore[arg-type]
        edge,
        draw(_wheres),
        draw(_orders),
        draw(_limits),
        draw(_limits),
    )
    return hop, there
