"""Moving a namespace to another store while other processes go on writing to it.

The move is recorded in the source's row of the namespace, which every writer reads inside its write
transaction. From then on each batch is also noted in a log, in the transaction that writes it.

    copy      what the namespace holds, page by page, as mutations with their versions, tombstones, expiries
    tail      the log, in order, forgetting what has arrived
    verify    record by record: items, versions, expiries
    switch    in one write transaction of the source: the rest of the log, what differed, the pointer
    erase     the source's items; the row stays and points to the new place

No write is lost. A write that commits before the move is recorded is read by the copy. A later one is in the
log, by its own transaction, and stays there until it has arrived. The switch holds the source's writer lock,
so no write falls between the rest of the log and the pointer; a writer that waited for the lock finds the
pointer, writes nothing, and is told `Moved`, which `weft.kv.open` follows. Mutations merge by version in any
order and any number, so a step that is cut off is simply done again. A mover writes its name into the row,
and one that was overtaken finds another name there and stops.

The target has no TTL while it is filled, since items that came before a TTL do not have it; the switch gives
it the namespace's own configuration. So its log of changes, too, begins at the switch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Conflict, Corrupt
from weft.core.limits import MAX_MUTATIONS_PER_BATCH
from weft.core.randomness import system_random
from weft.kv.lmdb import LmdbStore
from weft.kv.lmdb_export import export_entries
from weft.kv.lmdb_moving import MovingNamespace
from weft.kv.lmdb_rows import Move, NamespaceRow, Rows
from weft.kv.model import Mutation, Namespace, PageLimits, Put
from weft.kv.store import KeyValueStore

# A page is one durable write to the target, and what a killed move does again.
_PAGE: Final = PageLimits(items=2_000)
_LOG_ENTRIES: Final = 500
# With less than this in the log writers wait for the switch for a few milliseconds.
_SHORT_LOG: Final = 50
# Writers that are faster than the tail would keep it from ever ending; then they wait.
_TAIL_ROUNDS: Final = 1_000
_RECORDS_TOGETHER: Final = 200
_ERASE: Final = 20_000

Progress = Callable[[str, int], None]
"""Takes the step, and how many mutations it has moved, records it has verified, or items it has erased."""


class Moving:
    """One namespace on its way from one store to another."""

    def __init__(
        self,
        source: LmdbStore,
        target: KeyValueStore,
        name: str,
        *,
        location: str,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        progress: Progress = lambda step, done: None,
    ) -> None:
        self._source = source
        self._target = target
        self._name = name
        self._location = location
        self._clock = clock
        self._progress = progress
        self._namespace: MovingNamespace = source.moving(name)
        self._mover = (rng or system_random()).randbytes(8)

    def run(self) -> None:
        """Move, or go on with a move that was cut off; returns once the source is empty.

        Raises `Conflict` when the target holds such a namespace already, the namespace moves or has moved to
        another place, or another process took over; `Corrupt` when the places still differ at the end.
        """
        self._check_target()
        move = self._take()
        if not move.switched:
            if not move.copied:
                self._copy(move)
            self._tail()
            differing = self._differing_records()
            self._tail()
            self._namespace.switch(
                self._mover, lambda rows, row, log: self._finish(rows, row, log, differing)
            )
        self._erase(lambda: self._namespace.erase(_ERASE))

    def abort(self) -> None:
        """Undo a move that has not switched: forget the copy, then the record of the move."""
        move = self._namespace.take(self._mover, None).move
        assert move is not None
        if move.switched:
            raise Conflict(
                f"namespace `{self._name}` has moved to `{move.to}` already", hint="move it on from there"
            )
        if any(found.name == self._name for found in self._target.namespaces()):
            self._erase(lambda: self._target.erase(self._name, limit=_ERASE))
        self._namespace.abort(self._mover)

    def _check_target(self) -> None:
        if self._namespace.row().move is not None:
            return
        there = any(found.name == self._name for found in self._target.namespaces())
        if there and self._target.export(self._name, page=PageLimits(items=1)).mutations:
            raise Conflict(
                f"`{self._location}` has items in a namespace `{self._name}`", hint="move to another place"
            )

    def _take(self) -> Move:
        row = self._namespace.take(self._mover, self._location)
        assert row.move is not None
        if not row.move.switched:
            self._target.configure(_while_filled(row.config))
        return row.move

    def _copy(self, move: Move) -> None:
        done = 0
        while not move.copied:
            page = self._source.export(self._name, after=move.after, page=_PAGE)
            self._target.mutate(page.mutations)
            move = msgspec.structs.replace(move, mover=self._mover, after=page.next, copied=page.next is None)
            self._namespace.save(move)
            done += len(page.mutations)
            self._progress("copy", done)

    def _tail(self) -> None:
        done = 0
        for _ in range(_TAIL_ROUNDS):
            entries = self._namespace.log(_LOG_ENTRIES)
            self._send([mutation for _, part in entries for mutation in part])
            self._namespace.trim(self._mover, [key for key, _ in entries])
            done += len(entries)
            self._progress("tail", done)
            if len(entries) <= _SHORT_LOG:
                break

    def _send(self, mutations: Sequence[Mutation]) -> None:
        for at in range(0, len(mutations), MAX_MUTATIONS_PER_BATCH):
            self._target.mutate(mutations[at : at + MAX_MUTATIONS_PER_BATCH])

    def _differing_records(self) -> set[bytes]:
        """Records that do not agree, be it that they are written to just now."""
        differing: set[bytes] = set()
        done = 0
        for records in self._all_records():
            if self._differ(records):
                differing.update(record for record in records if self._differ([record]))
            done += len(records)
            self._progress("verify", done)
        return differing

    def _all_records(self) -> Iterator[list[bytes]]:
        after = None
        while True:
            page = self._source.export(self._name, after=after, page=_PAGE)
            records = list(dict.fromkeys(mutation.record for mutation in page.mutations))
            for at in range(0, len(records), _RECORDS_TOGETHER):
                yield records[at : at + _RECORDS_TOGETHER]
            if page.next is None:
                return
            after = page.next

    def _differ(self, records: list[bytes]) -> bool:
        return _read(self._source, self._name, records) != _read(self._target, self._name, records)

    def _finish(self, rows: Rows, row: NamespaceRow, log: list[Mutation], differing: set[bytes]) -> None:
        """Under the source's writer lock: bring the rest over, and look again at what differed."""
        self._send(log)
        for record in sorted(differing):
            if not any(self._same_now(rows, row, record) for _ in range(3)):
                raise Corrupt(
                    f"record {record!r} of `{self._name}` is not the same in `{self._location}`",
                    hint="nothing was switched; --abort the move and report it",
                )
        self._target.configure(row.config)

    def _same_now(self, rows: Rows, row: NamespaceRow, record: bytes) -> bool:
        """Whether a record agrees; something may expire between the two readings, so ask again if not."""
        entries = export_entries(rows, self._name, row.prefix, [record], None, self._clock.now_us())
        here = _puts(mutation for entry in entries for mutation in entry.mutations)
        return here == _read(self._target, self._name, [record])

    def _erase(self, erase: Callable[[], int]) -> None:
        done = 0
        while erased := erase():
            done += erased
            self._progress("erase", done)


def _read(store: KeyValueStore, name: str, records: list[bytes]) -> list[Mutation]:
    """What readers see of records, with versions and expiries."""
    found: list[Mutation] = []
    after = None
    while True:
        page = store.export(name, records, after=after)
        found += _puts(page.mutations)
        if page.next is None:
            return found
        after = page.next


def _puts(mutations: Iterable[Mutation]) -> list[Mutation]:
    # Equal places may hold different tombstones: those that later writes have made idle come and go.
    return [mutation for mutation in mutations if isinstance(mutation, Put)]


def _while_filled(namespace: Namespace) -> Namespace:
    return msgspec.structs.replace(namespace, ttl_s=None, max_value_bytes=None, changes_bytes=0)
