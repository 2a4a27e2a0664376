"""Strategies for queries, as text, and for graphs small enough to answer them by brute force."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import strategies as st

from weft.graph.model import Edge, Node
from weft.testing.graph import IDS, ModelGraph

_TEXTS = ("''", "'x'", "'xy'", "'é'")
_ids = st.sampled_from(IDS)


class _Names:
    """What a query being drawn has named."""

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.edges: list[str] = []
        self.paths: list[str] = []
        self.values: list[str] = []
        self.count = 0
        self.varied = False

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def hops(self, draw: st.DrawFn) -> str:
        """A variable length, for one edge at most: their walks multiply."""
        if self.varied or draw(st.integers(0, 3)):
            return ""
        self.varied = True
        return draw(st.sampled_from(["*1..2", "*2", "*..2", "*2..3"]))

    def kinds(self) -> dict[str, str]:
        every = {"node": self.nodes, "edge": self.edges, "path": self.paths, "value": self.values}
        return {name: kind for kind, names in every.items() for name in names}


class Drawn(NamedTuple):
    text: str
    parameters: dict[str, Any]


@st.composite
def cypher_queries(draw: st.DrawFn) -> Drawn:
    """Queries over the types of `weft.testing.graph.TYPES`; some ask for what the types do not allow."""
    names = _Names()
    parameters = {"id": draw(_ids), "n": draw(st.integers(0, 3)), "ids": draw(st.lists(_ids, max_size=3))}
    clauses = [draw(_matches_of(names, optional=False))]
    for _ in range(draw(st.integers(0, 2))):
        kind = draw(st.sampled_from(["match", "optional", "with"]))
        if kind == "with":
            clauses.append(draw(_projections(names, "WITH")))
        else:
            clauses.append(draw(_matches_of(names, optional=kind == "optional")))
    clauses.append(draw(_projections(names, "RETURN")))
    return Drawn(" ".join(clauses), parameters)


@st.composite
def _matches_of(draw: st.DrawFn, names: _Names, *, optional: bool) -> str:
    count = draw(st.sampled_from([1, 1, 1, 2]))
    patterns = ", ".join(draw(_patterns(names, 1 if count > 1 or names.nodes else 2)) for _ in range(count))
    where = f" WHERE {draw(_conditions(names, 2))}" if draw(st.integers(0, 2)) == 0 else ""
    return ("OPTIONAL " if optional else "") + f"MATCH {patterns}{where}"


@st.composite
def _patterns(draw: st.DrawFn, names: _Names, most: int) -> str:
    new: list[str] = []
    text = draw(_node_patterns(names, new))
    edges: list[str] = []
    for _ in range(draw(st.integers(0, most))):
        text += draw(_edge_patterns(names, edges)) + draw(_node_patterns(names, new))
    names.nodes += [name for name in new if name not in names.nodes]
    names.edges += edges
    if draw(st.integers(0, 4)) == 0:
        name = names.new("p")
        names.paths.append(name)
        text = f"{name} = {text}"
    return text


@st.composite
def _node_patterns(draw: st.DrawFn, names: _Names, new: list[str]) -> str:
    kind = draw(st.sampled_from(["new", "new", "old", "bare"]))
    name = ""
    if kind == "old" and (names.nodes or new):
        name = draw(st.sampled_from([*names.nodes, *new]))
    elif kind != "bare":
        name = names.new("n")
        new.append(name)
    types = draw(st.sampled_from(["", "", "", ":person", ":person", ":thing", ":person|thing"]))
    inside = draw(st.sampled_from([""] * 12 + [" {id: $id}", " {n: 1}", " {s: 'x'}", " {n: $n}"]))
    return f"({name}{types}{inside})"


@st.composite
def _edge_patterns(draw: st.DrawFn, names: _Names, new: list[str]) -> str:
    types = draw(st.sampled_from(["", ":knows", ":knows", ":knows", ":likes", ":knows|likes"]))
    hops = names.hops(draw)
    name = ""
    if draw(st.booleans()):
        name = names.new("r")
        if not hops:
            new.append(name)
    inside = draw(st.sampled_from([""] * 6 + [" {n: 1}"]))
    left, right = draw(st.sampled_from([("-", "->"), ("<-", "-"), ("-", "-"), ("<-", "->")]))
    return f"{left}[{name}{types}{hops}{inside}]{right}"


def _values(names: _Names) -> st.SearchStrategy[str]:
    options = ["1", "2", "$n", "null", "true", "0.5", *_TEXTS]
    for name in (*names.nodes, *names.nodes, *names.edges):
        options += [f"{name}.n", f"{name}.n", f"{name}.s", f"{name}.n / 2"]
    for name in names.nodes:
        options += [f"{name}.id", f"id({name})", f"size({name}.s)", f"labels({name})"]
    options += [f"type({name})" for name in names.edges]
    options += [f"length({name})" for name in names.paths]
    options += names.values
    plain = st.sampled_from(options[10:] * 3 + options)
    return st.one_of(
        plain,
        plain,
        plain,
        st.tuples(plain, st.sampled_from(["+", "-", "*", "%", "^"]), plain).map(lambda p: " ".join(p)),
        st.tuples(plain, plain).map(lambda p: f"coalesce({p[0]}, {p[1]})"),
        st.tuples(plain, plain).map(lambda p: f"[{p[0]}, {p[1]}]"),
        plain.map(lambda one: f"-{one}"),
    )


@st.composite
def _conditions(draw: st.DrawFn, names: _Names, depth: int) -> str:
    if depth and draw(st.booleans()):
        word = draw(st.sampled_from(["AND", "OR", "OR", "XOR", "NOT"]))
        inner = draw(_conditions(names, depth - 1))
        if word == "NOT":
            return f"NOT ({inner})"
        return f"({inner}) {word} ({draw(_conditions(names, depth - 1))})"
    values = _values(names)
    kind = draw(
        st.sampled_from(
            ["compare", "compare", "compare", "chain", "in", "text", "null", "id", "type", "exists", "same"]
        )
    )
    one, other = draw(values), draw(values)
    node = draw(st.sampled_from(names.nodes)) if names.nodes else ""
    match kind:
        case "chain":
            return f"{one} <= {other} < {draw(values)}"
        case "in":
            return f"{one} IN [{other}, {draw(values)}]"
        case "text":
            word = draw(st.sampled_from(["STARTS WITH", "ENDS WITH", "CONTAINS"]))
            return f"{one} {word} {draw(st.sampled_from(_TEXTS))}"
        case "null":
            return f"{one} IS {draw(st.sampled_from(['', 'NOT ']))}NULL"
        case "id" if node:
            return draw(st.sampled_from([f"{node}.id = $id", f"$id = id({node})", f"{node}.id IN $ids"]))
        case "type" if node:
            return f"{node}:{draw(st.sampled_from(['person', 'thing']))}"
        case "exists" if node:
            return draw(
                st.sampled_from(
                    [f"({node})-[:knows]->()", f"({node})--()", f"({node})-[:knows*2]-({{n: 1}})"]
                )
            )
        case "same" if node:
            return f"{node} {draw(st.sampled_from(['=', '<>']))} {draw(st.sampled_from(names.nodes))}"
    return f"{one} {draw(st.sampled_from(['=', '<>', '<', '<=', '>', '>=']))} {other}"


@st.composite
def _projections(draw: st.DrawFn, names: _Names, word: str) -> str:
    items: list[tuple[str, str, str]] = []
    values = _values(names)
    kinds = names.kinds()
    if kinds:
        kept = draw(st.lists(st.sampled_from(list(kinds)), max_size=2, unique=True))
        items += [(name, name, kinds[name]) for name in kept]
    for _ in range(draw(st.integers(0 if items else 1, 2))):
        items.append((draw(values), names.new("v"), "value"))
    aggregated = draw(st.integers(0, 3)) == 0
    if aggregated:
        inner = draw(values)
        text = draw(
            st.sampled_from(
                [
                    "count(*)",
                    f"count({inner})",
                    f"count(DISTINCT {inner})",
                    f"sum({inner})",
                    f"min({inner})",
                    f"max({inner})",
                    f"avg({inner})",
                    "count(*) + 1",
                    f"size(collect({inner}))",
                ]
            )
        )
        items.append((text, names.new("v"), "value"))
    distinct = draw(st.integers(0, 3)) == 0
    text = (
        word
        + (" DISTINCT " if distinct else " ")
        + ", ".join(
            expression if expression == name else f"{expression} AS {name}" for expression, name, _ in items
        )
    )
    if draw(st.booleans()):
        by = [name for _, name, _ in items]
        if not (aggregated or distinct):
            by += [draw(values)]
        chosen = draw(st.lists(st.sampled_from(by), min_size=1, max_size=2, unique=True))
        text += " ORDER BY " + ", ".join(one + draw(st.sampled_from(["", " ASC", " DESC"])) for one in chosen)
    if word == "RETURN":
        text += draw(st.sampled_from(["", "", "", "", " SKIP 1", " LIMIT 2", " SKIP $n LIMIT 1"]))
    names.nodes = [name for _, name, kind in items if kind == "node"]
    names.edges = [name for _, name, kind in items if kind == "edge"]
    names.paths = [name for _, name, kind in items if kind == "path"]
    names.values = [name for _, name, kind in items if kind == "value"]
    if word == "WITH" and draw(st.integers(0, 2)) == 0:
        text += f" WHERE {draw(_conditions(names, 1))}"
    return text


_properties = st.fixed_dictionaries(
    {}, optional={"n": st.integers(0, 2), "s": st.sampled_from(["", "x", "xy"])}
)


def small_graphs() -> st.SearchStrategy[ModelGraph]:
    """Graphs small enough for brute force, with bare nodes and loops."""
    nodes = st.builds(Node, st.sampled_from(["person", "thing"]), _ids, _properties)
    edges = st.builds(Edge, st.sampled_from(["knows", "knows", "likes"]), _ids, _ids, _properties)
    both = st.tuples(st.lists(nodes, min_size=4, max_size=10), st.lists(edges, min_size=5, max_size=9))
    return both.map(lambda drawn: ModelGraph([*drawn[0], *drawn[1]]))
