"""The index of one component of groups: who is in which, at the one revision that it has applied.

Users and usersets are the numbers of the mirror; what they mean is nobody's business here. Groups nested in
groups are a `Closure` over dense numbers of its own, members who are no groups stand beside it. A check is
then Zanzibar's: do the groups that name the user, and the groups below the one asked about, have one in
common?

Edges that hold only at times (a condition, an expiry) count in the second of two closures. So what the first
has is sure, what the second lacks is sure too, and between them the caller must walk.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pyroaring import BitMap

from weft.authz.leopard.closure import Closure
from weft.authz.leopard.sets import Sets, Stored

_TUPLE: Final = 8
"""Up to here, trying each of the user's groups is faster than a bitmap."""
_WALK: Final = 8
"""Sets that are repaired in the time of one walk."""
_OTHERS: Final = 8
"""Sets are worked out anew where more than one edge in so many is another than when they were saved."""
_OBJECT: Final = (1 << 64) - 1
_SERIAL_BITS: Final = 48
Direct = tuple[int, ...] | BitMap
"""Nodes that name a user."""


class Edge(NamedTuple):
    """What became of one tuple between a group and a member of it."""

    group: int
    user: int
    """A user, a wildcard or a userset."""
    state: bool | None
    """True for one that always holds, False for one that may hold, None where it is gone."""


class Found(NamedTuple):
    """An answer in two parts: what is sure, and what is possible beyond that."""

    sure: list[int]
    possible: list[int]


class Saved(NamedTuple):
    """Groups by node, the edges between them, and the sets of just these edges."""

    groups: list[int]
    edges: set[tuple[int, int]]
    below: Stored
    above: Stored


class Snapshot(NamedTuple):
    """The same to be saved: by node, with serialized sets."""

    revision: int
    groups: list[int]
    edges: list[tuple[int, int]]
    below: list[bytes]
    above: list[bytes]


class Index:
    """Answers at `revision`, None at any other.

    `kinds` are those of the usersets that it knows: their numbers without the serial. `computed` has, by such
    a kind, the relations of the same object that hold its users, too. `repair_soon` is called when hits are
    left open so often that `repair` is cheaper than walking for them.

    Changes are made by one thread at a time, under a lock; readers take none: they see a change begin and end
    by `revision`, which is -1 between.
    """

    def __init__(
        self,
        kinds: Collection[int],
        computed: Mapping[int, Sequence[int]] | None = None,
        repair_soon: Callable[[], None] = lambda: None,
    ) -> None:
        self.revision = -1
        self.kinds = kinds
        self._repair_soon = repair_soon
        self.restored = False
        """Whether its sets are those that were saved, and a few changes."""
        self._lost = 0
        """Hits that were left open since the last repair."""
        self._computed = dict(computed or {})
        self._computes: dict[int, list[int]] = defaultdict(list)
        """The reverse: by kind of userset, the relations of the same object that it is computed from."""
        for kind, relations in self._computed.items():
            for relation in relations:
                self._computes[relation << 16 | kind & 0xFFFF].append(kind >> 16)
        self._node: dict[int, int] = {}
        """Group -> its node."""
        self._group: list[int] = []
        """Node -> its group."""
        self._sure = Closure()
        self._below = self._sure.below
        self._possible: Closure | None = None
        """Of all edges; None while each of them is sure."""
        self._maybe_edges: set[tuple[int, int]] = set()
        self._fixed: set[tuple[int, int]] = set()
        """Edges that the schema makes, not tuples."""
        self._direct: dict[int, Direct] = {}
        """User or wildcard -> nodes."""
        self._maybe: dict[int, Direct] = {}
        self._wildcards: set[int] = set()
        """Those of them that are in a group, or may be."""
        self._writing = threading.Lock()

    # changes

    def build(self, revision: int, edges: Iterable[Edge], saved: Saved | None = None) -> None:
        """Fill an empty index with everything that holds, or may hold, at a revision; with the sets that were
        saved, where few edges are others now."""
        with self._writing:
            for group in self._restored(saved.groups) if saved else ():
                self._join(group)
            between: set[tuple[int, int]] = set()
            maybe: list[Edge] = []
            for edge in edges:
                if edge.user <= _OBJECT:
                    self._put_direct(edge)
                elif edge.state:
                    between.add((self._node_of(edge.group), self._node_of(edge.user)))
                else:
                    maybe.append(edge)
            self._fill(between | self._fixed, saved)
            for edge in maybe:
                self._put_nested(edge)
            self.revision = revision

    def _fill(self, edges: set[tuple[int, int]], saved: Saved | None) -> None:
        """Have the sets of these edges: all worked out, or only what is not as it was saved."""
        self._sure = Closure()
        self._below = self._sure.below
        other = edges ^ saved.edges if saved else edges
        if saved is None or len(other) * _OTHERS > len(edges):
            self._sure.load(list(edges))
            return
        self.restored = True
        self._sure.restore(saved.edges, saved.below, saved.above)
        for edge in other:
            (self._sure.add if edge in edges else self._sure.remove)(*edge)
        self._sure.repair()

    def snapshot(self) -> Snapshot:
        """What is worth saving."""
        with self._writing:
            self._sure.repair()
            sure = self._sure
            edges = [(parent, child) for parent, children in sure.children.items() for child in children]
            return Snapshot(
                self.revision,
                list(self._group),
                edges,
                *(
                    [b"" if (found := sets.find(node)) is None else found.serialize() for node in nodes]
                    for nodes in [range(len(self._group))]
                    for sets in (sure.below, sure.above)
                ),
            )

    def apply(self, revision: int, edges: Iterable[Edge]) -> None:
        """What a later revision changed; nothing is answered until that is done."""
        with self._writing:
            self.revision = -1
            for edge in edges:
                if edge.user <= _OBJECT:
                    self._put_direct(edge)
                else:
                    self._put_nested(edge)
            self.revision = revision

    @property
    def dirty(self) -> bool:
        """Whether sets wait for `repair`."""
        return any(closure.dirty_below or closure.dirty_above for closure in self._closures())

    def repair(self) -> None:
        """Work out anew what removed edges left dirty."""
        with self._writing:
            for closure in self._closures():
                closure.repair()
            self._lost = 0

    # questions

    def contains(self, user: int, group: int, revision: int) -> bool | None:
        """Whether the user is in the group; None where the caller must walk."""
        if self.revision != revision:
            return None
        node = self._node.get(group)
        mine = self._direct.get(user)
        if node is None or mine is None:
            mine = self._direct_of(user)
            if node is None or mine is None:
                answer = False if mine is not None else self._beside(user, group)
                if group >> _SERIAL_BITS not in self.kinds:
                    answer = None
                return answer if self.revision == revision else None
        dirty = self._sure.dirty_below
        below = self._below.get(node)
        if below is None and self._below.stored is not None:
            below = self._below.find(node)
        if below is None:
            hit = node in mine
        elif isinstance(mine, tuple):
            hit = False
            for at in mine:
                if at in below:
                    hit = True
                    break
        else:
            hit = below.intersect(mine)
        if hit:
            answer = True if node not in dirty else self._left_open()
        elif self._wildcards or self._maybe or self._possible is not None:
            answer = self._rare(user, mine, node)
        else:
            answer = False
        return answer if self.revision == revision else None

    def groups_of(self, user: int, revision: int) -> Found | None:
        """All groups that the user is in, a userset in its own; None at another revision."""
        if self.revision != revision:
            return None
        direct = self._direct_of(user)
        if direct is None:
            return None
        everybody = self._everybody(user)
        starts = BitMap(direct) | BitMap(self._direct.get(everybody, ()))
        maybe = starts | BitMap(self._maybe.get(user, ())) | BitMap(self._maybe.get(everybody, ()))
        dirty = self._sure.dirty_above
        sure, possible = self._sure.above, (self._possible or self._sure).above
        return self._found(starts, _reached(starts, sure), _reached(maybe, possible), dirty, revision)

    def groups_below(self, group: int, revision: int) -> Found | None:
        """The group and all groups that are in it; None at another revision."""
        node = self._node.get(group)
        if node is None:
            alone = not self._computed and group >> _SERIAL_BITS in self.kinds
            return Found([group], []) if alone and self.revision == revision else None
        start = BitMap([node])
        dirty = self._sure.dirty_below
        sure, possible = self._sure.below, (self._possible or self._sure).below
        return self._found(start, _reached(start, sure), _reached(start, possible), dirty, revision)

    @property
    def nested(self) -> int:
        """How many groups have groups in them, or may have."""
        return len((self._possible or self._sure).children)

    def _found(
        self, starts: BitMap, sure: BitMap, possible: BitMap, dirty: BitMap, revision: int
    ) -> Found | None:
        """Groups by number. What is reached from dirty nodes is no more than possible."""
        if not starts.isdisjoint(dirty):
            self._left_open()
            possible |= sure
            sure = starts
        group = self._group
        found = Found([group[node] for node in sure], [group[node] for node in possible - sure])
        return found if self.revision == revision else None

    def _left_open(self) -> bool | None:
        """What a hit on dirty sets is. Often enough, and repair costs less than the walks."""
        self._lost += 1
        if self._lost * _WALK > len(self._sure.dirty_below) + len(self._sure.dirty_above):
            self._lost = 0
            self._repair_soon()
        return None

    def _direct_of(self, user: int) -> Direct | None:
        """The nodes that name the user; of a userset its own node, None where it is in no tuple."""
        if user <= _OBJECT:
            return self._direct.get(user, ())
        node = self._node.get(user)
        return None if node is None else (node,)

    def _beside(self, userset: int, group: int) -> bool | None:
        """Whether a userset without tuples is in the group, which only the schema can say."""
        if userset & _OBJECT != group & _OBJECT:
            return False
        return True if userset == group else None if self._computed else False

    def _rare(self, user: int, mine: Direct, node: int) -> bool | None:
        """A miss so far, where wildcards or edges that may hold must be looked at, too."""
        everybody = self._everybody(user)
        others = self._direct.get(everybody, ()) if self._wildcards else ()
        dirty = self._sure.dirty_below
        if others and _meet(others, self._below.find(node), node):
            return True if node not in dirty else self._left_open()
        maybe = self._maybe.get(user, ()), self._maybe.get(everybody, ()) if self._wildcards else ()
        below = (self._possible or self._sure).below.find(node)
        starts = maybe if self._possible is None else (mine, others, *maybe)
        return None if any(_meet(each, below, node) for each in starts) else False

    def _everybody(self, user: int) -> int:
        """The wildcard that means the user; -1 where there is none."""
        return -1 if user > _OBJECT else user >> _SERIAL_BITS << _SERIAL_BITS

    # edges

    def _put_direct(self, edge: Edge) -> None:
        group, user, state = edge
        node = self._node.get(group) if state is None else self._node_of(group)
        if node is None:
            return
        _put(self._direct, user, node, state is True)
        _put(self._maybe, user, node, state is False)
        if user == self._everybody(user):
            if user in self._direct or user in self._maybe:
                self._wildcards.add(user)
            else:
                self._wildcards.discard(user)

    def _put_nested(self, edge: Edge) -> None:
        if edge.state is None and not (edge.group in self._node and edge.user in self._node):
            return
        ends = self._node_of(edge.group), self._node_of(edge.user)
        if edge.state is False:
            self._maybe_edges.add(ends)
            if self._possible is None:
                self._possible = self._sure.copy()
        else:
            self._maybe_edges.discard(ends)
        if edge.state is True:
            for closure in self._closures():
                closure.add(*ends)
        elif ends not in self._fixed:
            self._sure.remove(*ends)
            if self._possible is not None:
                (self._possible.remove if edge.state is None else self._possible.add)(*ends)
        if not self._maybe_edges:
            self._possible = None

    def _node_of(self, group: int) -> int:
        node = self._node.get(group)
        if node is None:
            node = len(self._group)
            self._group.append(group)
            self._node[group] = node
            for relation in self._computes.get(group >> _SERIAL_BITS, ()):
                self._node_of(relation << 64 | group & _OBJECT)
            self._join(group)
        return node

    def _join(self, group: int) -> None:
        """Make it a part of the groups of its object that are computed from it."""
        for relation in self._computed.get(group >> _SERIAL_BITS, ()):
            ends = self._node_of(relation << 64 | group & _OBJECT), self._node[group]
            self._fixed.add(ends)
            for closure in self._closures():
                closure.add(*ends)

    def _restored(self, groups: list[int]) -> list[int]:
        """Give groups the nodes that they had."""
        self._group = list(groups)
        self._node = {group: node for node, group in enumerate(groups)}
        return groups

    def _closures(self) -> list[Closure]:
        return [self._sure] if self._possible is None else [self._sure, self._possible]


def _put(direct: dict[int, Direct], user: int, node: int, wanted: bool) -> None:
    """Have the node among those that name the user, or not."""
    known = direct.get(user, ())
    if (node in known) is wanted:
        return
    if isinstance(known, BitMap):
        (known.add if wanted else known.discard)(node)
    else:
        nodes = (*known, node) if wanted else tuple(at for at in known if at != node)
        direct[user] = nodes if len(nodes) <= _TUPLE else BitMap(nodes)
    if not direct[user]:
        del direct[user]


def _meet(starts: Direct, below: BitMap | None, node: int) -> bool:
    """Whether one of the nodes is below the other; `below` is None for one that has nothing below."""
    if below is None:
        return node in starts
    if isinstance(starts, BitMap):
        return bool(below.intersect(starts))
    return any(at in below for at in starts)


def _reached(starts: BitMap, sets: Sets) -> BitMap:
    """The nodes and all that their sets hold."""
    return BitMap.union(starts, *(found for node in starts if (found := sets.find(node)) is not None))
