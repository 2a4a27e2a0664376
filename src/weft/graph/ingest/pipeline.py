"""The ingest step without I/O: events go in, batches come out."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

import msgspec
import xxhash

from weft.core.errors import Invalid, Unavailable, WeftError
from weft.core.limits import MAX_DEAD_LETTER_BYTES, MAX_DEAD_LETTER_PAYLOAD_BYTES, MAX_FUTURE_SKEW_US
from weft.graph.ingest.job import Job, Output
from weft.graph.ingest.model import Batch, DeadLetter, Event, Offset, RelationUpdate, RelationWrite
from weft.graph.ingest.protocols import Sink
from weft.graph.ingest.report import IngestReport
from weft.graph.ingest.window import Window, stream_of
from weft.graph.model import Edge, Node, Remove
from weft.graph.updates import Update, compile_updates

_NONCE: Final = struct.Struct(">IQI")
_OUTPUTS: Final = (Node, Edge, Remove, RelationWrite)


class Pipeline:
    """Applies a job to events and gathers what it emits. All of an event's outputs are taken, or none."""

    def __init__(self, job: Job, stream: str, sink: Sink, positions: Mapping[int, Offset]) -> None:
        self.report = IngestReport(stream)
        self.positions = dict(positions)
        self._job = job
        self._sink = sink
        self._schema = sink.schema
        self._folds = sink.schema.current(lambda: job.dedup.folds(sink.schema))
        self._window = Window(round(job.dedup.window_s * 1e6), self._folds)
        self._dead: list[DeadLetter] = []
        self.dead_bytes = 0
        """How much memory the payloads of undrained dead letters take."""
        self._streams = _StreamHash(stream)
        self.undrained = 0

    @property
    def size(self) -> int:
        """How many writes a checkpoint would make."""
        return self._window.size + len(self._dead)

    @property
    def due(self) -> int:
        """How many updates have left the dedup window."""
        return self._window.due

    def take(self, event: Event, now_us: int) -> None:
        """Fold one event in. Interrupted at any point it leaves a state that may be drained: the position
        moves last, and an event that is taken twice changes nothing. `Unavailable` from the job is raised:
        the event is to be taken later."""
        report, window = self.report, self._window
        try:
            outputs = self._outputs(event, now_us)
            try:
                updates, relations = self._checked(outputs, event, now_us)
            except Invalid:
                # It may be of a type that another process has added meanwhile.
                if not self._schema.refresh():
                    raise
                updates, relations = self._checked(outputs, event, now_us)
        except Unavailable:
            raise
        except Exception as error:
            self._bury(event, error)
        else:
            window.advance(event.time_us)
            for update in updates:
                window.add(update)
            for relation in relations:
                window.add_relation(relation)
            report.updates += len(updates)
            report.relations += len(relations)
        report.events += 1
        self.undrained += 1
        self.positions[event.partition] = event.offset

    def drain(self) -> Batch:
        """Everything since the last call, as one batch with the positions."""
        outputs, relations = self._window.drain()
        dead, self._dead, self.dead_bytes = self._dead, [], 0
        self.undrained = 0
        return self._batch(dict(self.positions), outputs, relations, dead)

    def drain_due(self) -> Batch:
        """What has left the dedup window, as a batch without positions: after a crash it comes again."""
        return self._batch({}, self._window.drain_due(), [], [])

    def _batch(
        self,
        positions: dict[int, Offset],
        outputs: dict[str, list[Update]],
        relations: list[RelationUpdate],
        dead: list[DeadLetter],
    ) -> Batch:
        report = self.report
        for name, updates in outputs.items():
            report.written[name] = report.written.get(name, 0) + len(updates)
        report.batches += 1
        return Batch(report.stream, positions, outputs, relations, dead, self._folds)

    def _outputs(self, event: Event, now_us: int) -> list[Output]:
        if event.error:
            raise Invalid(event.error)
        _check_time(event.time_us, now_us)
        job = self._job
        if job.filter is not None and not job.filter(event):
            self.report.filtered += 1
            return []
        if job.project is not None:
            event = msgspec.structs.replace(event, value=job.project(event))
        if job.enrich is not None:
            event = msgspec.structs.replace(event, value=job.enrich(event))
        return list(job.transform(event) or ())

    def _checked(
        self, outputs: list[Output], event: Event, now_us: int
    ) -> tuple[list[Update], list[RelationUpdate]]:
        updates: list[Update] = []
        relations: list[RelationUpdate] = []
        stream, position, default_us = self._streams[event.partition], event.offset.position, event.time_us
        schema, folds = self._schema, self._folds
        for ordinal, output in enumerate(outputs):
            if not isinstance(output, _OUTPUTS):
                raise Invalid(
                    f"the job emitted `{output!r:.80}`", hint="emit Node, Edge, Remove or RelationWrite"
                )
            if output.event_time_us is not None:
                _check_time(output.event_time_us, now_us)
            nonce = _NONCE.pack(stream, position, ordinal)
            if isinstance(output, RelationWrite):
                relations.append(self._relation(output, default_us, nonce))
                continue
            compiled = compile_updates(output, schema, default_us, nonce)
            if folds and (folding := folds.get(stream_of(compiled[0]))):
                folding.check(compiled[0])
            updates += compiled
        return updates, relations

    def _relation(self, write: RelationWrite, default_us: int, nonce: bytes) -> RelationUpdate:
        self._sink.check(write)
        time_us = default_us if write.event_time_us is None else write.event_time_us
        return RelationUpdate(write.text, write.delete, time_us, nonce)

    def _bury(self, event: Event, error: Exception) -> None:
        reason = str(error) if isinstance(error, WeftError) else f"{type(error).__name__}: {error}"
        letter = DeadLetter(
            self.report.stream,
            event.partition,
            event.offset,
            _time(event.time_us),
            _text(reason),
            _text(_json(event.value)),
            _payload(event.value),
            bool(event.error),
        )
        self.report.dead_letters += 1
        self._dead.append(letter)
        self.dead_bytes += len(letter.payload)


class _StreamHash(dict[int, int]):
    """The 32 bits that tell the tokens of one stream's partitions from those of others."""

    def __init__(self, stream: str) -> None:
        self._stream = stream

    def __missing__(self, partition: int) -> int:
        hashed = self[partition] = xxhash.xxh32_intdigest(f"{self._stream}\0{partition}".encode())
        return hashed


def _check_time(time_us: int, now_us: int) -> None:
    if type(time_us) is not int or not 0 <= time_us <= now_us + MAX_FUTURE_SKEW_US:
        raise Invalid(f"the event time `{time_us!r}` is not between 1970 and now, in microseconds")


def _time(time_us: object) -> int:
    """An event's time where it can be kept; what it was instead is in the reason."""
    return time_us if type(time_us) is int and -(2**63) <= time_us < 2**63 else 0


def _payload(value: object) -> bytes:
    """The value as bytes that decode to it again; empty when there are none."""
    try:
        encoded = msgspec.msgpack.encode(value)
        if len(encoded) <= MAX_DEAD_LETTER_PAYLOAD_BYTES and msgspec.msgpack.decode(encoded) == value:
            return encoded
    except Exception:
        pass
    return b""


def _json(value: object) -> str:
    try:
        return msgspec.json.encode(value, enc_hook=repr).decode()
    except Exception:
        return repr(value)


def _text(text: str) -> str:
    encoded = text.encode("utf-8", "backslashreplace")
    return encoded[:MAX_DEAD_LETTER_BYTES].decode("utf-8", "ignore")
