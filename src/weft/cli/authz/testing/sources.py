"""By which relations a user has a permission: where, in the expanded tree, tuples name the user and count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from weft.authz import Authz
from weft.authz.expand import Tree
from weft.authz.tuples import parse_user

_DENIED: Final = 0
_CONDITIONAL: Final = 1
_ALLOWED: Final = 2


def named_users(tree: Tree) -> set[str]:
    """Every user that a tuple of the tree names, usersets and wildcards among them."""
    return {str(item.user) for node in _nodes(tree) for item in node.tuples}


class Sources:
    """The sources of one user in one tree. What an exclusion takes from the user is none."""

    def __init__(self, authz: Authz, tree: Tree, user: str) -> None:
        self._authz = authz
        self._user = parse_user(user)
        self._whole = {
            node.userset: node for node in _nodes(tree) if node.operation == "userset" and not node.open
        }
        self._checked: dict[str, int] = {}
        self._seen: set[str] = set()
        self.found = frozenset(self._walk(tree))
        """`object#relation` of the tuples that name the user."""

    def _walk(self, node: Tree) -> Iterator[str]:
        if node.operation == "userset":
            if node.userset in self._seen:
                return
            self._seen.add(node.userset)
            node = self._whole.get(node.userset, node)
        if self._value(node) == _DENIED:
            return
        if any(item.user == self._user for item in node.tuples):
            yield node.userset
        for child in node.children[:1] if node.operation == "exclusion" else node.children:
            yield from self._walk(child)

    def _value(self, node: Tree) -> int:
        """Whether the user is among those of a node, as far as one can tell without context."""
        if node.operation == "userset":
            return self._check(node.userset)
        if node.operation == "users":
            return _ALLOWED  # it stands right below its relation, which was checked
        values = [self._value(child) for child in node.children]
        if node.operation == "exclusion":
            return min(values[0], _ALLOWED - values[1])
        return max(values, default=_DENIED) if node.operation == "union" else min(values, default=_DENIED)

    def _check(self, userset: str) -> int:
        if userset not in self._checked:
            object_, _, relation = userset.rpartition("#")
            decision = self._authz.check(object_, relation, self._user)
            self._checked[userset] = (
                _CONDITIONAL if decision.conditional else _ALLOWED if decision.allowed else _DENIED
            )
        return self._checked[userset]


def _nodes(tree: Tree) -> Iterator[Tree]:
    yield tree
    for child in tree.children:
        yield from _nodes(child)
