"""What an ingest says about itself while it runs and when it has ended."""

from __future__ import annotations

import msgspec


class ProgressReport(msgspec.Struct, frozen=True):
    """Where a running job is; after each checkpoint."""

    stream: str
    events: int
    """Read so far in this run."""
    rate_per_s: float
    lag: int | None
    """How many events are still to come; None when the source cannot say."""
    event_time_us: int
    """Of the last event read."""


class IngestReport(msgspec.Struct):
    """What one run did."""

    stream: str
    events: int = 0
    filtered: int = 0
    """Events that the job's filter left out."""
    dead_letters: int = 0
    updates: int = 0
    """Node and edge updates that the job emitted."""
    relations: int = 0
    """Relation writes that the job emitted."""
    written: dict[str, int] = msgspec.field(default_factory=dict)
    """Updates written after merging, per typed output stream."""
    batches: int = 0
    duration_s: float = 0.0

    @property
    def write_reduction(self) -> float:
        """The share of updates that merging saved, from 0 to 1."""
        return 1 - sum(self.written.values()) / self.updates if self.updates else 0.0

    @property
    def rate_per_s(self) -> float:
        """Events per second."""
        return self.events / self.duration_s if self.duration_s else 0.0
