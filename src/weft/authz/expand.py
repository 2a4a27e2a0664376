"""Expand: the tree of usersets behind `object#relation`, as the Zanzibar paper's Expand returns it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Literal

import msgspec

from weft.authz.plan import Plan
from weft.authz.schema.model import (
    ComputedUserset,
    Exclusion,
    Intersection,
    Rewrite,
    Self,
    This,
    TupleToUserset,
    Union,
)
from weft.authz.store import Read, Rows, Users
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple

Operation = Literal["users", "userset", "union", "intersection", "exclusion", "all"]


class Tree(msgspec.Struct):
    """A node of the tree.

    `users` holds tuples, and below it the usersets that they name; `userset` is `object#relation` with its
    rewrite below it; the others combine their children (`exclusion`: the first without the second, `all`: an
    arrow that asks for every object).
    """

    operation: Operation
    userset: str = ""
    """`object#relation`, for `users` and `userset`."""
    tuples: list[RelationTuple] = []
    children: list[Tree] = []
    condition: str = ""
    """The condition on the tuple that leads here from above."""
    open: bool = False
    """The node stands elsewhere in the tree, or below the depth asked for: its children are not repeated."""

    def users(self) -> Iterator[str]:
        """The users that tuples in the tree name, usersets apart; not evaluated, so excluded ones too."""
        for item in self.tuples:
            if not item.user.is_userset:
                yield str(item.user)
        for child in self.children:
            yield from child.users()


_Fill = Callable[[Rows], None]


class Expansion:
    """The tree of one `object#relation`, down to `depth` tuples below it."""

    def __init__(self, plan: Plan, standing: Callable[[RelationTuple], bool], depth: int) -> None:
        self._plan = plan
        self._standing = standing
        self._depth = depth
        self._seen: set[tuple[ObjectRef, str]] = set()
        self._asked: list[tuple[Users, _Fill]] = []

    def expand(self, object_: ObjectRef, relation: str) -> Generator[list[Read], list[Rows], Tree]:
        """The tree, level by level."""
        tree = self._userset(object_, relation, 0)
        while self._asked:
            asked, self._asked = self._asked, []
            for (_, fill), rows in zip(asked, (yield [read for read, _ in asked]), strict=True):
                fill([row for row in rows if self._standing(row)])
        return tree

    def _userset(self, object_: ObjectRef, relation: str, depth: int, condition: str = "") -> Tree:
        tree = Tree("userset", f"{object_}#{relation}", condition=condition)
        config = self._plan.schema.find(object_.namespace, relation)
        tree.open = (object_, relation) in self._seen or depth > self._depth
        if config and not tree.open:
            self._seen.add((object_, relation))
            tree.children = [self._node(config.rewrite, object_, relation, depth)]
        return tree

    def _node(self, node: Rewrite, object_: ObjectRef, relation: str, depth: int) -> Tree:
        match node:
            case This():
                return self._tuples(object_, relation, depth)
            case ComputedUserset(name):
                return self._userset(object_, name, depth)
            case TupleToUserset():
                return self._arrow(node, object_, depth)
            case Union(children):
                return Tree(
                    "union", children=[self._node(part, object_, relation, depth) for part in children]
                )
            case Intersection(children):
                parts = [self._node(part, object_, relation, depth) for part in children]
                return Tree("intersection", children=parts)
            case Exclusion(base, subtract):
                parts = [self._node(part, object_, relation, depth) for part in (base, subtract)]
                return Tree("exclusion", children=parts)
            case Self():
                return Tree("users", str(object_))
        return Tree("union")

    def _tuples(self, object_: ObjectRef, relation: str, depth: int) -> Tree:
        tree = Tree("users", f"{object_}#{relation}")

        def fill(rows: Rows) -> None:
            tree.tuples = rows
            tree.children = [
                self._userset(row.user.object, row.user.relation, depth + 1, _condition(row))
                for row in rows
                if row.user.is_userset
            ]

        self._asked.append((Users(object_, relation), fill))
        return tree

    def _arrow(self, node: TupleToUserset, object_: ObjectRef, depth: int) -> Tree:
        tree = Tree("all" if node.all else "union")

        def fill(rows: Rows) -> None:
            named = dict.fromkeys(
                (row.user.object, _condition(row)) for row in rows if row.user.id != WILDCARD
            )
            tree.children = [
                self._userset(at, node.computed, depth + 1, condition)
                for at, condition in named
                if node.all or self._plan.schema.find(at.namespace, node.computed)
            ]

        self._asked.append((Users(object_, node.tupleset), fill))
        return tree


def _condition(row: RelationTuple) -> str:
    return str(row.condition) if row.condition else ""
