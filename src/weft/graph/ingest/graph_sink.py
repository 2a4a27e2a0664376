"""The sink into a graph's own store: data, offsets and dead letters in one batch."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final

import xxhash

from weft.core import codec
from weft.core.errors import Invalid
from weft.core.limits import MAX_MUTATIONS_PER_BATCH
from weft.graph import layout
from weft.graph.ingest.dead_letters import dead_letter_mutation, settling_mutation
from weft.graph.ingest.folding import folded_mutations
from weft.graph.ingest.model import Batch, Offset, RelationUpdate, RelationWrite
from weft.graph.ingest.protocols import RelationSink
from weft.graph.schema import Schema
from weft.graph.updates import mutations
from weft.kv.model import ItemWrite, Mutation, Put, Token, Version
from weft.kv.store import KeyValueStore

_NO_NONCE: Final = bytes(16)
# Folding reads before it writes; between two batches that fold, nothing may come in between.
_FOLDING: Final = threading.Lock()


class GraphSink:
    """Writes batches into a key-value store, and relation tuples through a relation sink.

    The store takes a batch whole. A batch larger than the store's limit goes in parts, the offsets with the
    last one: a crash in between repeats the parts, whose tokens are the same.
    """

    def __init__(self, store: KeyValueStore, schema: Schema, relations: RelationSink | None = None) -> None:
        self._store = store
        self._schema = schema
        self._relations = relations

    @property
    def schema(self) -> Schema:
        return self._schema

    def positions(self, stream: str) -> dict[int, Offset]:
        items = self._store.get_items(layout.OFFSETS, [layout.stream_record(stream)]).items()
        return {
            codec.unpack_u64(item.key): codec.decode(item.value, Offset, "an ingest offset") for item in items
        }

    def check(self, write: RelationWrite) -> None:
        if self._relations is not None:
            self._relations.check(write)

    def write(self, batch: Batch) -> None:
        self._write_relations(batch.relations)
        if not batch.folds:
            self._write_groups(batch, [])
            return
        with _FOLDING:
            self._write_groups(batch, folded_mutations(self._store, self._schema, batch))

    def _write_groups(self, batch: Batch, folded: list[tuple[Mutation, ...]]) -> None:
        written = (
            mutations(update, self._schema)
            for name, updates in batch.outputs.items()
            if name not in batch.folds
            for update in updates
        )
        dead = ((dead_letter_mutation(letter),) for letter in batch.dead_letters)
        settled = ((settling_mutation(letter),) for letter in batch.settled)
        offsets = (
            (_offset(batch.stream, partition, offset),) for partition, offset in batch.positions.items()
        )
        for part in _parts(chain(folded, written, dead, settled, offsets)):
            self._store.mutate(part)

    def _write_relations(self, updates: Sequence[RelationUpdate]) -> None:
        """The store remembers the newest write to each tuple before the relation sink hears of it, so that
        neither a late event nor a repeated one brings back a tuple that has been deleted since."""
        if not updates:
            return
        if self._relations is None:
            raise Invalid("the job emits relation tuples", hint="pass `relations=` to say who takes them")
        records = [_relation_record(update) for update in updates]
        newest = self._newest(records)
        current = [
            (record, update)
            for record, update in zip(records, updates, strict=True)
            if record not in newest or _version(update) >= newest[record]
        ]
        for part in _parts([(_relation(record, update),) for record, update in current]):
            self._store.mutate(part)
        if current:
            self._relations.write(
                [RelationWrite(update.text, update.delete, update.event_time_us) for _, update in current]
            )

    def _newest(self, records: Sequence[bytes]) -> dict[bytes, Version]:
        newest: dict[bytes, Version] = {}
        after = None
        while True:
            page = self._store.get_items(layout.RELATIONS, records, after=after)
            newest |= {found.record: found.items[0].version for found in page.records}
            after = page.next
            if after is None:
                return newest


def _offset(stream: str, partition: int, offset: Offset) -> Mutation:
    # Its place in the stream is its event time: an offset never goes back, whatever the clock does.
    return Put(
        namespace=layout.OFFSETS,
        record=layout.stream_record(stream),
        items=(ItemWrite(codec.pack_u64(partition), codec.encode(offset)),),
        event_time_us=offset.position,
        token=Token(offset.position, _NO_NONCE),
    )


def _relation_record(update: RelationUpdate) -> bytes:
    return xxhash.xxh3_128_digest(update.text.encode())


def _version(update: RelationUpdate) -> Version:
    return Version(update.event_time_us, Token(update.event_time_us, update.nonce))


def _relation(record: bytes, update: RelationUpdate) -> Mutation:
    time_us, token = _version(update)
    return Put(
        namespace=layout.RELATIONS,
        record=record,
        items=(ItemWrite(b"", b"deleted" if update.delete else b"touched"),),
        event_time_us=time_us,
        token=token,
    )


def _parts(groups: Iterable[tuple[Mutation, ...]]) -> Iterable[list[Mutation]]:
    """Batches within the store's limit; a group is never torn."""
    part: list[Mutation] = []
    for group in groups:
        if len(part) + len(group) > MAX_MUTATIONS_PER_BATCH:
            yield part
            part = []
        part += group
    if part:
        yield part
