"""Two stores with the same data: one that answers, and a shadow that is written along with it."""

from __future__ import annotations

import random
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from weft.core import limits
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.codec import decode, encode
from weft.core.errors import Invalid, LimitExceeded, NotFound
from weft.core.randomness import system_random
from weft.core.telemetry import KV_SHADOW, SILENT, Recorder
from weft.kv.model import (
    ALL,
    Delete,
    Item,
    ItemWrite,
    Keys,
    Mutation,
    Namespace,
    Page,
    PageLimits,
    Put,
    Selection,
)
from weft.kv.store import Capability, KeyValueStore
from weft.kv.wrappers.wrapper import StoreWrapper

JOURNAL: Final = Namespace(name="weft.dual")
_SLOT: Final = struct.Struct(">II")
_COUNT: Final = struct.Struct(">I")
_PIECE_BYTES: Final = 64 << 20
_NEEDED: Final = frozenset({Capability.ATOMIC_BATCH, Capability.TOKEN_TIE_BREAK})


class Repaired(NamedTuple):
    """How many batches a repair brought to the shadow, and how many were too old to be safe to repeat."""

    replayed: int
    stale: int


class DualStore(StoreWrapper):
    """Writes go to both stores under the same tokens; reads come from the primary.

    A failure of the shadow is counted and owed, never raised. Each batch goes to the primary together with a
    debt, the same mutations in a journal, in one transaction; so whenever the process dies, what the primary
    has is either in the shadow or in the journal. A settled debt is overwritten by a later one in its place,
    so a healthy pair keeps one debt per thread. `repair` replays the journal; repeating a batch is harmless
    for `limits.MAX_LATENESS_US`, which is how soon it has to run. With `compare`, answers of whole questions
    are compared, and counted as `same` or `different`; writes in between may make them differ.
    """

    def __init__(
        self,
        primary: KeyValueStore,
        shadow: KeyValueStore,
        *,
        compare: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        rng: random.Random | None = None,
        recorder: Recorder = SILENT,
    ) -> None:
        if missing := _NEEDED - primary.capabilities:
            names = ", ".join(sorted(capability.name for capability in missing))
            raise Invalid(f"the primary lacks {names}", hint="a debt is written together with its batch")
        super().__init__(primary, clock=clock)
        self._shadow = shadow
        self._compare = compare
        self._recorder = recorder
        self._record = (rng or system_random()).randbytes(16)
        self._lock = threading.Lock()
        self._free: list[int] = []
        self._slots = 0
        self._closed = False
        if JOURNAL not in primary.namespaces():
            primary.configure(JOURNAL)
        self._configure_shadow()

    def namespaces(self) -> list[Namespace]:
        return [found for found in self._inner.namespaces() if found.name != JOURNAL.name]

    def configure(self, *namespaces: Namespace) -> None:
        self._inner.configure(*namespaces)
        self._on_shadow(lambda: self._shadow.configure(*namespaces))

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        slot = self._take_slot()
        try:
            self._inner.mutate([*mutations, self._debt(slot, mutations)])
        except (Invalid, LimitExceeded, NotFound):
            self._give_back(slot)
            raise
        if self._on_shadow(lambda: self._shadow.mutate(mutations)):
            self._give_back(slot)

    def get_items(
        self,
        namespace: str,
        records: Sequence[bytes],
        selection: Selection = ALL,
        *,
        reverse: bool = False,
        limit_per_record: int | None = None,
        page: PageLimits | None = None,
        after: bytes | None = None,
    ) -> Page:
        found = super().get_items(
            namespace,
            records,
            selection,
            reverse=reverse,
            limit_per_record=limit_per_record,
            page=page,
            after=after,
        )
        if self._compare and page is None and after is None:

            def compare() -> None:
                other = self._shadow.get_items(
                    namespace, records, selection, reverse=reverse, limit_per_record=limit_per_record
                )
                outcome = "same" if other.records == found.records else "different"
                self._recorder.count(KV_SHADOW, outcome=outcome)

            self._on_shadow(compare, written=False)
        return found

    def erase(self, namespace: str, *, limit: int = 10_000) -> int:
        self._on_shadow(lambda: self._shadow.erase(namespace, limit=limit))
        return self._inner.erase(namespace, limit=limit)

    def sweep(self, *, limit: int = 10_000) -> int:
        self._on_shadow(lambda: self._shadow.sweep(limit=limit))
        return self._inner.sweep(limit=limit)

    def repair(self) -> Repaired:
        """Bring every debt to the shadow, also of processes that died; raises what the shadow raises."""
        self._shadow.configure(*self.namespaces())
        replayed = stale = 0
        for record, pieces in self._debts():
            token = pieces[0].version.token
            if token.instant_us + limits.MAX_LATENESS_US <= self._clock.now_us():
                stale += 1
                continue
            payload = b"".join(piece.value[_COUNT.size :] for piece in pieces)
            self._shadow.mutate(decode(payload, list[Put | Delete], "a debt"))
            keys = tuple(piece.key for piece in pieces)
            # Under the debt's own token: a newer debt in the same slot stays.
            settled = Delete(
                namespace=JOURNAL.name, record=record, selection=Keys(keys), event_time_us=0, token=token
            )
            self._inner.mutate([settled])
            replayed += 1
            self._recorder.count(KV_SHADOW, outcome="repaired")
        return Repaired(replayed, stale)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            with self._lock:
                keys = tuple(_SLOT.pack(slot, 0) for slot in self._free)
            if keys:
                settled = Delete(
                    namespace=JOURNAL.name,
                    record=self._record,
                    selection=Keys(keys),
                    event_time_us=0,
                    token=self._tokens.new(),
                )
                self._inner.mutate([settled])
        finally:
            self._on_shadow(self._shadow.close)
            self._inner.close()

    def _debt(self, slot: int, mutations: Sequence[Mutation]) -> Put:
        payload = encode(list(mutations))
        starts = range(0, len(payload), _PIECE_BYTES)
        count = _COUNT.pack(len(starts))
        return Put(
            namespace=JOURNAL.name,
            record=self._record,
            items=[
                ItemWrite(_SLOT.pack(slot, index), count + payload[at : at + _PIECE_BYTES])
                for index, at in enumerate(starts)
            ],
            # All at the same time: the token alone orders the debts of a slot, whatever the clock does.
            event_time_us=0,
            token=self._tokens.new(),
        )

    def _debts(self) -> Iterator[tuple[bytes, list[Item]]]:
        """Record and pieces of each debt, without the rest of older and longer ones in its slot."""
        after = None
        while True:
            found = self._inner.scan_records(JOURNAL.name, after=after)
            for record in found.records:
                yield from self._debts_of(record)
            if found.next is None:
                return
            after = found.next

    def _debts_of(self, record: bytes) -> Iterator[tuple[bytes, list[Item]]]:
        pieces: dict[int, list[Item]] = {}
        after = None
        while True:
            page = self._inner.get_items(JOURNAL.name, [record], after=after)
            for item in page.items():
                slot, index = _SLOT.unpack(item.key)
                if index == 0 or slot in pieces:
                    pieces.setdefault(slot, []).append(item)
                held = pieces.get(slot, [])
                if held and len(held) == _COUNT.unpack_from(held[0].value)[0]:
                    yield record, pieces.pop(slot)
            if page.next is None:
                return
            after = page.next

    def _configure_shadow(self) -> None:
        namespaces = self.namespaces()
        if namespaces:
            self._on_shadow(lambda: self._shadow.configure(*namespaces))

    def _on_shadow(self, use: Callable[[], object], *, written: bool = True) -> bool:
        """Whether the shadow did it; whatever it raises is counted."""
        try:
            use()
        except Exception:
            self._recorder.count(KV_SHADOW, outcome="failed")
            return False
        if written:
            self._recorder.count(KV_SHADOW, outcome="written")
        return True

    def _take_slot(self) -> int:
        with self._lock:
            if self._free:
                return self._free.pop()
            self._slots += 1
            return self._slots - 1

    def _give_back(self, slot: int) -> None:
        with self._lock:
            self._free.append(slot)
