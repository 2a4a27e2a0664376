"""Events that a job could not take: kept beside the offsets, by stream."""

from __future__ import annotations

from collections.abc import Iterator

from weft.core import codec
from weft.graph import layout
from weft.graph.ingest.model import DeadLetter
from weft.kv.model import ItemWrite, Mutation, Put, Token
from weft.kv.store import KeyValueStore


def dead_letter_mutation(letter: DeadLetter) -> Mutation:
    """Keep a dead letter; again for the same offset replaces it."""
    position = letter.offset.position
    return Put(
        namespace=layout.DEAD_LETTERS,
        record=layout.stream_record(letter.stream),
        items=(ItemWrite(codec.pack_u64(letter.partition) + codec.pack_u64(position), codec.encode(letter)),),
        event_time_us=position,
        token=Token(position, bytes(16)),
    )


def read_dead_letters(store: KeyValueStore, job: str) -> Iterator[DeadLetter]:
    """The dead letters of a job, in the order of each stream."""
    prefix = layout.stream_record(f"{job}/")
    after = None
    while True:
        page = store.scan_records(layout.DEAD_LETTERS, after=after)
        for record in page.records:
            if record.startswith(prefix):
                yield from _of_stream(store, record)
        after = page.next
        if after is None:
            return


def _of_stream(store: KeyValueStore, record: bytes) -> Iterator[DeadLetter]:
    after = None
    while True:
        page = store.get_items(layout.DEAD_LETTERS, [record], after=after)
        for item in page.items():
            yield codec.decode(item.value, DeadLetter, "a dead letter")
        after = page.next
        if after is None:
            return
