"""The nodes of one type: a number for every id that is known, and what the nodes say of themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from weft.graph.model import Node, id_text
from weft.graph.packed.facts import Facts, Numbers, grown
from weft.graph.types import NodeType
from weft.kv.model import Item

_GARBAGE_BYTES = 1 << 20
"""Replaced properties up to this size may lie about, however few nodes there are."""
_BYTES_PER_ID = 49 + 8 + 32 + 52
"""A string's head, its place in the list, its number, and its entry in a dictionary that is half full."""


class Nodes:
    """Numbers are given in order of appearance and never taken back."""

    def __init__(self, kind: NodeType) -> None:
        self.kind = kind
        self.names: list[str] = []
        self.facts = Facts()
        self._numbers: dict[str, int] = {}
        self._compacted = 0
        """How many bytes of properties there were when nothing had to be dropped."""
        self._places: NDArray[np.int32] = np.zeros(0, np.int32)

    def __len__(self) -> int:
        return len(self.names)

    def known(self, names: Iterable[str]) -> list[int]:
        """The numbers of those that have one."""
        return [number for name in names if (number := self._numbers.get(name)) is not None]

    def numbers(self, names: Sequence[str]) -> list[int]:
        """The numbers of ids; those that had none get one."""
        known = self._numbers
        for name in names:
            if name not in known:
                known[name] = len(self.names)
                self.names.append(name)
        return [known[name] for name in names]

    def fit(self) -> None:
        """Have room for what was numbered."""
        self.facts.fit(len(self))
        self._places = grown(self._places, len(self))

    def put(self, found: Sequence[tuple[bytes, Item | None]]) -> None:
        """What the store says of these nodes; None where it has none."""
        numbers = self.numbers([id_text(record) for record, _ in found])
        self.facts.fit(len(self))
        for number, (_, item) in zip(numbers, found, strict=True):
            if item is None:
                self.facts.clear(number)
        present = [(number, item) for number, (_, item) in zip(numbers, found, strict=True) if item]
        self.facts.put(np.array([number for number, _ in present]), [item for _, item in present])

    def distinct(self, numbers: Numbers) -> Numbers:
        """Each of the numbers once, in the order in which they first come."""
        at = np.arange(len(numbers), dtype=np.int32)
        # Of several values that are assigned to one place the last one stays: here the first position.
        self._places[numbers[::-1]] = at[::-1]
        first: NDArray[np.bool_] = self._places.take(numbers) == at
        return numbers[first]

    def built(self, numbers: Numbers, now_us: int) -> list[Node]:
        """The nodes with these numbers; what only edges know of has no properties."""
        names = map(self.names.__getitem__, numbers.tolist())
        return list(map(Node, repeat(self.kind.name), names, *self.facts.told(numbers, now_us)))

    def compact(self, now_us: int) -> None:
        """Drop properties that were replaced or have expired, once they may be a good part of all."""
        facts = self.facts
        if len(facts.data) > self._compacted + self._compacted // 2 + _GARBAGE_BYTES:
            everyone = np.arange(len(self))
            live = facts.live(everyone, now_us)
            if live is not None:
                facts.clear(everyone[~live])
            self.facts = facts.taken(everyone)
            self._compacted = len(self.facts.data)

    def memory_bytes(self) -> int:
        """Of the arrays, and about that of ids and their numbers."""
        ids = sum(map(len, self.names)) + len(self) * _BYTES_PER_ID
        return ids + self.facts.memory_bytes() + self._places.nbytes
