"""Expressions checked against names and schema, and turned into functions of a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from weft.graph.cypher import syntax
from weft.graph.cypher.errors import QueryError, did_you_mean
from weft.graph.cypher.functions import AGGREGATES, FUNCTIONS, INSTEAD
from weft.graph.cypher.syntax import Expression
from weft.graph.cypher.values import (
    COMPARISONS,
    MATCHES,
    EdgeValue,
    Membership,
    NodeKey,
    all_of,
    any_of,
    arithmetic,
    odd_of,
)
from weft.graph.model import Node, id_text
from weft.graph.schema import Schema
from weft.graph.types import EdgeType, NodeType

Kind = Literal["node", "edge", "edges", "path", "value"]
Row = tuple[Any, ...]
Getter = Callable[[Row], Any]
_OF_ALL: Final = {"and": all_of, "or": any_of, "xor": odd_of}
_KINDS: Final = {"edges": "a list of edges", "path": "a path"}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a name stands for: a place in the row, and what can be in it."""

    slot: int
    kind: Kind
    types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that an expression may use; `known` are expressions whose values are in the row already."""

    names: Mapping[str, Bound]
    width: int
    known: Mapping[Expression, int] = field(default_factory=dict)

    def having(self, name: str, bound: Bound) -> Scope:
        return replace(self, names={**self.names, name: bound})


class Compiled(NamedTuple):
    """`get` reads properties; those of the nodes in the slots `loads`, and of the edges in the slots `edges`,
    have to be there."""

    get: Getter
    loads: frozenset[int]
    edges: frozenset[int]


class _Asked(NamedTuple):
    """Slots whose nodes' and edges' properties are asked for."""

    nodes: set[int]
    edges: set[int]


class Compiler:
    """Compiles for one run: its parameters, and the nodes that it has read."""

    def __init__(
        self,
        text: str,
        schema: Schema,
        parameters: Mapping[str, Any],
        nodes: Mapping[tuple[str, bytes], Node | None],
    ) -> None:
        self.schema = schema
        self._text = text
        self._parameters = parameters
        self._nodes = nodes

    def error(self, message: str, hint: str, at: int, length: int = 1) -> QueryError:
        return QueryError(message, hint, self._text, at, length)

    def compile(self, expression: Expression, scope: Scope) -> Compiled:
        asked = _Asked(set(), set())
        get = self._get(expression, scope, asked)
        return Compiled(get, frozenset(asked.nodes), frozenset(asked.edges))

    def constant(self, expression: Expression) -> Any:
        """The value of an expression without variables."""
        return self.compile(expression, Scope({}, 0)).get(())

    def node_types(self, names: tuple[str, ...], at: int) -> frozenset[str]:
        """The types of that name; every type for none."""
        return self._types(names, self.schema.nodes, "node", at)

    def edge_types(self, names: tuple[str, ...], at: int) -> list[EdgeType]:
        return [self.schema.edges[name] for name in sorted(self._types(names, self.schema.edges, "edge", at))]

    def _types(
        self, names: tuple[str, ...], known: Mapping[str, object], what: str, at: int
    ) -> frozenset[str]:
        for name in names:
            if name not in known:
                place = max(at, self._text.find(name, at))
                hint = did_you_mean(name, known)
                raise self.error(f"there is no {what} type `{name}`", hint, place, len(name))
        return frozenset(names or known)

    def _get(self, expression: Expression, scope: Scope, asked: _Asked) -> Getter:
        if expression in scope.known:
            slot = scope.known[expression]
            return lambda row: row[slot]

        def get(part: Expression) -> Getter:
            return self._get(part, scope, asked)

        match expression:
            case syntax.Constant(value):
                return lambda row: value
            case syntax.Parameter(name):
                wanted = self._parameter(expression, name)
                return lambda row: wanted
            case syntax.Variable(name):
                place = self.bound(name, scope, expression.at).slot
                return lambda row: row[place]
            case syntax.Property():
                return self._property(expression, scope, asked)
            case syntax.ListOf(items):
                getters = [get(item) for item in items]
                return lambda row: [one(row) for one in getters]
            case syntax.Call():
                return self._call(expression, scope, asked)
            case syntax.Not(of):
                inner = get(of)
                return lambda row: not found if isinstance(found := inner(row), bool) else None
            case syntax.Negative(of):
                inner = get(of)
                return lambda row: arithmetic("-", 0, inner(row))
            case syntax.IsNull(of):
                inner = get(of)
                return lambda row: inner(row) is None
            case syntax.Arithmetic(first, rest):
                return _arithmetic(get(first), [(sign, get(operand)) for sign, operand in rest])
            case syntax.Comparison(first, rest):
                operands = [get(first), *(get(operand) for _, operand in rest)]
                return _comparison(operands, [COMPARISONS[sign] for sign, _ in rest])
            case syntax.Matches(operator, left, right):
                return _binary(Membership() if operator == "in" else MATCHES[operator], get(left), get(right))
            case syntax.Logic(operator, of_all):
                fold, each = _OF_ALL[operator], [get(one) for one in of_all]
                return lambda row: fold(one(row) for one in each)
            case syntax.HasType():
                return self._has_type(expression, scope, asked)
            case syntax.Exists():
                hint = "use it as a condition of WHERE"
                raise self.error("a pattern is not a value", hint, expression.at)

    def bound(self, name: str, scope: Scope, at: int) -> Bound:
        if name in scope.names:
            return scope.names[name]
        visible = [known for known in scope.names if known.isprintable()]
        raise self.error(
            f"nothing here is named `{name}`", did_you_mean(name, visible), at, max(1, len(name))
        )

    def _parameter(self, expression: Expression, name: str) -> Any:
        if name in self._parameters:
            return self._parameters[name]
        hint = did_you_mean(name, self._parameters, "pass it by that name")
        raise self.error(f"the parameter `${name}` was not given", hint, expression.at, len(name) + 1)

    def _property(self, expression: syntax.Property, scope: Scope, asked: _Asked) -> Getter:
        name, of, nodes = expression.name, expression.of, self._nodes
        inner = self._get(of, scope, asked)
        bound = scope.names.get(of.name) if isinstance(of, syntax.Variable) else None
        if bound is not None:
            self._check_property(expression, bound)
        if name != "id" and bound and bound.kind == "edge":
            asked.edges.add(bound.slot)
        elif name != "id":
            # Whatever nodes and edges the value may come from.
            slots = {scope.names[one].slot for one in syntax.names_in(of) if one in scope.names}
            slots |= {scope.known[one] for one in syntax.within(of) if one in scope.known}
            asked.nodes.update(slots)
            asked.edges.update(slots)
        return lambda row: property_of(inner(row), name, nodes)

    def _check_property(self, expression: syntax.Property, bound: Bound) -> None:
        name = expression.name
        if bound.kind in _KINDS:
            hint = "ask in the pattern, as in `[:a*1..3 {x: 1}]`" if bound.kind == "edges" else "use nodes(p)"
            raise self.error(f"{_KINDS[bound.kind]} has no properties", hint, expression.at, len(name))
        if bound.kind == "value" or name == "event_time_us":
            return
        known: Mapping[str, NodeType | EdgeType]
        known = self.schema.nodes if bound.kind == "node" else self.schema.edges
        kinds = [known[one] for one in sorted(bound.types)]
        own = {"id"} if bound.kind == "node" else set()
        properties = own.union(*(kind.kinds for kind in kinds))
        if name in properties or any(kind.unknown == "keep" for kind in kinds):
            return
        labels = " and ".join(kind.label for kind in kinds[:3]) + (" ..." if len(kinds) > 3 else "")
        raise self.error(
            f"{labels} has no property `{name}`", did_you_mean(name, properties), expression.at, len(name)
        )

    def _call(self, call: syntax.Call, scope: Scope, asked: _Asked) -> Getter:
        if call.name in AGGREGATES:
            raise self.error(
                f"`{call.name}(...)` counts over rows, which is not possible here",
                "aggregate as a column of WITH or RETURN",
                call.at,
                len(call.name),
            )
        function = FUNCTIONS.get(call.name)
        if function is None:
            hint = did_you_mean(call.name, [*FUNCTIONS, *AGGREGATES, "exists"])
            raise self.error(f"there is no function `{call.name}`", hint, call.at, len(call.name))
        if call.distinct or not function.fewest <= len(call.arguments) <= function.most:
            wanted = "at least one value" if function.most > 1 else "one value"
            raise self.error(f"`{call.name}` takes {wanted}", "", call.at, len(call.name))
        for argument in call.arguments:
            kind = _kind(argument, scope)
            if (call.name, kind) in INSTEAD:
                hint = INSTEAD[call.name, kind]
                raise self.error(f"`{call.name}` does not take this", hint, call.at, len(call.name))
        arguments = [self._get(argument, scope, asked) for argument in call.arguments]
        return lambda row: function.call(*(one(row) for one in arguments))

    def _has_type(self, expression: syntax.HasType, scope: Scope, asked: _Asked) -> Getter:
        of = expression.of
        if _kind(of, scope) == "edge":
            self.edge_types(expression.types, expression.at)
        else:
            self.node_types(expression.types, expression.at)
        inner, types = self._get(of, scope, asked), frozenset(expression.types)
        return lambda row: (
            found.type in types if isinstance(found := inner(row), NodeKey | EdgeValue) else None
        )


def _kind(expression: Expression, scope: Scope) -> Kind | None:
    """The kind of a name; None for other expressions."""
    bound = scope.names.get(expression.name) if isinstance(expression, syntax.Variable) else None
    return None if bound is None else bound.kind


def property_of(value: Any, name: str, nodes: Mapping[tuple[str, bytes], Node | None]) -> Any:
    """A node's, edge's or map's property; null when there is none."""
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, NodeKey):
        if name == "id":
            return id_text(value.id)
        thing: Any = nodes.get(value)
    else:
        thing = value.edge if isinstance(value, EdgeValue) else None
    if thing is None:
        return None
    return thing.event_time_us if name == "event_time_us" else thing.properties.get(name)


def _arithmetic(first: Getter, rest: list[tuple[str, Getter]]) -> Getter:
    def run(row: Row) -> Any:
        found = first(row)
        for sign, operand in rest:
            found = arithmetic(sign, found, operand(row))
        return found

    return run


def _comparison(operands: list[Getter], tests: list[Callable[[Any, Any], bool | None]]) -> Getter:
    if len(tests) == 1:
        return _binary(tests[0], *operands)

    def run(row: Row) -> bool | None:
        values = [operand(row) for operand in operands]
        return all_of(test(values[at], values[at + 1]) for at, test in enumerate(tests))

    return run


def _binary(test: Callable[[Any, Any], Any], left: Getter, right: Getter) -> Getter:
    return lambda row: test(left(row), right(row))
