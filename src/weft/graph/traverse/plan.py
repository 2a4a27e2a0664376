"""A query checked against the schema: what each step reads, and the node type that it arrives at.

Paths that cannot exist are refused here, before any read.
"""

from __future__ import annotations

import marshal
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from weft.core.errors import Invalid
from weft.core.limits import MAX_STEPS, within
from weft.graph import layout
from weft.graph.model import id_bytes
from weft.graph.schema import Schema
from weft.graph.traverse.steps import Distinct, Hop, Limit, OrderBy, Query, Step, Where
from weft.graph.traverse.where import (
    VALID_FROM,
    VALID_TO,
    Predicate,
    compile_where,
    has_validity,
    property_kind,
    valid_at,
)
from weft.graph.types import EdgeType, NodeType

_DIRECTIONS: Final = ("out", "in", "both")
_MAX_KNOWN: Final = 256


@dataclass(frozen=True, slots=True)
class Order:
    """By which property, and which way."""

    by: str
    descending: bool


_NEWEST: Final = Order("event_time_us", True)


@dataclass(frozen=True, slots=True)
class PlannedHop:
    """Which adjacency lists to read: (namespace, whether their record is the edge's source)."""

    edge: EdgeType
    reads: tuple[tuple[str, bool], ...]
    to: str
    test: Predicate | None
    order: Order | None
    per_node: int | None
    limit: int | None
    asks: bool
    """Whether the condition or the order asks for the edges' properties."""

    @property
    def newest(self) -> bool:
        """Whether the lists in the order of time have what it needs at their beginning."""
        bounded = self.limit is not None or self.per_node is not None
        return bounded and self.edge.newest and self.order == _NEWEST


@dataclass(frozen=True, slots=True)
class PlannedWhere:
    test: Predicate


PlannedStep = PlannedHop | PlannedWhere | Order | Limit | Distinct


class Plan(NamedTuple):
    type: str
    ids: list[bytes] | None
    steps: list[PlannedStep]


class Planner:
    """Plans queries against one schema, those of one shape once: they differ in where they start."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._known: dict[bytes, list[PlannedStep]] = {}

    def plan(self, query: Query) -> Plan:
        """The plan of a query; `Invalid` when the schema does not allow it."""
        shape = _shape(query)
        steps = None if shape is None else self._known.get(shape)
        if steps is None:
            steps = self.schema.current(lambda: _steps(query, self.schema))
            if shape is not None:
                if len(self._known) == _MAX_KNOWN:
                    self._known.clear()
                self._known[shape] = steps
        _check_within(query.within_s)
        ids = None if query.ids is None else list(dict.fromkeys(map(id_bytes, query.ids)))
        return Plan(query.type, ids, steps)

    def check_property(self, query: Query, by: str, of: Literal["nodes", "edges"]) -> None:
        """`Invalid` unless the nodes, or the edges, at the end of the query may have the property."""
        hops = [step for step in self.plan(query).steps if isinstance(step, PlannedHop)]
        if of == "nodes":
            property_kind(by, self.schema.node(hops[-1].to if hops else query.type))
        elif of != "edges" or not hops:
            raise Invalid(f"there are no `{of}` to summarize", hint="use `nodes`, or `edges` behind a hop")
        else:
            property_kind(by, hops[-1].edge)


def _check_within(within_s: float | None) -> None:
    if within_s is not None and not (type(within_s) in (int, float) and within_s >= 0):
        raise Invalid(f"`within_s` is `{within_s!r}`", hint="use a number of seconds, or leave it out")


def _shape(query: Query) -> bytes | None:
    """What plans are known by: the steps with the exact types of all values; None where a value is of a
    class of its own."""
    parts = [(type(step).__name__, msgspec.structs.astuple(step)) for step in query.steps]
    try:
        return marshal.dumps((query.type, parts, query.as_of_us, query.per_node))
    except ValueError:
        return None


def _steps(query: Query, schema: Schema) -> list[PlannedStep]:
    within("the traversal", len(query.steps), MAX_STEPS, "steps")
    positive("per_node", query.per_node)
    here = schema.node(query.type)
    steps: list[PlannedStep] = []
    for step in query.steps:
        planned = _step(step, here, schema, query)
        if isinstance(planned, PlannedHop):
            here = schema.node(planned.to)
        if planned is not None:
            steps.append(planned)
    _check_as_of(query, steps)
    return steps


def _check_as_of(query: Query, steps: list[PlannedStep]) -> None:
    if query.as_of_us is None:
        return
    if type(query.as_of_us) is not int:
        raise Invalid(f"`as_of_us` is `{query.as_of_us!r}`", hint="use microseconds since 1970")
    if not any(isinstance(step, PlannedHop) and has_validity(step.edge) for step in steps):
        raise Invalid(
            "`as_of_us` changes nothing: no edge type on the way has a validity",
            hint=f"declare `{VALID_FROM}` or `{VALID_TO}` as an int property of one, or leave it out",
        )


def order_of(by: str, kind: NodeType | EdgeType) -> Order:
    """`-at` is descending by `at`; `Invalid` when the type has no such property."""
    if not isinstance(by, str):
        raise Invalid(f"`order_by` takes the name of a property, not `{by!r}`")
    name = by.removeprefix("-")
    property_kind(name, kind)
    return Order(name, by != name)


def _step(step: Step, here: NodeType, schema: Schema, query: Query) -> PlannedStep | None:
    match step:
        case Hop():
            return _hop(step, here, schema, query)
        case Where():
            test = compile_where(step.where, here)
            return None if test is None else PlannedWhere(test)
        case OrderBy():
            return order_of(step.by, here)
        case Limit():
            positive("limit", step.limit)
            return step
        case Distinct():
            return step


def _hop(hop: Hop, here: NodeType, schema: Schema, query: Query) -> PlannedHop:
    edge = schema.edge(hop.edge)
    per_node = query.per_node if hop.per_node is None else hop.per_node
    positive("limit", hop.limit)
    positive("per_node", per_node)
    if hop.direction not in _DIRECTIONS:
        raise Invalid(f"`{hop.direction}` is not a direction", hint=f"use one of {' '.join(_DIRECTIONS)}")
    ways = []
    if hop.direction != "in" and edge.source == here.name:
        ways.append((layout.out_namespace(edge.name), True, edge.target))
    if hop.direction != "out" and edge.target == here.name:
        ways.append((layout.in_namespace(edge.name), False, edge.source))
    if not ways:
        raise Invalid(
            f"`{hop.direction}` along `{edge.name}` cannot start at `{here.name}`",
            hint=f"`{edge.name}` goes from `{edge.source}` to `{edge.target}`",
        )
    order = None if hop.order_by is None else order_of(hop.order_by, edge)
    test = _both(compile_where(hop.where, edge), _valid(edge, query.as_of_us))
    asked = {*(hop.where or ()), *([order.by] if order else [])}
    return PlannedHop(
        edge=edge,
        reads=tuple((namespace, forward) for namespace, forward, _ in ways),
        to=ways[0][2],
        test=test,
        order=order,
        per_node=per_node,
        limit=hop.limit,
        asks=bool(asked - {"event_time_us"}) or _valid(edge, query.as_of_us) is not None,
    )


def _valid(edge: EdgeType, as_of_us: int | None) -> Predicate | None:
    return valid_at(as_of_us, edge) if type(as_of_us) is int else None


def _both(one: Predicate | None, other: Predicate | None) -> Predicate | None:
    if one is None or other is None:
        return one or other
    return lambda properties: one(properties) and other(properties)


def positive(name: str, number: int | None) -> None:
    """Refuse a bound that is not a whole number of at least 1."""
    if number is not None and (type(number) is not int or number < 1):
        raise Invalid(f"`{name}` is `{number!r}`", hint="use a whole number of at least 1, or leave it out")
