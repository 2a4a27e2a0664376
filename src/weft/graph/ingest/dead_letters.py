"""Events that a job could not take: kept beside the offsets by stream, shown, and replayed.

A letter's version is its place and its number of replays, so that an older account of it never returns: a
run that a crash repeats may write a letter again that was settled in between.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from weft.core import codec
from weft.core.clock import Clock
from weft.core.errors import NotFound
from weft.graph import layout
from weft.graph.ingest.job import Job
from weft.graph.ingest.model import DeadLetter, Event
from weft.graph.ingest.pipeline import Pipeline
from weft.graph.ingest.protocols import Sink
from weft.graph.ingest.report import IngestReport
from weft.kv.model import Delete, ItemWrite, Keys, Mutation, Put, Token
from weft.kv.store import KeyValueStore

Mend = Callable[[Event], Event]

_LETTERS_PER_BATCH: Final = 500
_BYTES_PER_BATCH: Final = 32 << 20


def dead_letter_mutation(letter: DeadLetter) -> Mutation:
    """Keep a dead letter; again for the same offset replaces it."""
    return Put(
        namespace=layout.DEAD_LETTERS,
        record=layout.stream_record(letter.stream),
        items=(ItemWrite(_key(letter.partition, letter.offset.position), codec.encode(letter)),),
        event_time_us=letter.offset.position,
        token=_token(letter),
    )


def settling_mutation(letter: DeadLetter) -> Mutation:
    """Make a letter disappear."""
    return Delete(
        namespace=layout.DEAD_LETTERS,
        record=layout.stream_record(letter.stream),
        selection=Keys((_key(letter.partition, letter.offset.position),)),
        event_time_us=letter.offset.position,
        token=_token(letter),
    )


def read_dead_letter(store: KeyValueStore, stream: str, position: int, partition: int) -> DeadLetter:
    """One letter; `NotFound` when there is none."""
    selection = Keys((_key(partition, position),))
    items = store.get_items(layout.DEAD_LETTERS, [layout.stream_record(stream)], selection).items()
    if not items:
        raise NotFound(f"`{stream}` has no dead letter at {position:,}", hint="list those of the job")
    return codec.decode(items[0].value, DeadLetter, "a dead letter")


def replay(
    letters: Iterable[DeadLetter], job: Job, sink: Sink, clock: Clock, mend: Mend | None
) -> IngestReport:
    """Pass letters through a job again, each as the event of its stream and offset that it was.

    What passes is written in one batch with the disappearance of its letter; what does not stays, with its
    new reason. Letters without a payload stay as they are.
    """
    total = IngestReport(job.name)
    for stream, group in itertools.groupby(letters, key=lambda letter: letter.stream):
        for some in _some(group):
            pipeline = Pipeline(job, stream, sink, {})
            for letter in some:
                if letter.payload:
                    _take(pipeline, letter, clock.now_us(), mend)
            _write(pipeline, some, sink)
            _add(total, pipeline.report, len(some))
    return total


def _take(pipeline: Pipeline, letter: DeadLetter, now_us: int, mend: Mend | None) -> None:
    value = msgspec.msgpack.decode(letter.payload)
    error = letter.reason if letter.undecoded else ""
    event = Event(letter.offset, letter.time_us, value, letter.partition, error)
    if mend is not None:
        try:
            event = msgspec.structs.replace(mend(event), offset=letter.offset, partition=letter.partition)
        except Exception as failure:
            reason = f"it cannot be mended: {type(failure).__name__}: {failure}"
            event = msgspec.structs.replace(event, error=reason)
    pipeline.take(event, now_us)


def _write(pipeline: Pipeline, letters: list[DeadLetter], sink: Sink) -> None:
    batch = pipeline.drain()
    before = {(one.partition, one.offset.position): one for one in letters}
    failed = {(one.partition, one.offset.position): one for one in batch.dead_letters}
    batch.positions = {}
    batch.dead_letters = [
        msgspec.structs.replace(before[place], reason=letter.reason, attempts=before[place].attempts + 1)
        for place, letter in failed.items()
    ]
    batch.settled = [one for place, one in before.items() if one.payload and place not in failed]
    sink.write(batch)


def _add(total: IngestReport, part: IngestReport, letters: int) -> None:
    total.events += letters
    total.dead_letters += part.dead_letters + letters - part.events
    total.filtered += part.filtered
    total.updates += part.updates
    total.relations += part.relations
    total.batches += part.batches
    for name, count in part.written.items():
        total.written[name] = total.written.get(name, 0) + count


def _some(letters: Iterable[DeadLetter]) -> Iterator[list[DeadLetter]]:
    some: list[DeadLetter] = []
    size = 0
    for letter in letters:
        some.append(letter)
        size += len(letter.payload)
        if len(some) >= _LETTERS_PER_BATCH or size >= _BYTES_PER_BATCH:
            yield some
            some, size = [], 0
    if some:
        yield some


def _key(partition: int, position: int) -> bytes:
    return codec.pack_u64(partition) + codec.pack_u64(position)


def _token(letter: DeadLetter) -> Token:
    return Token(letter.offset.position + letter.attempts, bytes(16))


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
