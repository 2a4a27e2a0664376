"""The runner inside one process: micro-batches, each committed together with its offsets."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Final, cast

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.graph.ingest.job import Job
from weft.graph.ingest.model import Event
from weft.graph.ingest.pipeline import Pipeline
from weft.graph.ingest.protocols import Progress, Sink, Source
from weft.graph.ingest.report import IngestReport, ProgressReport

# A checkpoint costs an fsync; 20,000 writes make that cheap and are a few megabytes of memory.
MAX_BATCH_WRITES: Final = 20_000
MAX_BATCH_EVENTS: Final = 5_000
MAX_BATCH_AGE_S: Final = 0.5


class EmbeddedRunner:
    """The default runner. A checkpoint falls due by the size or age of a batch, and when the source pauses or
    ends; the dedup window is flushed with it."""

    def __init__(
        self,
        *,
        clock: Clock = SYSTEM_CLOCK,
        max_batch_writes: int = MAX_BATCH_WRITES,
        max_batch_events: int = MAX_BATCH_EVENTS,
    ) -> None:
        self._clock = clock
        self._max_writes = max_batch_writes
        self._max_events = max_batch_events

    def run(self, job: Job, source: Source, sink: Sink, *, progress: Progress | None = None) -> IngestReport:
        """Run until the source ends."""
        # A path that is not UTF-8 may be part of a source's name.
        stream = f"{job.name}/{source.name}".encode("utf-8", "backslashreplace").decode()
        start = sink.positions(stream)
        pipeline = Pipeline(job, stream, sink, start)
        began_s = checkpoint_s = self._clock.monotonic_s()
        pending = source.pending(start) if progress is not None else None
        event_time_us = 0

        def checkpoint() -> None:
            nonlocal checkpoint_s
            if pipeline.undrained:
                sink.write(pipeline.drain())
            checkpoint_s = self._clock.monotonic_s()
            report = pipeline.report
            report.duration_s = checkpoint_s - began_s
            if progress is not None:
                lag = None if pending is None else max(0, pending - report.events)
                progress(ProgressReport(stream, report.events, report.rate_per_s, lag, event_time_us))

        with closing(cast("Generator[Event | None, None, None]", source.events(start))) as events:
            for event in events:
                if event is not None:
                    event_time_us = event.time_us
                    pipeline.take(event, self._clock.now_us())
                if event is None or self._due(pipeline, checkpoint_s):
                    checkpoint()
        checkpoint()
        return pipeline.report

    def _due(self, pipeline: Pipeline, checkpoint_s: float) -> bool:
        return (
            pipeline.size >= self._max_writes
            or pipeline.undrained >= self._max_events
            or self._clock.monotonic_s() - checkpoint_s >= MAX_BATCH_AGE_S
        )
