"""The schema: a graph's types by name, what may change when it is opened again, and what paths can exist."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from weft.core.errors import Conflict, Invalid, Unavailable
from weft.graph.types import EdgeType, GraphType, NodeType, a_kind

T = TypeVar("T")


class Schema:
    """Node and edge types that fit together: every edge type joins declared node types. It only grows."""

    def __init__(self, types: Iterable[GraphType] = (), *, partial: bool = False) -> None:
        """`partial` leaves out the check that the ends of edge types are declared."""
        self.nodes: dict[str, NodeType] = {}
        self.edges: dict[str, EdgeType] = {}
        self._news: Callable[[], Schema | None] = lambda: None
        for kind in types:
            self._add(kind)
        if not partial:
            self._check_ends()

    def _check_ends(self) -> None:
        for edge in self.edges.values():
            for end, name in (("source", edge.source), ("target", edge.target)):
                if name not in self.nodes:
                    raise Invalid(
                        f"the {end} of {edge.label} is the undeclared node type `{name}`",
                        hint=_have(self.nodes),
                    )

    def _add(self, kind: GraphType) -> None:
        if not isinstance(kind, NodeType | EdgeType):
            raise Invalid(f"`{kind!r}` is not a type", hint="use NodeType(...) or EdgeType(...)")
        known: dict[str, NodeType] | dict[str, EdgeType]
        known = self.nodes if isinstance(kind, NodeType) else self.edges
        if kind.name in known:
            raise Invalid(f"{kind.label} is declared twice")
        known[kind.name] = kind  # type: ignore[assignment]

    def follow(self, news: Callable[[], Schema | None]) -> None:
        """Ask this for types that others have added; it answers None when there are none."""
        self._news = news

    def refresh(self) -> bool:
        """Take over what others have added, here and wherever this schema is used; whether there was any.
        It costs a read: it is for when something is not known."""
        news = self._news()
        if news is None:
            return False
        grown = self.extended(news.types())
        self.nodes, self.edges = grown.nodes, grown.edges
        return True

    def current(self, ask: Callable[[], T]) -> T:
        """What `ask` answers; if that is `Invalid` and others have added types, what it answers then."""
        try:
            return ask()
        except Invalid:
            if not self._refreshed():
                raise
        return ask()

    def _refreshed(self) -> bool:
        try:
            return self.refresh()
        except (Invalid, Unavailable):
            return False  # The store cannot be asked; what was wrong with the request is to be told.

    def types(self) -> list[GraphType]:
        return [*self.nodes.values(), *self.edges.values()]

    def node(self, name: str) -> NodeType:
        try:
            return self.nodes[name]
        except (KeyError, TypeError):
            raise Invalid(f"there is no node type `{name}`", hint=_have(self.nodes)) from None

    def edge(self, name: str) -> EdgeType:
        try:
            return self.edges[name]
        except (KeyError, TypeError):
            raise Invalid(f"there is no edge type `{name}`", hint=_have(self.edges)) from None

    def extended(self, declared: Sequence[GraphType]) -> Schema:
        """This schema with more types, properties or another retention; `Conflict` when a declaration takes
        back what stored data relies on: the ends of an edge type, the kind of a property, or a property."""
        before = {(type(kind), kind.name): kind for kind in self.types()}
        after = {
            **before,
            **{(type(kind), kind.name): kind for kind in Schema(declared, partial=True).types()},
        }
        for key, kind in after.items():
            if key in before:
                _check_extends(before[key], kind)
        return Schema(after.values())


def _check_extends(before: GraphType, after: GraphType) -> None:
    hint = "declare it as it was, or open another graph"
    if _laid_out(before, before) != _laid_out(after, before):
        raise Conflict(
            f"{after.label} is laid out by {_told(after, before)}, "
            f"but in this graph by {_told(before, before)}",
            hint="declare it as it was; or declare a new type beside it, or a new graph, and ingest again",
        )
    if isinstance(before, EdgeType) and isinstance(after, EdgeType):
        ends, were = (after.source, after.target), (before.source, before.target)
        if ends != were:
            raise Conflict(
                f"{after.label} joins `{ends[0]}` to `{ends[1]}`, "
                f"but in this graph `{were[0]}` to `{were[1]}`",
                hint=hint,
            )
    for name, kind in before.kinds.items():
        now = after.kinds.get(name)
        if now is not kind:
            said = a_kind(now) if now else "not declared"
            raise Conflict(
                f"property `{name}` of {after.label} is {said}; in this graph it is {a_kind(kind)}",
                hint=hint,
            )


def _laid_out(kind: GraphType, before: GraphType) -> dict[str, object]:
    """What says where the known properties lie. What was written by one layout is not found by another, and
    other processes may be writing by the old one at this moment."""
    if isinstance(kind, EdgeType):
        return {"split": kind.split, "newest": kind.newest}
    groups = {group: sorted(before.kinds.keys() & names) for group, names in kind.groups.items()}
    return {"groups": groups}


def _told(kind: GraphType, before: GraphType) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in _laid_out(kind, before).items())


def _have(known: Iterable[str]) -> str:
    return "declared are " + (", ".join(f"`{name}`" for name in known) or "none")
