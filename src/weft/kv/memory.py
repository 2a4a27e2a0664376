"""The reference store: dictionaries, resolved when they are read. Correct, plain, never fast."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid
from weft.kv.base import StoreBase
from weft.kv.checks import (
    check_limit,
    check_mutations,
    check_namespace,
    check_page,
    check_query,
    find_namespace,
)
from weft.kv.expiry import NEVER_US, delete_kept_until_us, effective_us, kept_until_us, ttl_end_us
from weft.kv.exporting import Entry, Place, RecordExport, fill_export, place_after
from weft.kv.model import (
    ALL,
    Change,
    Changes,
    Delete,
    Exported,
    Item,
    Keys,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    Put,
    RecordPage,
    Selection,
    Token,
    Version,
)
from weft.kv.paging import DEFAULT_LIMITS, bounds, export_query, fill_page, fill_record_page
from weft.kv.store import Capability, ChangesForgotten


class _Cell(NamedTuple):
    """What was last written to a key; the fields compare in the order that settles ties. A tombstone expires
    when it need not be kept any more."""

    version: Version
    tombstone: bool
    value: bytes
    expires_us: int


_Range = tuple[Version, bytes, bytes | None]
"""A deleted range of keys."""


class _RecordExpiry(NamedTuple):
    version: Version
    expires_us: int


_NO_EXPIRY: Final = _RecordExpiry(Version(-NEVER_US, Token(0, b"")), NEVER_US)


class _Record:
    """Every key's winning write, every range tombstone, and the record's expiry."""

    def __init__(self) -> None:
        self.cells: dict[bytes, _Cell] = {}
        self.tombstones: dict[_Range, int] = {}
        """Until when each is kept."""
        self.expiry = _NO_EXPIRY

    def live(self, key: bytes, now_us: int) -> Item | None:
        """The item that readers see under a key."""
        cell = self.cells[key]
        expires_us = effective_us(cell.version.event_time_us, cell.expires_us, self.expiry.expires_us)
        if cell.tombstone or expires_us <= now_us or self._deleted(key, cell):
            return None
        return Item(key, cell.value, cell.version, None if expires_us == NEVER_US else expires_us)

    def live_items(self, now_us: int) -> list[Item]:
        found = (self.live(key, now_us) for key in sorted(self.cells))
        return [item for item in found if item is not None]

    def _deleted(self, key: bytes, cell: _Cell) -> bool:
        return any(True for _ in self._hiding(key, cell))

    def _hiding(self, key: bytes, cell: _Cell) -> Iterator[int]:
        """Until when each of the range tombstones over a cell is kept."""
        for (version, start, end), until_us in self.tombstones.items():
            if start <= key and (end is None or key < end) and cell.version <= version:
                yield until_us

    def write(self, key: bytes, cell: _Cell) -> bool:
        """Whether it changed anything."""
        before = self.cells.get(key)
        loser, winner = sorted((before or cell, cell))
        self.cells[key] = winner
        until_us = _kept_until_us(loser)
        if until_us > max(_kept_until_us(winner), winner.expires_us):
            if winner.tombstone:
                self.cells[key] = winner._replace(expires_us=until_us)
            else:
                self.delete((loser.version, key, key + b"\x00"), until_us)
        if winner.tombstone and before is not None and before[:2] == winner[:2]:
            return False
        return winner != before and not self._deleted(key, cell)

    def _may_go(self, key: bytes, cell: _Cell) -> bool:
        """Whether a range tombstone hides the cell, for at least as long as the cell would hide others."""
        until_us = _kept_until_us(cell)
        return any(other_us >= until_us for other_us in self._hiding(key, cell))

    def delete(self, tombstone: _Range, until_us: int) -> bool:
        """Whether it may have changed anything."""
        known = tombstone in self.tombstones
        self.tombstones[tombstone] = max(until_us, self.tombstones.get(tombstone, 0))
        return not known

    def expire_at(self, expiry: _RecordExpiry, now_us: int) -> bool:
        """Whether it changed anything."""
        self.finish_expiry(now_us)
        before, self.expiry = self.expiry, max(self.expiry, expiry)
        return self.expiry != before

    def final_us(self) -> int:
        """From when on nothing can move the record's expiry any more."""
        version, expires_us = self.expiry
        return NEVER_US if expires_us == NEVER_US else kept_until_us(expires_us, version.token.instant_us)

    def finish_expiry(self, now_us: int) -> int:
        """Forget what a record expiry ended, once nothing can move it any more."""
        ended_us = self.expiry.expires_us
        if self.final_us() > now_us:
            return 0
        self.expiry = _NO_EXPIRY
        return self._drop([key for key, cell in self.cells.items() if cell.version.event_time_us < ended_us])

    def reclaim(self, now_us: int) -> int:
        """Drop what no late write can meet any more; turn what has expired before that into tombstones."""
        reclaimed = self.finish_expiry(now_us)
        reclaimed += self._drop([key for key, cell in self.cells.items() if self._may_go(key, cell)])
        dead = [
            key
            for key, cell in self.cells.items()
            if cell.tombstone or cell.expires_us <= now_us or self._deleted(key, cell)
        ]
        old = [tombstone for tombstone, until_us in self.tombstones.items() if until_us <= now_us]
        for tombstone in old:
            del self.tombstones[tombstone]
        reclaimed += self._drop([key for key in dead if _kept_until_us(self.cells[key]) <= now_us])
        for key in dead:
            if key in self.cells and not self.cells[key].tombstone:
                cell = self.cells[key]
                self.cells[key] = _Cell(cell.version, True, b"", _kept_until_us(cell))
                reclaimed += 1
        return reclaimed + len(old)

    def export(self, make: RecordExport, record: bytes, now_us: int) -> Iterator[Entry]:
        """What is to be kept of the record, as mutations."""
        final = self.final_us() <= now_us
        heads = [
            make.delete(*tombstone) for tombstone, until_us in self.tombstones.items() if until_us > now_us
        ]
        if self.expiry != _NO_EXPIRY and not final:
            heads.append(make.expire(*self.expiry))
        if heads:
            yield Entry(Place(record, None), heads, len(record))
        for key, cell in sorted(self.cells.items()):
            ended = final and cell.version.event_time_us < self.expiry.expires_us
            if ended or self._may_go(key, cell):
                continue
            if not cell.tombstone and cell.expires_us > now_us and not self._deleted(key, cell):
                mutation = make.put(cell.version, key, cell.value, cell.expires_us)
            elif _kept_until_us(cell) > now_us:
                mutation = make.delete(cell.version, key, key + b"\x00")
            else:
                continue
            yield Entry(Place(record, key), [mutation], len(record) + len(key) + len(cell.value))

    def _drop(self, keys: list[bytes]) -> int:
        for key in keys:
            del self.cells[key]
        return len(keys)


class _Log:
    """What changed lately in a namespace; everything after the generation `floor`."""

    def __init__(self, floor: int) -> None:
        self.floor = floor
        self._told: deque[tuple[int, list[Change]]] = deque()
        self._bytes = 0

    def append(self, generation: int, changed: list[Change]) -> None:
        self._told.append((generation, changed))
        self._bytes += _size(changed)

    def trim(self, budget: int) -> None:
        while self._bytes > budget:
            self.floor, changed = self._told.popleft()
            self._bytes -= _size(changed)

    def read(self, after: int, limit: int, now: int) -> Changes:
        found: list[Change] = []
        for generation, changed in self._told:
            if generation > after:
                found += changed
                if len(found) >= limit:
                    return Changes(found, generation)
        return Changes(found, now)


def _size(changed: list[Change]) -> int:
    return sum(len(change.record) + len(change.key or b"") for change in changed)


def _order(place: Place) -> tuple[bytes, bool, bytes]:
    return place.record, place.key is not None, place.key or b""


def _kept_until_us(cell: _Cell) -> int:
    """Until when older writes must stay hidden because of a cell, whatever becomes of it."""
    version = cell.version
    return cell.expires_us if cell.tombstone else kept_until_us(version[0], version.token.instant_us)


class MemoryStore(StoreBase):
    """A `KeyValueStore` in this process's memory."""

    capabilities = frozenset(Capability) - {Capability.DURABLE, Capability.SHARED}

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(clock)
        self._lock = threading.RLock()
        self._namespaces: dict[str, Namespace] = {}
        self._records: dict[tuple[str, bytes], _Record] = {}
        self._logs: dict[str, _Log] = {}
        self._generation = 0
        self._closed = False

    def namespaces(self) -> list[Namespace]:
        with self._open():
            return [self._namespaces[name] for name in sorted(self._namespaces)]

    def configure(self, *namespaces: Namespace) -> None:
        for namespace in namespaces:
            check_namespace(namespace)
        with self._open():
            known = frozenset(self._namespaces)
            self._namespaces |= {namespace.name: namespace for namespace in namespaces}
            self._generation += 1
            for namespace in namespaces:
                if not namespace.changes_bytes:
                    self._logs.pop(namespace.name, None)
                else:
                    floor = self._generation if namespace.name in known else 0
                    log = self._logs.setdefault(namespace.name, _Log(floor))
                    log.trim(namespace.changes_bytes)

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        with self._open():
            now_us = self._clock.now_us()
            check_mutations(mutations, self._namespaces, now_us)
            changed: dict[str, list[Change]] = {}
            for mutation in mutations:
                record = self._records.setdefault((mutation.namespace, mutation.record), _Record())
                version = Version(mutation.event_time_us, mutation.token)
                if isinstance(mutation, Put):
                    keys = self._put(record, mutation, version, now_us)
                else:
                    keys = _delete(record, mutation, version, now_us)
                told = changed.setdefault(mutation.namespace, [])
                told.extend(Change(mutation.record, key) for key in keys)
            self._generation += 1
            for name, part in changed.items():
                self._log(name, part)

    def _log(self, name: str, changed: list[Change]) -> None:
        if changed and name in self._logs:
            self._logs[name].append(self._generation, changed)
            self._logs[name].trim(self._namespaces[name].changes_bytes)

    def _put(self, record: _Record, put: Put, version: Version, now_us: int) -> list[bytes | None]:
        """The keys that it changed."""
        changed: list[bytes | None] = []
        namespace_end_us = ttl_end_us(put.event_time_us, self._namespaces[put.namespace].ttl_s)
        for item in put.items:
            expires_us = min(namespace_end_us, ttl_end_us(put.event_time_us, item.ttl_s))
            if record.write(item.key, _Cell(version, False, item.value, expires_us)):
                changed.append(item.key)
        if put.record_ttl_s is not None:
            expires_us = ttl_end_us(put.event_time_us, put.record_ttl_s)
            if record.expire_at(_RecordExpiry(version, expires_us), now_us):
                changed.append(None)
        return changed

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
        check_query(records, selection, page, limit_per_record)
        with self._open():
            find_namespace(self._namespaces, namespace)
            now_us = self._clock.now_us()

            def scan(record: bytes, after_key: bytes | None) -> Iterator[Item]:
                found = self._records.get((namespace, record))
                items = found.live_items(now_us) if found else []
                for item in reversed(items) if reverse else items:
                    past = after_key is None or (item.key < after_key if reverse else item.key > after_key)
                    if past and _selects(selection, item.key):
                        yield item

            return fill_page(
                scan,
                namespace,
                records,
                selection,
                reverse=reverse,
                limit_per_record=limit_per_record,
                limits=page or DEFAULT_LIMITS,
                after=after,
                clock=self._clock,
            )

    def scan_records(
        self, namespace: str, *, after: bytes | None = None, page: PageLimits | None = None
    ) -> RecordPage:
        check_page(page)
        with self._open():
            find_namespace(self._namespaces, namespace)
            now_us = self._clock.now_us()
            live = sorted(
                record
                for (name, record), found in self._records.items()
                if name == namespace and found.live_items(now_us)
            )

            def scan(after_record: bytes | None) -> Iterator[tuple[bytes, bytes]]:
                return ((record, record) for record in live if after_record is None or record > after_record)

            return fill_record_page(scan, namespace, page or DEFAULT_LIMITS, after, self._clock)

    def stats(self, namespace: str) -> NamespaceStats:
        with self._open():
            find_namespace(self._namespaces, namespace)
            now_us = self._clock.now_us()
            records = [record for (name, _), record in self._records.items() if name == namespace]
            live = [items for record in records if (items := record.live_items(now_us))]
            return NamespaceStats(
                records=len(live),
                live_items=sum(len(items) for items in live),
                stored_items=sum(len(record.cells) for record in records),
                stored_bytes=sum(
                    len(k) + len(c.value) for record in records for k, c in record.cells.items()
                ),
            )

    def export(
        self,
        namespace: str,
        records: Sequence[bytes] | None = None,
        *,
        after: bytes | None = None,
        page: PageLimits | None = None,
    ) -> Exported:
        check_query(records or (), ALL, page, None)
        with self._open():
            find_namespace(self._namespaces, namespace)
            wanted = sorted(record for name, record in self._records if name == namespace)
            if records is not None:
                wanted = sorted(set(records).intersection(wanted))
            query = export_query(namespace, records)
            place = place_after(after, query)
            now_us = self._clock.now_us()
            entries = (
                entry
                for record in wanted
                for entry in self._records[namespace, record].export(
                    RecordExport(namespace, record), record, now_us
                )
                if place is None or _order(entry.place) > _order(place)
            )
            return fill_export(entries, query, page, self._clock)

    def erase(self, namespace: str, *, limit: int = 10_000) -> int:
        with self._open():
            find_namespace(self._namespaces, namespace)
            found = [where for where in self._records if where[0] == namespace][:limit]
            for where in found:
                del self._records[where]
            self._generation += bool(found)
            self._log(namespace, [Change(record, None) for _, record in found])
            return len(found)

    def sweep(self, *, limit: int = 10_000) -> int:
        with self._open():
            now_us = self._clock.now_us()
            reclaimed = 0
            for name, record in list(self._records.items()):
                if reclaimed >= limit:
                    break
                reclaimed += record.reclaim(now_us)
                if not record.cells and not record.tombstones and record.expiry == _NO_EXPIRY:
                    del self._records[name]
            self._generation += reclaimed > 0
            return reclaimed

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._open():
            yield

    def generation(self) -> int:
        with self._open():
            return self._generation

    def changes(self, namespace: str, *, after: int, limit: int = 10_000) -> Changes:
        check_limit(limit)
        with self._open():
            find_namespace(self._namespaces, namespace)
            if after == self._generation:
                return Changes([], after)
            log = self._logs.get(namespace)
            if log is None or not log.floor <= after <= self._generation:
                raise ChangesForgotten(namespace)
            return log.read(after, limit, self._generation)

    def close(self) -> None:
        self._closed = True
        self._records.clear()

    @contextmanager
    def _open(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise Invalid("the store is closed", hint="open it again")
            yield


def _delete(record: _Record, delete: Delete, version: Version, now_us: int) -> list[bytes | None]:
    """The keys that it changed."""
    until_us = delete_kept_until_us(delete.event_time_us, delete.token.instant_us, now_us)
    if isinstance(delete.selection, Keys):
        cell = _Cell(version, True, b"", until_us)
        return [key for key in delete.selection.keys if record.write(key, cell)]
    return [None] if record.delete((version, *bounds(delete.selection)), until_us) else []


def _selects(selection: Selection, key: bytes) -> bool:
    if isinstance(selection, Keys):
        return key in selection.keys
    start, end = bounds(selection)
    return start <= key and (end is None or key < end)
