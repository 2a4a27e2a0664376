"""What a MATCH's patterns say together: nodes with their possible types, edges between them, conditions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from weft.graph import layout
from weft.graph.cypher.compile import Bound, Compiler, Scope
from weft.graph.cypher.syntax import (
    Comparison,
    Direction,
    EdgePattern,
    Expression,
    HasType,
    IsNull,
    NodePattern,
    Not,
    Pattern,
    Property,
    Variable,
    names_in,
)
from weft.graph.types import EdgeType


@dataclass(slots=True)
class NodeShape:
    types: frozenset[str]
    at: int


@dataclass(frozen=True, slots=True)
class Rel:
    """An edge between two named nodes. `each` are the conditions on every edge of a variable length."""

    name: str
    left: str
    right: str
    types: tuple[EdgeType, ...]
    direction: Direction
    hops: tuple[int, int] | None
    each: tuple[Expression, ...] | None
    at: int


class Way(NamedTuple):
    """One kind of adjacency list: the edges of one type at nodes of one type. `loops` says whether it is the
    list that gives the loops, of two that have them."""

    namespace: str
    edge: str
    forward: bool
    here: str
    there: str
    loops: bool


class PathShape(NamedTuple):
    name: str
    nodes: tuple[str, ...]
    edges: tuple[str, ...]


def ways(rel: Rel, types: Iterable[str], *, backward: bool) -> list[Way]:
    """The lists to read for a hop from nodes of these types, at the right end when `backward`."""
    direction = rel.direction
    if backward and direction != "both":
        direction = "in" if direction == "out" else "out"
    here = set(types)
    found = []
    for edge in rel.types:
        source, target = edge.source, edge.target
        if direction != "in" and source in here:
            found.append(Way(layout.out_namespace(edge.name), edge.name, True, source, target, True))
        if direction != "out" and target in here:
            loops = direction == "in" or source != target
            found.append(Way(layout.in_namespace(edge.name), edge.name, False, target, source, loops))
    return found


class Shape:
    def __init__(self, patterns: tuple[Pattern, ...], scope: Scope, compiler: Compiler) -> None:
        self.nodes: dict[str, NodeShape] = {}
        self.rels: list[Rel] = []
        self.paths: list[PathShape] = []
        self.conditions: list[Expression] = []
        self._scope = scope
        self._compiler = compiler
        for pattern in patterns:
            self._add(pattern)
        self._narrow()

    def scope_after(self) -> Scope:
        """Every name that the patterns give; the slots mean nothing yet."""
        names = dict(self._scope.names)
        names.update((name, Bound(0, "node", node.types)) for name, node in self.nodes.items())
        for rel in self.rels:
            kinds = frozenset(edge.name for edge in rel.types)
            names[rel.name] = Bound(0, "edge" if rel.hops is None else "edges", kinds)
        names.update((path.name, Bound(0, "path")) for path in self.paths)
        return Scope(names, 0)

    def _add(self, pattern: Pattern) -> None:
        nodes = [self._node(node, alone=not pattern.edges) for node in pattern.nodes]
        edges = [self._edge(edge, *nodes[at : at + 2]) for at, edge in enumerate(pattern.edges)]
        if pattern.name is not None:
            self._new(pattern.name, pattern.at)
            self.paths.append(PathShape(pattern.name, tuple(nodes), tuple(edges)))

    def _node(self, pattern: NodePattern, *, alone: bool) -> str:
        name = f"\0{pattern.at}" if pattern.name is None else pattern.name
        types = self._compiler.node_types(pattern.types, pattern.at)
        variable = Variable(name, at=pattern.at)
        known = self._scope.names.get(name)
        if known is not None:
            if known.kind != "node":
                hint = "use a name that MATCH gave to a node"
                raise self._compiler.error(f"`{name}` is not a node", hint, pattern.at)
            types &= known.types
            if pattern.types:
                self.conditions.append(HasType(variable, pattern.types, at=pattern.at))
            elif alone:
                self.conditions.append(Not(IsNull(variable)))
        elif name in self.nodes:
            types &= self.nodes[name].types
        else:
            self._new(name, pattern.at)
        if not types:
            raise self._impossible(pattern.at, "a node has one type")
        self.nodes[name] = NodeShape(types, pattern.at)
        self.conditions += _equal(variable, pattern)
        return name

    def _edge(self, pattern: EdgePattern, left: str, right: str) -> str:
        name = f"\0{pattern.at}" if pattern.name is None else pattern.name
        self._new(name, pattern.at)
        types = tuple(self._compiler.edge_types(pattern.types, pattern.at))
        equal = _equal(Variable(name, at=pattern.at), pattern)
        each = None
        if pattern.hops is None:
            self.conditions += equal
        else:
            each = equal
            for _, value in pattern.properties:
                if names_in(value):
                    hint = "use constants and parameters"
                    raise self._compiler.error(
                        "the edges of a variable length are not compared with names", hint, value.at
                    )
            kinds = frozenset(edge.name for edge in types)
            for condition in each:
                self._compiler.compile(condition, Scope({name: Bound(0, "edge", kinds)}, 1))
        self.rels.append(Rel(name, left, right, types, pattern.direction, pattern.hops, each, pattern.at))
        return name

    def _new(self, name: str, at: int) -> None:
        taken = {*self._scope.names, *self.nodes}
        taken |= {rel.name for rel in self.rels} | {path.name for path in self.paths}
        if name in taken:
            hint = "use another name, and compare the two in WHERE"
            raise self._compiler.error(f"`{name}` is already taken", hint, at)

    def _narrow(self) -> None:
        """Leave to every node the types that its edges allow."""
        changed = True
        while changed:
            changed = False
            for rel in self.rels:
                for name, types in self._ends(rel).items():
                    node = self.nodes[name]
                    left = node.types & types
                    if not left:
                        joins = "; ".join(
                            f"`{edge.name}` goes from `{edge.source}` to `{edge.target}`"
                            for edge in rel.types[:3]
                        )
                        raise self._impossible(rel.at, joins or "the graph has no edge types")
                    changed = changed or left != node.types
                    node.types = left

    def _ends(self, rel: Rel) -> dict[str, frozenset[str]]:
        low, high = rel.hops or (1, 1)
        ends: dict[str, frozenset[str]] = {}
        for name, other, backward in ((rel.right, rel.left, False), (rel.left, rel.right, True)):
            reached: set[str] = set()
            front = self.nodes[other].types
            for depth in range(1, high + 1):
                front = frozenset(way.there for way in ways(rel, front, backward=backward))
                if depth >= low:
                    reached |= front
            ends[name] = ends.get(name, frozenset(reached)) & frozenset(reached)
        return ends

    def _impossible(self, at: int, hint: str) -> Exception:
        return self._compiler.error("no such path can exist", hint, at)


def _equal(variable: Variable, pattern: NodePattern | EdgePattern) -> tuple[Expression, ...]:
    return tuple(
        Comparison(Property(variable, name, at=value.at), (("=", value),), at=value.at)
        for name, value in pattern.properties
    )
