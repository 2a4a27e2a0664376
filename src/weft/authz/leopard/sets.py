"""Bitmaps by node, some of them still in a mapped file until they are asked for."""

from __future__ import annotations

from pyroaring import BitMap


class Stored:
    """Serialized bitmaps one after the other; that of a node lies between two offsets, and is empty where the
    node has none."""

    def __init__(self, offsets: memoryview, data: memoryview) -> None:
        self._offsets = offsets
        self._data = data

    def read(self, node: int) -> BitMap | None:
        if node + 1 >= len(self._offsets):
            return None
        begin, end = self._offsets[node], self._offsets[node + 1]
        return None if begin == end else BitMap.deserialize(bytes(self._data[begin:end]))


class Sets(dict[int, BitMap]):
    """Node -> itself and more; missing for a node that has itself alone. `get` knows what is in memory."""

    stored: Stored | None = None
    """What was not changed since it was stored; for the others, what is in memory counts."""

    def find(self, node: int) -> BitMap | None:
        """The set of a node, in memory from now on."""
        found = self.get(node)
        if found is None and self.stored is not None:
            found = self.stored.read(node)
            if found is not None:
                return self.setdefault(node, found)
        return found

    def keep(self, node: int, found: BitMap) -> None:
        """Replace the set of a node."""
        if len(found) > 1 or self.stored is not None:
            self[node] = found
        else:
            self.pop(node, None)

    def copy(self) -> Sets:
        """The same sets, to go their own way."""
        other = Sets({node: found.copy() for node, found in self.items()})
        other.stored = self.stored
        return other
