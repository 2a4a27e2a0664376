"""The words of ingestion: events and their offsets, relation writes, dead letters, batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from weft.graph.ingest.dedup import Folding
from weft.graph.updates import Update


class Offset(msgspec.Struct, frozen=True, gc=False):
    """Where an event lies in its partition. Positions increase; `mark` is the source's own, for resuming."""

    position: int
    mark: str = ""


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream. `error` says why a source could not decode it: it becomes a dead letter."""

    offset: Offset
    time_us: int
    """When it happened, by its own clock, in microseconds since 1970."""
    value: Any
    partition: int = 0
    error: str = ""


class RelationWrite(msgspec.Struct, frozen=True):
    """A relation tuple to touch or delete, as text: `doc:1#viewer@user:ann`."""

    text: str
    delete: bool = False
    event_time_us: int | None = None


class RelationUpdate(NamedTuple):
    """A relation write and its event time; of two to one text, the one with the greater order holds."""

    text: str
    delete: bool
    event_time_us: int
    nonce: bytes

    @property
    def order(self) -> tuple[int, bytes]:
        return self[2:]


class DeadLetter(msgspec.Struct, frozen=True):
    """An event that a job could not take, and why."""

    stream: str
    partition: int
    offset: Offset
    time_us: int
    reason: str
    value: str
    """The event's value as JSON, cut at `limits.MAX_DEAD_LETTER_BYTES`; for people."""
    payload: bytes = b""
    """The value whole, as MessagePack, for a replay; empty when it is too large or would not come back the
    same."""
    undecoded: bool = False
    """Whether the source could not decode it, so that the value is what there was to decode."""
    attempts: int = 0
    """How often it was replayed in vain."""


class Batch(msgspec.Struct):
    """What is made durable at once: at a checkpoint everything, together with how far the stream has been
    read; between checkpoints what the dedup window has let go, without `positions`."""

    stream: str
    positions: dict[int, Offset]
    outputs: dict[str, list[Update]]
    """One list per typed output stream: `node/TYPE` and `edge/TYPE`."""
    relations: list[RelationUpdate]
    dead_letters: list[DeadLetter]
    folds: Mapping[str, Folding] = {}
    """How to fold the outputs of some streams into what is stored."""
    settled: list[DeadLetter] = []
    """Letters of earlier batches that disappear with this one."""
