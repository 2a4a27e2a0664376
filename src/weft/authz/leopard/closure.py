"""Which nodes of a changing graph reach which: both directions, as Roaring bitmaps.

Added edges are unions, so the sets stay right. A removed edge is worked out anew for whatever it touched,
where that is little. Where it is much, the sets stay as they were and their nodes are *dirty* until
`repair`: then a set holds all that is reached and perhaps more. So a miss is right at any time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pyroaring import BitMap

from weft.authz.leopard.build import close
from weft.authz.leopard.sets import Sets, Stored

_AT_ONCE: Final = 256
"""Sets that a removal works out anew itself, at some microseconds each."""
_ONE_BY_ONE: Final = 8
"""Up to here, adding single numbers is faster than a union."""


class Closure:
    """Edges lead from a parent to a child. One thread changes it at a time; readers may look at single
    bitmaps at any moment, but iterate over copies only."""

    def __init__(self) -> None:
        self.below = Sets()
        """Node -> itself and what it reaches."""
        self.above = Sets()
        """Node -> itself and what reaches it."""
        self.dirty_below = BitMap()
        """Nodes whose `below` may hold too much; whatever reaches one is another."""
        self.dirty_above = BitMap()
        """Nodes whose `above` may hold too much; whatever one reaches is another."""
        self.children: dict[int, set[int]] = {}
        self.parents: dict[int, set[int]] = {}

    def load(self, edges: list[tuple[int, int]]) -> None:
        """Take all edges at once, from parent to child, and build the sets."""
        for parent, child in edges:
            self._link(parent, child)
        self.dirty_below |= BitMap(self.children)
        self.dirty_above |= BitMap(self.parents)
        self.repair()

    def restore(self, edges: Iterable[tuple[int, int]], below: Stored, above: Stored) -> None:
        """Take edges whose sets are stored."""
        for parent, child in edges:
            self._link(parent, child)
        self.below.stored, self.above.stored = below, above

    def has(self, parent: int, child: int) -> bool:
        return child in self.children.get(parent, ())

    def below_of(self, node: int) -> BitMap:
        """What the node reaches, itself included: not to be changed."""
        return self.below.find(node) or BitMap([node])

    def above_of(self, node: int) -> BitMap:
        """What reaches the node, itself included: not to be changed."""
        return self.above.find(node) or BitMap([node])

    def add(self, parent: int, child: int) -> None:
        """Add an edge; nothing when it is there."""
        if self.has(parent, child):
            return
        self._link(parent, child)
        ups, downs = self.above_of(parent), self.below_of(child)
        new_ups, new_downs = ups - self.above_of(child), downs - self.below_of(parent)
        _extend(self.below, new_ups, downs)
        _extend(self.above, new_downs, ups)
        if child in self.dirty_below:
            self.dirty_below |= ups
        if parent in self.dirty_above:
            self.dirty_above |= downs

    def remove(self, parent: int, child: int) -> None:
        """Remove an edge; nothing when it is not there."""
        if not self.has(parent, child):
            return
        self._unlink(parent, child)
        ups, downs = self.above_of(parent).copy(), self.below_of(child).copy()
        clean = ups.isdisjoint(self.dirty_below) and downs.isdisjoint(self.dirty_above)
        if clean and len(ups) + len(downs) <= _AT_ONCE:
            close(ups, self.children, self.below)
            close(downs, self.parents, self.above)
        else:
            self.dirty_below |= ups
            self.dirty_above |= downs

    def repair(self) -> None:
        """Work the dirty sets out anew; readers see them as dirty until all are right."""
        close(self.dirty_below, self.children, self.below)
        close(self.dirty_above, self.parents, self.above)
        self.dirty_below, self.dirty_above = BitMap(), BitMap()

    def copy(self) -> Closure:
        """Another closure of the same graph, that goes its own way."""
        other = Closure()
        other.below, other.above = self.below.copy(), self.above.copy()
        other.dirty_below, other.dirty_above = self.dirty_below.copy(), self.dirty_above.copy()
        other.children = {node: set(found) for node, found in self.children.items()}
        other.parents = {node: set(found) for node, found in self.parents.items()}
        return other

    def _link(self, parent: int, child: int) -> None:
        self.children.setdefault(parent, set()).add(child)
        self.parents.setdefault(child, set()).add(parent)

    def _unlink(self, parent: int, child: int) -> None:
        for edges, at, other in ((self.children, parent, child), (self.parents, child, parent)):
            edges[at].remove(other)
            if not edges[at]:
                del edges[at]


def _extend(sets: Sets, nodes: BitMap, more: BitMap) -> None:
    few = list(more) if len(more) <= _ONE_BY_ONE else None
    for node in nodes:
        known = sets.find(node)
        if known is None:
            known = sets[node] = BitMap([node])
        if few is None:
            known |= more
        else:
            for each in few:
                known.add(each)
