"""Patterns as steps over rows: where to start, in which order to walk the edges, what to ask where.

It starts from what is bound or from the node with the fewest candidates (given ids before conditions before
types), then always takes an edge that touches what is there: one that closes a cycle first, then one whose
far end is given. Each condition is asked as soon as all that it names is there: of an edge while its list is
read, of a node once for all rows that reach it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from weft.core.errors import Invalid, LimitExceeded
from weft.graph import layout
from weft.graph.cypher.compile import Bound, Compiled, Compiler, Scope
from weft.graph.cypher.shape import Rel, Shape, Way, ways
from weft.graph.cypher.syntax import (
    Call,
    Comparison,
    Exists,
    Expression,
    Logic,
    Match,
    Matches,
    Pattern,
    Property,
    Variable,
    conjuncts,
    names_in,
    pattern_names,
    within,
)
from weft.graph.model import id_bytes


@dataclass(frozen=True, slots=True)
class Start:
    """Each row with each candidate: these ids of each type, or what the namespaces hold. `exists` wants the
    nodes' own records: nothing but the query says that these ids exist."""

    types: tuple[str, ...]
    ids: tuple[bytes, ...] | None
    scans: tuple[tuple[str, str], ...]
    """(type, namespace)."""
    exists: bool
    test: Compiled | None


@dataclass(frozen=True, slots=True)
class Expand:
    """Each row with each edge from its node in `origin`, and with the far end unless that is in `target`. An
    edge in the slots `used` is not walked again."""

    origin: int
    target: int | None
    ways: tuple[Way, ...]
    hops: tuple[int, int] | None
    backward: bool
    """From the pattern's right to its left."""
    used: tuple[int, ...]
    ids: frozenset[bytes] | None
    types: frozenset[str]
    edge_test: Compiled | None
    node_test: Compiled | None


@dataclass(frozen=True, slots=True)
class Keep:
    test: Compiled


@dataclass(frozen=True, slots=True)
class Bind:
    """The path through these slots, left to right."""

    nodes: tuple[int, ...]
    edges: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """Whether the steps lead anywhere."""

    steps: tuple[Step, ...]


Step = Start | Expand | Keep | Bind | Ask


@dataclass(frozen=True, slots=True)
class MatchPlan:
    steps: tuple[Step, ...]
    optional: bool
    adds: int


def plan_match(match: Match, scope: Scope, compiler: Compiler) -> tuple[MatchPlan, Scope]:
    """The steps of a MATCH after what `scope` holds, and the scope after it."""
    planner = _Planner(match.patterns, conjuncts(match.where), scope, compiler)
    planner.run()
    names = {name: bound for name, bound in planner.scope.names.items() if name.isprintable()}
    after = Scope(names, planner.scope.width)
    return MatchPlan(tuple(planner.steps), match.optional, after.width - scope.width), after


def plan_where(where: Expression | None, scope: Scope, compiler: Compiler) -> tuple[Step, ...]:
    """The steps of a WHERE on its own."""
    planner = _Planner((), conjuncts(where), scope, compiler)
    planner.run()
    return tuple(planner.steps)


class _Condition(NamedTuple):
    expression: Expression
    names: set[str]
    asks: bool
    """Whether it has a pattern inside."""


class _Planner:
    def __init__(
        self, patterns: Iterable[Pattern], conditions: Iterable[Expression], scope: Scope, compiler: Compiler
    ) -> None:
        self.steps: list[Step] = []
        self.scope = scope
        self._compiler = compiler
        self._shape = Shape(tuple(patterns), scope, compiler)
        self._conditions = [
            _Condition(one, names_in(one), _asks(one)) for one in [*conditions, *self._shape.conditions]
        ]
        self._ids = self._given_ids()
        self._edges: list[Rel] = list(self._shape.rels)
        self._used: list[Rel] = []

    def run(self) -> None:
        self._check()
        self._ask()
        while True:
            near = [rel for rel in self._edges if self._has(rel.left) or self._has(rel.right)]
            unbound = [name for name in self._shape.nodes if not self._has(name)]
            if near:
                self._expand(min(near, key=self._cost_of_rel))
            elif unbound:
                self._start(min(unbound, key=self._cost_of_start))
            else:
                break
            self._ask()
        for path in self._shape.paths:
            step = Bind(self._slots(path.nodes), self._slots(path.edges))
            self._bind(path.name, Bound(self.scope.width, "path"))
            self.steps.append(step)
            self._ask()

    def _check(self) -> None:
        """Every condition against every name, before anything is planned."""
        everything = self._shape.scope_after()
        for condition, _, _ in self._conditions:
            asked = [one for one in within(condition) if isinstance(one, Exists)]
            for one in asked:
                for name in pattern_names(one.pattern):
                    self._compiler.bound(name, everything, one.at)
                if one.pattern.name is not None:
                    hint = "leave the name out"
                    raise self._compiler.error("a path in a condition has no name", hint, one.at)
            known: dict[Expression, int] = dict.fromkeys(asked, 0)
            self._compiler.compile(condition, Scope(everything.names, everything.width, known))

    def _has(self, name: str) -> bool:
        return name in self.scope.names

    def _bind(self, name: str, bound: Bound) -> None:
        self.scope = Scope({**self.scope.names, name: bound}, self.scope.width + 1)

    def _cost_of_rel(self, rel: Rel) -> tuple[bool, bool, bool]:
        both = self._has(rel.left) and self._has(rel.right)
        far = rel.right if self._has(rel.left) else rel.left
        return not both, far not in self._ids, rel.hops is not None

    def _cost_of_start(self, name: str) -> tuple[int, int]:
        if name in self._ids:
            return 0, len(self._ids[name])
        asked = any(one.names == {name} for one in self._conditions)
        return (1 if asked else 2), len(self._shape.nodes[name].types)

    def _start(self, name: str) -> None:
        node = self._shape.nodes[name]
        rel = next((rel for rel in self._edges if name in (rel.left, rel.right)), None)
        ids = self._ids.get(name)
        if rel is None:
            scans = [(kind, layout.node_namespace(kind)) for kind in sorted(node.types)]
        else:
            scans = [(way.here, way.namespace) for way in ways(rel, node.types, backward=name != rel.left)]
        test = self._test_of(name, Bound(0, "node", node.types))
        self._bind(name, Bound(self.scope.width, "node", node.types))
        types = tuple(sorted(node.types))
        self.steps.append(Start(types, ids, tuple(scans), rel is None and ids is not None, test))

    def _expand(self, rel: Rel) -> None:
        self._edges.remove(rel)
        backward = not self._has(rel.left)
        here, there = (rel.right, rel.left) if backward else (rel.left, rel.right)
        near, far = self._shape.nodes[here], self._shape.nodes[there]
        closes = self._has(there)
        kind = frozenset(edge.name for edge in rel.types)
        edge_test = self._test_of(rel.name, Bound(0, "edge", kind), rel.each)
        node_test = None if closes else self._test_of(there, Bound(0, "node", far.types))
        ids = None if closes else self._ids.get(there)
        taken = ways(rel, near.types, backward=backward)
        if rel.hops is None:
            taken = [way for way in taken if way.there in far.types]
        else:
            taken = ways(rel, self._compiler.node_types((), 0), backward=backward)
        step = Expand(
            origin=self.scope.names[here].slot,
            target=self.scope.names[there].slot if closes else None,
            ways=tuple(taken),
            hops=rel.hops,
            backward=backward,
            used=tuple(self.scope.names[one.name].slot for one in self._used if _may_meet(one, rel)),
            ids=None if ids is None else frozenset(ids),
            types=far.types,
            edge_test=edge_test,
            node_test=node_test,
        )
        self._used.append(rel)
        self._bind(rel.name, Bound(self.scope.width, "edge" if rel.hops is None else "edges", kind))
        if not closes:
            self._bind(there, Bound(self.scope.width, "node", far.types))
        self.steps.append(step)

    def _test_of(
        self, name: str, bound: Bound, each: tuple[Expression, ...] | None = None
    ) -> Compiled | None:
        """The conditions on this thing alone, taken from those still to ask. `each` are conditions on every
        edge of a variable length, whose name stands for the list elsewhere."""
        if each is None:
            taken = [one for one in self._conditions if one.names == {name} and not one.asks]
            self._conditions = [one for one in self._conditions if one.names != {name} or one.asks]
            own = [one.expression for one in taken]
        else:
            own = list(each)
        if not own:
            return None
        whole = own[0] if len(own) == 1 else Logic("and", tuple(own))
        return self._compiler.compile(whole, Scope({name: bound}, 1))

    def _ask(self) -> None:
        """The conditions that can be asked by now."""
        ready = [one for one in self._conditions if one.names <= self.scope.names.keys()]
        self._conditions = [one for one in self._conditions if not one.names <= self.scope.names.keys()]
        for condition, _, _ in sorted(ready, key=lambda one: one.asks):
            known: dict[Expression, int] = {}
            for one in within(condition):
                if isinstance(one, Exists):
                    inner = _Planner((one.pattern,), (), self.scope, self._compiler)
                    inner.run()
                    known[one] = self.scope.width
                    self.scope = Scope(self.scope.names, self.scope.width + 1)
                    self.steps.append(Ask(tuple(inner.steps)))
            scope = Scope(self.scope.names, self.scope.width, known)
            self.steps.append(Keep(self._compiler.compile(condition, scope)))

    def _slots(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.scope.names[name].slot for name in names)

    def _given_ids(self) -> dict[str, tuple[bytes, ...]]:
        """The ids that the conditions leave to nodes."""
        found: dict[str, tuple[bytes, ...]] = {}
        for condition, names, _ in self._conditions:
            match condition:
                case Comparison(left, (("=", right),)) if len(names) == 1:
                    pairs = [(left, right), (right, left)]
                case Matches("in", left, right) if len(names) == 1:
                    pairs = [(left, right)]
                case _:
                    continue
            for one, other in pairs:
                name = _id_of(one)
                if name in self._shape.nodes and not names_in(other):
                    value = self._compiler.constant(other)
                    if isinstance(condition, Comparison):
                        value = [value]
                    found.setdefault(name, _encoded(value if isinstance(value, list) else []))
        return found


def _id_of(expression: Expression) -> str:
    """The name of the node whose id this is; empty when it is no id."""
    match expression:
        case Property(Variable(name), "id") | Call("id", (Variable(name),)):
            return name
    return ""


def _encoded(values: list[object]) -> tuple[bytes, ...]:
    found = []
    for value in values:
        try:
            found.append(id_bytes(value))  # type: ignore[arg-type]
        except (Invalid, LimitExceeded):
            continue  # No node can have it.
    return tuple(dict.fromkeys(found))


def _asks(condition: Expression) -> bool:
    return any(isinstance(one, Exists) for one in within(condition))


def _may_meet(one: Rel, other: Rel) -> bool:
    return any(edge in other.types for edge in one.types)
