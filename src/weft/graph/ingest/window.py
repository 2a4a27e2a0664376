"""The dedup window: updates to the same node, edge or tuple merge before they are written."""

from __future__ import annotations

from weft.graph.ingest.model import RelationUpdate
from weft.graph.updates import Update


class Window:
    """Keeps, per typed output stream and key, the update that holds: the last in event time.

    It is bounded by its owner, which drains it at every checkpoint.
    """

    def __init__(self) -> None:
        self._streams: dict[str, dict[tuple[bytes, bytes | None], Update]] = {}
        self._relations: dict[str, RelationUpdate] = {}
        self.size = 0

    def add(self, update: Update) -> None:
        kind = ("node/" if update.target is None else "edge/") + update.type
        stream = self._streams.setdefault(kind, {})
        key = (update.record, update.target)
        before = stream.get(key)
        if before is None:
            self.size += 1
            stream[key] = update
        elif update[4:] > before[4:]:
            stream[key] = update

    def add_relation(self, update: RelationUpdate) -> None:
        before = self._relations.get(update.text)
        if before is None or update.order > before.order:
            self.size += before is None
            self._relations[update.text] = update

    def drain(self) -> tuple[dict[str, list[Update]], list[RelationUpdate]]:
        """Everything that holds; the window is empty afterwards."""
        outputs = {name: list(stream.values()) for name, stream in self._streams.items()}
        relations = list(self._relations.values())
        self._streams, self._relations, self.size = {}, {}, 0
        return outputs, relations
