"""Who is in an expanded tree: set algebra over its nodes, so that expand can be held against check."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from weft.authz.expand import Tree
from weft.authz.tuples import RelationTuple, User, parse_tuple, parse_user

Judge = Callable[[RelationTuple], bool | None]
"""Whether a tuple's condition holds; None where that depends on missing context."""


def holds_in_tree(tree: Tree, user: User, judge: Judge) -> bool | None:
    """Whether the user is in the tree; None where that depends on missing context or on an exclusion of
    itself."""
    usersets = {node.userset: node for node in _nodes(tree) if node.operation == "userset" and not node.open}
    members = _Members(usersets, user, judge)
    sure: set[str] = set()
    while True:
        possible = members.least(sure, False)
        surer = members.least(possible, True)
        if surer == sure:
            break
        sure = surer
    name = tree.userset
    return True if name in sure else None if name in possible else False


class _Members:
    """The usersets of a tree that one user is in, as the least fixed point over all of them."""

    def __init__(self, usersets: dict[str, Tree], user: User, judge: Judge) -> None:
        self._usersets = usersets
        self._user = user
        self._judge = judge

    def least(self, against: set[str], sure: bool) -> set[str]:
        """The least set of usersets with the user, where exclusions go by `against`."""
        of: set[str] = {str(self._user)} & self._usersets.keys()
        size = -1
        while size != len(of):
            size = len(of)
            of |= {
                name
                for name, node in self._usersets.items()
                if any(self._holds(child, of, against, sure) for child in node.children)
            }
        return of

    def _holds(self, node: Tree, of: set[str], against: set[str], sure: bool) -> bool:
        below = (self._holds(child, of, against, sure) for child in node.children)
        match node.operation:
            case "userset":
                return node.userset in of or node.userset == str(self._user)
            case "users":
                return self._named(node, sure) or self._through(node, of, sure)
            case "union":
                return self._through(node, of, sure) or any(
                    self._holds(child, of, against, sure)
                    for child in node.children
                    if child.operation != "userset"
                )
            case "intersection":
                return all(below)
            case "exclusion":
                base, subtract = node.children
                return self._holds(base, of, against, sure) and not self._holds(
                    subtract, against, of, not sure
                )
            case "all":
                holds = {id(child): self._holds(child, of, against, sure) for child in node.children}
                some = any(
                    holds[id(child)] and self._stands(child.condition, sure) for child in node.children
                )
                there = [child for child in node.children if self._stands(child.condition, not sure)]
                return some and all(holds[id(child)] for child in there)

    def _named(self, node: Tree, sure: bool) -> bool:
        """Whether one of the node's tuples names the user, or everybody like the user."""
        if not parse_user(node.userset).is_userset:
            return node.userset == str(self._user)
        everybody = User(self._user.namespace, "*", self._user.relation)
        return any(
            item.user in (self._user, everybody) and self._stands(str(item.condition or ""), sure)
            for item in node.tuples
        )

    def _through(self, node: Tree, of: set[str], sure: bool) -> bool:
        """Whether the user is in a userset right below the node, by a tuple that stands."""
        return any(
            (child.userset in of or child.userset == str(self._user)) and self._stands(child.condition, sure)
            for child in node.children
            if child.operation == "userset"
        )

    def _stands(self, condition: str, sure: bool) -> bool:
        if not condition:
            return True
        held = self._judge(parse_tuple(f"a:b#c@d:e[{condition}]"))
        return held is True or (held is None and not sure)


def _nodes(tree: Tree) -> Iterator[Tree]:
    yield tree
    for child in tree.children:
        yield from _nodes(child)
