"""An oracle for queries: every assignment over the graph, every condition as it reads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any, NamedTuple

from weft.graph.cypher import syntax
from weft.graph.cypher.syntax import Expression, Match, Pattern, Projection
from weft.graph.model import Edge, Node, NodeRef, Path
from weft.graph.schema import Schema
from weft.testing.graph import ModelGraph

Row = dict[str, Any]
_MOST_ROWS = 2_000
_AGGREGATES = ("count", "sum", "avg", "min", "max", "collect")


class Answer(NamedTuple):
    """What a query must return: all rows in order, before the last clause's SKIP and LIMIT leave
    `rows[start:end]`. `keys` are what they were ordered by."""

    columns: list[str]
    rows: list[Row]
    keys: list[Any]
    start: int = 0
    end: int | None = None


class TooMany(Exception):
    """Brute force would take too long."""


class _Model:
    """The graph as one reader sees it."""

    def __init__(self, graph: ModelGraph, schema: Schema, visible: Callable[[NodeRef], bool]) -> None:
        self.edges: list[tuple[NodeRef, NodeRef, Edge]] = []
        self.recorded = {ref: node for ref, node in graph.nodes.items() if visible(ref)}
        for edge in graph.edges.values():
            kind = schema.edges[edge.type]
            ends = NodeRef(kind.source, edge.source), NodeRef(kind.target, edge.target)
            if visible(ends[0]) and visible(ends[1]):
                self.edges.append((*ends, edge))
        bare = {end for source, target, _ in self.edges for end in (source, target)}
        self.nodes = {ref: self.recorded.get(ref, Node(ref.type, ref.id)) for ref in {*self.recorded, *bare}}


def query_model(
    graph: ModelGraph,
    schema: Schema,
    clauses: Sequence[syntax.Clause],
    parameters: dict[str, Any],
    visible: Callable[[NodeRef], bool] = lambda _: True,
) -> Answer:
    """The answer to parsed clauses by brute force; `TooMany` when that would take too long."""
    oracle = _Oracle(_Model(graph, schema, visible), parameters)
    answer = Answer([], [{}], [])
    for clause in clauses:
        if isinstance(clause, Match):
            answer = Answer([], list(islice(oracle.match(clause, answer.rows), _MOST_ROWS)), [])
            if len(answer.rows) == _MOST_ROWS:
                raise TooMany
        else:
            if not clause.returns and (clause.skip or clause.limit):
                raise NotImplementedError("which rows a WITH ... LIMIT keeps is open")
            answer = oracle.project(clause, answer.rows)
    return answer


class _Oracle:
    def __init__(self, model: _Model, parameters: dict[str, Any]) -> None:
        self.model = model
        self.parameters = parameters
        self._trails_of: dict[Any, list[list[Edge]]] = {}

    def match(self, clause: Match, rows: list[Row]) -> Iterator[Row]:
        names = {name for pattern in clause.patterns for name in _names(pattern)}
        for row in rows:
            found = [
                {name: value for name, value in new.items() if isinstance(name, str)}
                for new in self.assignments(clause.patterns, row)
                if clause.where is None or self.value(clause.where, new) is True
            ]
            if clause.optional and not found:
                found = [{**dict.fromkeys(names), **row}]
            yield from found

    def assignments(self, patterns: Sequence[Pattern], row: Row) -> Iterator[Row]:
        """Every way to put nodes and edges in the patterns' places; anonymous ones are under their offset."""
        linked = {_key(node) for pattern in patterns if pattern.edges for node in pattern.nodes}
        places = [node for pattern in patterns for node in pattern.nodes]
        free = list(dict.fromkeys(_key(node) for node in places if _key(node) not in row))
        choices = [self.model.nodes if key in linked else self.model.recorded for key in free]
        labels: dict[Any, list[tuple[str, ...]]] = {}
        for node in places:
            labels.setdefault(_key(node), []).append(node.types)
        options = [
            [
                self.model.nodes[ref]
                for ref in choice
                if all(not types or ref.type in types for types in labels[key])
            ]
            for key, choice in zip(free, choices, strict=True)
        ]
        for chosen in product(*options):
            new = {**row, **dict(zip(free, chosen, strict=True))}
            if all(
                new[_key(node)] is not None and (not node.types or new[_key(node)].type in node.types)
                for node in places
            ):
                yield from self._edges(patterns, new)

    def _edges(self, patterns: Sequence[Pattern], row: Row) -> Iterator[Row]:
        slots: list[tuple[syntax.EdgePattern, NodeRef, NodeRef]] = [
            (edge, row[_key(pattern.nodes[at])].ref, row[_key(pattern.nodes[at + 1])].ref)
            for pattern in patterns
            for at, edge in enumerate(pattern.edges)
        ]
        for trails in product(*(self._known_trails(*slot) for slot in slots)):
            walked = [one for trail in trails for one in trail]
            if len({edge.ref for edge in walked}) < len(walked):
                continue
            new = dict(row)
            for (edge, _, _), trail in zip(slots, trails, strict=True):
                new[_key(edge)] = trail if edge.hops else trail[0]
            for pattern in patterns:
                if pattern.name:
                    new[pattern.name] = self._path(pattern, new)
            if all(self._properties(patterns, new)):
                yield new

    def _known_trails(self, edge: syntax.EdgePattern, here: NodeRef, there: NodeRef) -> list[list[Edge]]:
        key = (edge.types, edge.direction, edge.hops, here, there)
        if key not in self._trails_of:
            self._trails_of[key] = list(self._trails(edge, here, there))
        return self._trails_of[key]

    def _trails(self, edge: syntax.EdgePattern, here: NodeRef, there: NodeRef) -> Iterator[list[Edge]]:
        fewest, most = edge.hops or (1, 1)

        def longer(trail: list[Edge], end: NodeRef) -> Iterator[list[Edge]]:
            if len(trail) >= fewest and end == there:
                yield trail
            if len(trail) < most:
                for source, target, one in self.model.edges:
                    if one in trail or (edge.types and one.type not in edge.types):
                        continue
                    ends = set()
                    if edge.direction != "in" and source == end:
                        ends.add(target)
                    if edge.direction != "out" and target == end:
                        ends.add(source)
                    for reached in ends:
                        yield from longer([*trail, one], reached)

        return longer([], here)

    def _properties(self, patterns: Sequence[Pattern], row: Row) -> Iterator[bool]:
        for pattern in patterns:
            for element in _elements(pattern):
                thing = row[_key(element)]
                for name, wanted in element.properties:
                    for one in thing if isinstance(thing, list) else [thing]:
                        yield _equal(_property(one, name), self.value(wanted, row)) is True

    def _path(self, pattern: Pattern, row: Row) -> Path:
        nodes = [row[_key(pattern.nodes[0])]]
        edges: list[Edge] = []
        for at, edge in enumerate(pattern.edges):
            walked = row[_key(edge)]
            for one in walked if isinstance(walked, list) else [walked]:
                ends = next((s, t) for s, t, known in self.model.edges if known is one)
                edges.append(one)
                nodes.append(self.model.nodes[ends[1] if ends[0] == nodes[-1].ref else ends[0]])
            assert nodes[-1] == row[_key(pattern.nodes[at + 1])]
        return Path(nodes, edges)

    def project(self, clause: Projection, rows: list[Row]) -> Answer:
        every = (
            [syntax.Item(syntax.Variable(name), name) for name in sorted(rows[0])]
            if clause.star and rows
            else []
        )
        items = [*every, *clause.items]
        groups: list[tuple[Row, list[Row]]] = [(row, [row]) for row in rows]
        if any(_aggregates(item.expression) for item in items):
            keys = [item.expression for item in items if not _aggregates(item.expression)]
            gathered: dict[Any, tuple[Row, list[Row]]] = {} if keys else {"": ({}, [])}
            for row in rows:
                key = repr([order(self.value(one, row)) for one in keys]) if keys else ""
                gathered.setdefault(key, (row, []))[1].append(row)
            groups = list(gathered.values())
        made = [
            ({item.name: self.value(item.expression, row, group) for item in items}, row, group)
            for row, group in groups
        ]
        if clause.distinct:
            made = list({repr([order(v) for v in one[0].values()]): one for one in reversed(made)}.values())[
                ::-1
            ]
        keys_of = {}
        for one in made:
            environment = {**one[1], **one[0]}
            keys_of[id(one)] = [self._sort_key(sort, environment, items, one) for sort in clause.order]
        for at in reversed(range(len(clause.order))):
            made.sort(key=lambda one: keys_of[id(one)][at], reverse=clause.order[at].descending)
        start = self.value(clause.skip, {}) if clause.skip else 0
        end = start + self.value(clause.limit, {}) if clause.limit else None
        found = [one[0] for one in made]
        if clause.where is not None:
            found = [row for row in found if self.value(clause.where, row) is True]
        return Answer([item.name for item in items], found, [keys_of[id(one)] for one in made], start, end)

    def _sort_key(self, sort: syntax.Sort, environment: Row, items: Any, one: Any) -> Any:
        for item in items:
            if item.expression == sort.expression:
                return order(one[0][item.name])
        return order(self.value(sort.expression, environment, one[2]))

    def value(self, expression: Expression, row: Row, group: list[Row] | None = None) -> Any:
        def of(part: Expression) -> Any:
            return self.value(part, row, group)

        match expression:
            case syntax.Constant(value):
                return value
            case syntax.Parameter(name):
                return self.parameters[name]
            case syntax.Variable(name):
                return row[name]
            case syntax.Property(inner, name):
                return _property(of(inner), name)
            case syntax.ListOf(items):
                return [of(item) for item in items]
            case syntax.Call(name, arguments) if name in _AGGREGATES:
                return self._aggregate(expression, group or [])
            case syntax.Call(name, arguments):
                return _function(name, [of(one) for one in arguments])
            case syntax.Not(inner):
                return {True: False, False: True}.get(of(inner)) if isinstance(of(inner), bool) else None
            case syntax.Negative(inner):
                return _arithmetic("-", 0, of(inner))
            case syntax.IsNull(inner):
                return of(inner) is None
            case syntax.Arithmetic(first, rest):
                total = of(first)
                for sign, operand in rest:
                    total = _arithmetic(sign, total, of(operand))
                return total
            case syntax.Comparison(first, rest):
                values = [of(first), *(of(operand) for _, operand in rest)]
                return _and([_compare(sign, *values[at : at + 2]) for at, (sign, _) in enumerate(rest)])
            case syntax.Logic("and", parts):
                return _and([of(one) for one in parts])
            case syntax.Logic("or", parts):
                return _not(_and([_not(of(one)) for one in parts]))
            case syntax.Logic("xor", parts):
                truths = [of(one) for one in parts]
                return None if any(not isinstance(one, bool) for one in truths) else sum(truths) % 2 == 1
            case syntax.Matches(operator, left, right):
                return _matches(operator, of(left), of(right))
            case syntax.HasType(inner, types):
                thing = of(inner)
                return thing.type in types if isinstance(thing, Node | Edge) else None
            case syntax.Exists(pattern):
                return any(True for _ in self.assignments([pattern], row))
        raise AssertionError(expression)

    def _aggregate(self, call: syntax.Call, group: list[Row]) -> Any:
        if not call.arguments:
            return len(group)
        values = [self.value(call.arguments[0], row) for row in group]
        values = [value for value in values if value is not None]
        if call.distinct:
            values = list({repr(order(value)): value for value in reversed(values)}.values())[::-1]
        numbers = all(_is_number(value) for value in values)
        match call.name:
            case "count":
                return len(values)
            case "collect":
                return values
            case "sum":
                return sum(values) if numbers else None
            case "avg":
                return sum(values) / len(values) if numbers and values else None
        ordered = sorted(values, key=order)
        return None if not values else ordered[0] if call.name == "min" else ordered[-1]


def _key(element: syntax.NodePattern | syntax.EdgePattern) -> Any:
    return element.name or element.at


def _elements(pattern: Pattern) -> list[syntax.NodePattern | syntax.EdgePattern]:
    return [*pattern.nodes, *pattern.edges]


def _names(pattern: Pattern) -> set[str]:
    return {name for name in (pattern.name, *(one.name for one in _elements(pattern))) if name}


def _aggregates(expression: Expression) -> bool:
    return any(isinstance(one, syntax.Call) and one.name in _AGGREGATES for one in syntax.within(expression))


def _property(thing: Any, name: str) -> Any:
    if isinstance(thing, Node) and name == "id":
        return thing.id
    if isinstance(thing, Node | Edge):
        return thing.event_time_us if name == "event_time_us" else thing.properties.get(name)
    return None


def _function(name: str, values: list[Any]) -> Any:
    if name == "coalesce":
        return next((value for value in values if value is not None), None)
    (value,) = values
    table: dict[tuple[str, type], Callable[[Any], Any]] = {
        ("id", Node): lambda node: node.id,
        ("labels", Node): lambda node: [node.type],
        ("type", Edge): lambda edge: edge.type,
        ("size", str): len,
        ("size", list): len,
        ("length", Path): lambda path: len(path.edges),
        ("nodes", Path): lambda path: path.nodes,
        ("relationships", Path): lambda path: path.edges,
        ("toupper", str): str.upper,
        ("tolower", str): str.lower,
        ("abs", int): abs,
        ("head", list): lambda items: items[0] if items else None,
        ("last", list): lambda items: items[-1] if items else None,
    }
    run = table.get((name, type(value)))
    return None if run is None else run(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _equal(left: Any, right: Any) -> bool | None:
    if left is None or right is None:
        return None
    if _is_number(left) and _is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        if len(left) != len(right):
            return False
        return _and([_equal(one, other) for one, other in zip(left, right, strict=True)])
    if isinstance(left, Node | Edge):
        return bool(left.ref == right.ref)
    return bool(left == right)


def _compare(sign: str, left: Any, right: Any) -> bool | None:
    if sign in ("=", "<>"):
        return _equal(left, right) if sign == "=" else _not(_equal(left, right))
    alike = type(left) is type(right) and isinstance(left, str | bool)
    if not alike and not (_is_number(left) and _is_number(right)):
        return None
    return bool({"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[sign])


def _not(value: Any) -> bool | None:
    return not value if isinstance(value, bool) else None


def _and(values: list[Any]) -> bool | None:
    if any(value is False for value in values):
        return False
    return True if all(value is True for value in values) else None


def _matches(operator: str, left: Any, right: Any) -> bool | None:
    if operator == "in":
        if not isinstance(right, list):
            return None
        return _not(_and([_not(_equal(left, one)) for one in right]))
    if not (isinstance(left, str) and isinstance(right, str)):
        return None
    return {
        "starts with": left.startswith(right),
        "ends with": left.endswith(right),
        "contains": right in left,
    }[operator]


def _arithmetic(sign: str, left: Any, right: Any) -> Any:
    if not (_is_number(left) and _is_number(right)):
        if sign != "+" or left is None or right is None:
            return None
        if isinstance(left, list) or isinstance(right, list):
            return [one for side in (left, right) for one in (side if isinstance(side, list) else [side])]
        return left + right if isinstance(left, str) and isinstance(right, str) else None
    whole = isinstance(left, int) and isinstance(right, int)
    if sign in "/%" and right == 0:
        return None
    if sign == "/":
        return math.trunc(left / right) if whole else left / right
    if sign == "%":
        return int(math.fmod(left, right)) if whole else math.fmod(left, right)
    if sign == "^":
        return None if left == 0 and right < 0 else float(left**right)
    return {"+": left + right, "-": left - right, "*": left * right}[sign]


def order(value: Any) -> Any:
    """Sorts values, ascending, null last; equal for values that are the same to DISTINCT."""
    if value is None:
        return [9]
    if _is_number(value):
        return [7, round(float(value), 9)]
    if isinstance(value, Path):
        return [3.5, [order(one) for one in (*value.nodes, *value.edges)]]
    if isinstance(value, list):
        return [3, [order(one) for one in value]]
    if isinstance(value, Node):
        return [1, value.id, value.type]
    if isinstance(value, Edge):
        return [2, *value.ref]
    return [6 if isinstance(value, bool) else 5, value]
