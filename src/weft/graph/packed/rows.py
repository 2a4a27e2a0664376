"""Adjacency lists of one direction, one after the other in two arrays: neighbours, and numbers of edges.

A list is in the order of its neighbours' ids, as the store's is. It has a start, a count, and room to grow;
one that outgrows its room is written anew at the end of the arrays; its old place is lost until `compact`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from weft.graph.packed.facts import Numbers, grown, spans


class Rows:
    """Lists by the number of the node that they belong to."""

    def __init__(self) -> None:
        self.starts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.counts: NDArray[np.int32] = np.zeros(0, np.int32)
        self.room: NDArray[np.int32] = np.zeros(0, np.int32)
        self.there: NDArray[np.int32] = np.zeros(0, np.int32)
        self.edge: NDArray[np.int32] = np.zeros(0, np.int32)
        self.end = 0
        """Up to where the arrays are in use."""
        self.total = 0
        """How many neighbours all lists have."""

    def fit(self, nodes: int) -> None:
        """Have a list, empty if new, for each node number below `nodes`."""
        self.starts = grown(self.starts, nodes)
        self.counts = grown(self.counts, nodes)
        self.room = grown(self.room, nodes)

    def fill(self, nodes: Numbers, counts: Numbers, there: Numbers, edge: Numbers) -> None:
        """Lists of these lengths for these nodes, one after the other, in place of all lists."""
        self.starts[nodes] = counts.cumsum(dtype=np.int64) - counts
        self.counts[nodes] = self.room[nodes] = counts
        self.there, self.edge = there.astype(np.int32), edge.astype(np.int32)
        self.end = self.total = len(there)

    def lists(self, nodes: Numbers, at_most: int) -> tuple[Numbers, Numbers, Numbers] | None:
        """The lists of some nodes, one after the other: for each neighbour the place in `nodes` of the one
        whose it is, its number and that of its edge. None where there are more than `at_most`."""
        if len(nodes) == 1:
            place = self.place(nodes.item())
            number = place.stop - place.start
            if number > at_most:
                return None
            return np.zeros(number, np.int32), self.there[place], self.edge[place]
        counts = self.counts.take(nodes)
        if counts.sum(dtype=np.int64) > at_most:
            return None
        places = spans(self.starts.take(nodes), counts)
        return np.arange(len(counts)).repeat(counts), self.there.take(places), self.edge.take(places)

    def place(self, node: int) -> slice:
        """Where in the arrays the list of one node is."""
        start = self.starts.item(node)
        return slice(start, start + self.counts.item(node))

    def set(self, node: int, there: int, edge: int, names: Sequence[str]) -> None:
        """Have the edge to this neighbour in the node's list; `names` orders neighbours."""
        place, end = self._find(node, names[there], names)
        if place < end and self.there[place] == there:
            self.edge[place] = edge
            return
        if self.counts[node] == self.room[node]:
            moved_by = self._move(node)
            place, end = place + moved_by, end + moved_by
        self.there[place + 1 : end + 1] = self.there[place:end]
        self.edge[place + 1 : end + 1] = self.edge[place:end]
        self.there[place], self.edge[place] = there, edge
        self.counts[node] += 1
        self.total += 1

    def remove(self, node: int, there: int, names: Sequence[str]) -> None:
        """Have no edge to this neighbour in the node's list."""
        place, end = self._find(node, names[there], names)
        if place < end and self.there[place] == there:
            self.there[place : end - 1] = self.there[place + 1 : end]
            self.edge[place : end - 1] = self.edge[place + 1 : end]
            self.counts[node] -= 1
            self.total -= 1

    def compact(self, live: NDArray[np.bool_] | None) -> None:
        """Only the lists, without room and without edges that are not `live`, in the order of nodes."""
        nodes = np.arange(len(self.starts))
        counts: Numbers = self.counts
        places = spans(self.starts, counts)
        if live is not None:
            kept = live[self.edge[places]]
            counts = np.bincount(nodes.repeat(counts)[kept], minlength=len(nodes))
            places = places[kept]
        self.fill(nodes, counts, self.there[places], self.edge[places])

    def memory_bytes(self) -> int:
        arrays = (self.starts, self.counts, self.room, self.there, self.edge)
        return sum(array.nbytes for array in arrays)

    def _find(self, node: int, name: str, names: Sequence[str]) -> tuple[int, int]:
        """Where a neighbour of this name is or would be in the node's list, and where the list ends."""
        start = int(self.starts[node])
        end = start + int(self.counts[node])
        there = self.there
        return bisect_left(range(end), name, start, end, key=lambda place: names[int(there[place])]), end

    def _move(self, node: int) -> int:
        """Give the node's list more room at the end of the arrays; how much further back it starts now."""
        start, count = int(self.starts[node]), int(self.counts[node])
        room = count + count // 2 + 4
        self.there, self.edge = grown(self.there, self.end + room), grown(self.edge, self.end + room)
        moved = self.end
        self.there[moved : moved + count] = self.there[start : start + count]
        self.edge[moved : moved + count] = self.edge[start : start + count]
        self.starts[node], self.room[node] = moved, room
        self.end += room
        return moved - start
