"""What a graph has packed: nothing at first; the pack that holds now, and its renewal."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from weft.core.clock import Clock
from weft.core.extras import require
from weft.graph.schema import Schema
from weft.graph.traverse.explain import Meter
from weft.graph.traverse.plan import Plan
from weft.kv.store import Capability, ChangesForgotten, KeyValueStore

if TYPE_CHECKING:
    from weft.graph.packed.pack import Answer, Asked, Pack, Progress


class Packed(msgspec.Struct, frozen=True):
    """What is packed: edges by type, nodes by type, and the memory that each kind takes in this process."""

    edges: dict[str, int] = {}
    nodes: dict[str, int] = {}
    edge_bytes: int = 0
    node_bytes: int = 0


class Packs:
    """Answers from the pack where it can. Light: numpy is imported when something is packed."""

    def __init__(self, schema: Schema, clock: Clock) -> None:
        self._schema = schema
        self._clock = clock
        self.pack: Pack | None = None
        self._renewing = threading.Lock()

    def add(self, names: Iterable[str], store: KeyValueStore, progress: Progress | None) -> Packed:
        """Pack these types and, anew, those that are; all but types of a layout that is not packed."""
        kinds = [self._schema.edge(name) for name in names]
        require("numpy", "packed")
        if Capability.CHANGES in store.capabilities:
            with self._renewing:
                packed = self.pack.edges if self.pack else ()
                self._read(
                    [*packed, *(kind.name for kind in kinds if kind.plain)], store, progress or _silent
                )
        return self.packed()

    def packed(self) -> Packed:
        """What is packed now."""
        pack = self.pack
        if pack is None:
            return Packed()
        return Packed(
            {name: len(edges) for name, edges in pack.edges.items()},
            {name: len(nodes) for name, nodes in pack.nodes.items()},
            *pack.memory_bytes(),
        )

    def covers(self, plan: Plan, asked: Asked) -> bool:
        """Whether an answer comes from here, as far as can be told without the store."""
        return self.pack is not None and self.pack.covers(plan, asked)

    def answer(
        self, plan: Plan, asked: Asked, store: KeyValueStore, meter: Meter | None = None
    ) -> Answer | None:
        """The answer, or None where the store has to be walked."""
        pack = self.pack
        if pack is None or not pack.covers(plan, asked):
            return None
        try:
            return pack.answer(plan, asked, store, self._clock, meter)
        except ChangesForgotten:
            self._renew(pack, store)
            return None

    def _renew(self, pack: Pack, store: KeyValueStore) -> None:
        """Read everything again, in one thread; the others walk the store meanwhile."""
        if self._renewing.acquire(blocking=False):
            try:
                if self.pack is pack:
                    self._read(pack.edges, store, _silent)
            finally:
                self._renewing.release()

    def _read(self, names: Iterable[str], store: KeyValueStore, progress: Progress) -> None:
        from weft.graph.packed.pack import Pack

        self.pack = Pack.read(self._schema, dict.fromkeys(names), store, self._clock, progress)


def _silent(namespace: str, items: int) -> None:
    pass
