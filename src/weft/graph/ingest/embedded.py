"""The runner inside one process: micro-batches, each committed together with its offsets."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import Final, cast

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid
from weft.graph.ingest.job import Job
from weft.graph.ingest.model import Batch, Event
from weft.graph.ingest.pipeline import Pipeline
from weft.graph.ingest.protocols import Progress, Sink, Source
from weft.graph.ingest.report import IngestReport, ProgressReport

# A checkpoint costs an fsync; 20,000 writes make that cheap and are a few megabytes of memory.
MAX_BATCH_WRITES: Final = 20_000
MAX_BATCH_EVENTS: Final = 20_000
MAX_BATCH_AGE_S: Final = 0.5
# Dead letters hold their events whole.
MAX_DEAD_BYTES: Final = 32 << 20
# With a dedup window a checkpoint costs the merging that it cuts short. What is held stays under 100 MB, and
# an event of a busy stream is in the graph, and a crash's repetition over, after these seconds at the latest.
MAX_WINDOW_WRITES: Final = 200_000
MAX_WINDOW_AGE_S: Final = 10.0
# A process does not wake up sooner than about this.
_SHORTEST_SLEEP_S: Final = 0.001


class EmbeddedRunner:
    """The default runner. A checkpoint writes all there is; it falls due by the size or age of a batch, when
    the source pauses or ends, and when the run is interrupted. With a dedup window, what leaves it is written
    in batches between checkpoints."""

    def __init__(
        self,
        *,
        clock: Clock = SYSTEM_CLOCK,
        max_batch_writes: int = MAX_BATCH_WRITES,
        max_batch_events: int = MAX_BATCH_EVENTS,
        max_window_writes: int = MAX_WINDOW_WRITES,
        rate_per_s: float | None = None,
    ) -> None:
        """`rate_per_s` bounds the events taken per second, so that a backfill leaves room for others."""
        if rate_per_s is not None and not rate_per_s > 0:
            raise Invalid(f"rate_per_s=`{rate_per_s}` is no rate", hint="use events per second, above 0")
        self._rate_per_s = rate_per_s
        self._clock = clock
        self._max_writes = max_batch_writes
        self._max_events = max_batch_events
        self._max_window = max_window_writes

    def run(self, job: Job, source: Source, sink: Sink, *, progress: Progress | None = None) -> IngestReport:
        """Run until the source ends."""
        if not isinstance(job, Job):
            raise Invalid(f"`{job!r:.80}` is no job", hint="put @job from weft.graph above it")
        if not callable(getattr(source, "events", None)):
            raise Invalid(
                f"`{source!r:.80}` is no source", hint="make one, like file_source(...) or IterSource(...)"
            )
        # A path that is not UTF-8 may be part of a source's name.
        stream = f"{job.name}/{source.name}".encode("utf-8", "backslashreplace").decode()
        start = sink.positions(stream)
        run = _Run(Pipeline(job, stream, sink, start), sink, self._clock, progress)
        run.pending = source.pending(start) if progress is not None else None
        checkpoint_due = self._window_due if job.dedup.window_s else self._batch_due
        with closing(cast("Generator[Event | None, None, None]", source.events(start))) as events:
            try:
                for event in events:
                    if event is not None:
                        run.take(event)
                        if self._rate_per_s is not None:
                            run.wait(self._rate_per_s)
                    if event is None or checkpoint_due(run):
                        run.checkpoint()
                    elif run.pipeline.due >= self._max_writes:
                        run.write_due()
            except BaseException:
                # Interrupted, or the source failed: what was taken before is kept. A failed write is not
                # followed by another, whose positions would pass over what it had.
                if not run.writing:
                    run.checkpoint()
                raise
        run.checkpoint()
        return run.pipeline.report

    def _batch_due(self, run: _Run) -> bool:
        return (
            run.pipeline.size >= self._max_writes
            or run.pipeline.undrained >= self._max_events
            or run.pipeline.dead_bytes >= MAX_DEAD_BYTES
            or run.age_s() >= MAX_BATCH_AGE_S
        )

    def _window_due(self, run: _Run) -> bool:
        return (
            run.pipeline.size >= self._max_window
            or run.pipeline.dead_bytes >= MAX_DEAD_BYTES
            or run.age_s() >= MAX_WINDOW_AGE_S
        )


class _Run:
    """One run on its way: the pipeline, and what has been written of it."""

    def __init__(self, pipeline: Pipeline, sink: Sink, clock: Clock, progress: Progress | None) -> None:
        self.pipeline = pipeline
        self.pending: int | None = None
        self.writing = False
        self._sink = sink
        self._clock = clock
        self._progress = progress
        self._began_s = self._checkpoint_s = clock.monotonic_s()
        self._event_time_us = 0

    def take(self, event: Event) -> None:
        self._event_time_us = event.time_us
        self.pipeline.take(event, self._clock.now_us())

    def wait(self, rate_per_s: float) -> None:
        """Sleep until no more events have been taken than the rate allows."""
        ahead_s = self.pipeline.report.events / rate_per_s - (self._clock.monotonic_s() - self._began_s)
        if ahead_s >= _SHORTEST_SLEEP_S:
            self._clock.sleep(ahead_s)

    def age_s(self) -> float:
        """Seconds since the last checkpoint."""
        return self._clock.monotonic_s() - self._checkpoint_s

    def write_due(self) -> None:
        self._write(self.pipeline.drain_due)

    def checkpoint(self) -> None:
        if self.pipeline.undrained:
            self._write(self.pipeline.drain)
        self._checkpoint_s = self._clock.monotonic_s()
        report = self.pipeline.report
        report.duration_s = self._checkpoint_s - self._began_s
        if self._progress is not None:
            lag = None if self.pending is None else max(0, self.pending - report.events)
            self._progress(
                ProgressReport(report.stream, report.events, report.rate_per_s, lag, self._event_time_us)
            )

    def _write(self, drain: Callable[[], Batch]) -> None:
        self.writing = True
        self._sink.write(drain())
        self.writing = False
