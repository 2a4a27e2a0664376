"""The seams of ingestion: where events come from, where they go, who runs the job in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from weft.graph.ingest.job import Job
from weft.graph.ingest.model import Batch, Event, Offset, RelationWrite
from weft.graph.ingest.report import IngestReport, ProgressReport
from weft.graph.schema import Schema

Progress = Callable[[ProgressReport], object]


class Source(Protocol):
    """One input stream of events.

    Vocabulary. A stream has *partitions*, numbered from 0 (most sources have one). Within a partition events
    have a fixed order, and each has an *offset* whose position is greater than that of the event before.

    Promises.

    - Reading again from the same offset gives the same events with the same offsets and event times.
    - What cannot be decoded is an event with `error`, never an exception; an exception means that the stream
      cannot be read (`NotFound`, `Unavailable`) or is not the one that was read before (`Conflict`).
    - Memory is bounded by the largest event, not by the length of the stream.
    """

    @property
    def name(self) -> str:
        """Names the stream for ever: offsets are kept under it."""

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        """The events behind these offsets, by partition; None where nothing more is there at the moment.

        A bounded source ends; a live one yields None and goes on. The caller closes the iterator.
        """

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        """How many events lie behind these offsets now; None when that is not known cheaply."""


class Sink(Protocol):
    """Where a job's outputs become durable.

    Promises.

    - `write` returns once the whole batch is durable, and the positions never without the outputs: after a
      crash the stream resumes from `positions` and nothing is missing.
    - Writing the same outputs twice, or again in other batches, ends in the same state.
    """

    @property
    def schema(self) -> Schema:
        """What the outputs must fit."""

    def positions(self, stream: str) -> dict[int, Offset]:
        """How far the stream has been written, by partition."""

    def check(self, write: RelationWrite) -> None:
        """Raise `Invalid` when this relation tuple cannot be written."""

    def write(self, batch: Batch) -> None:
        """Make a batch durable."""


class RelationSink(Protocol):
    """Takes the relation tuples that jobs emit (in weft: weft.authz, by way of weft.integrations)."""

    def check(self, write: RelationWrite) -> None:
        """Raise `Invalid` when this tuple can never be written, so that its event becomes a dead letter."""

    def write(self, writes: Sequence[RelationWrite]) -> None:
        """Touch and delete tuples, all with different texts; return once that is durable.

        Called again with the same writes after a crash, with no write to the same text in between.
        """


class Runner(Protocol):
    """Runs a job over a source into a sink, with exactly-once effect.

    Promises.

    - The tokens of writes derive from (stream, partition, offset, ordinal), so that a repeated event repeats
      its writes and changes nothing.
    - Killed at any instant and run again, it ends in the state of an undisturbed run.
    - An event that does not decode, transform or fit the schema becomes a dead letter with its offset and the
      reason, and leaves nothing else behind; the stream goes on. Failures of source or sink end the run, and
      so does `Unavailable` from a step of the job, with the event still to come.
    """

    def run(self, job: Job, source: Source, sink: Sink, *, progress: Progress | None = None) -> IngestReport:
        """Run until the source ends."""
