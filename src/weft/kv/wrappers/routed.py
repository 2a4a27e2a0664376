"""A store whose namespaces may have moved elsewhere: each call goes to where its namespace is."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import msgspec

from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.kv.checks import check_mutations
from weft.kv.lmdb import LmdbStore
from weft.kv.model import (
    ALL,
    Changes,
    Exported,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    RecordPage,
    Selection,
)
from weft.kv.store import Capability, KeyValueStore, Moved
from weft.kv.wrappers.wrapper import StoreWrapper

T = TypeVar("T")


class RoutedStore(StoreWrapper):
    """Follows moved namespaces. The other stores are opened when they are first needed, and closed with it.

    A batch over several places is no transaction: each other place's part is written first, each atomically,
    and `home`'s last. So `ATOMIC_BATCH` is not declared once anything has moved. A batch that was cut off
    and is sent again under its tokens ends in the same state.
    """

    def __init__(
        self, home: LmdbStore, open_place: Callable[[str], KeyValueStore], *, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        super().__init__(home, clock=clock)
        self._home = home
        self._open_place = open_place
        self._places: dict[str, KeyValueStore] = {}
        self._lock = threading.Lock()
        self._known: tuple[int, dict[str, str]] = -1, {}

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._home.capabilities - ({Capability.ATOMIC_BATCH} if self._locations() else set())

    def namespaces(self) -> list[Namespace]:
        moved = self._locations()
        return [self._there(n, moved[n.name]) if n.name in moved else n for n in self._home.namespaces()]

    def configure(self, *namespaces: Namespace) -> None:
        moved = self._locations()
        for namespace in namespaces:
            if namespace.name in moved:
                self._at(moved[namespace.name]).configure(namespace)
        here = [namespace for namespace in namespaces if namespace.name not in moved]
        if here:
            try:
                self._home.configure(*here)
            except Moved:
                self.configure(*here)

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        try:
            self._home.mutate(mutations)
        except Moved:
            self._mutate_apart(mutations)

    def _mutate_apart(self, mutations: Sequence[Mutation]) -> None:
        configured = {namespace.name: namespace for namespace in self.namespaces()}
        check_mutations(mutations, configured, self._clock.now_us())
        moved = self._locations()
        parts: dict[str, list[Mutation]] = {}
        at_home: list[Mutation] = []
        for mutation in mutations:
            location = moved.get(mutation.namespace)
            (at_home if location is None else parts.setdefault(location, [])).append(mutation)
        for location, part in parts.items():
            self._at(location).mutate(part)
        if at_home:
            self.mutate(at_home)

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
        return self._follow(
            lambda store: store.get_items(
                namespace,
                records,
                selection,
                reverse=reverse,
                limit_per_record=limit_per_record,
                page=page,
                after=after,
            )
        )

    def scan_records(
        self, namespace: str, *, after: bytes | None = None, page: PageLimits | None = None
    ) -> RecordPage:
        return self._follow(lambda store: store.scan_records(namespace, after=after, page=page))

    def stats(self, namespace: str) -> NamespaceStats:
        return self._follow(lambda store: store.stats(namespace))

    def export(
        self,
        namespace: str,
        records: Sequence[bytes] | None = None,
        *,
        after: bytes | None = None,
        page: PageLimits | None = None,
    ) -> Exported:
        return self._follow(lambda store: store.export(namespace, records, after=after, page=page))

    def erase(self, namespace: str, *, limit: int = 10_000) -> int:
        return self._follow(lambda store: store.erase(namespace, limit=limit))

    def sweep(self, *, limit: int = 10_000) -> int:
        reclaimed = self._home.sweep(limit=limit)
        for store in self._all_places():
            if reclaimed < limit:
                reclaimed += store.sweep(limit=limit - reclaimed)
        return reclaimed

    def generation(self) -> int:
        """The sum over all places: it grows with every write to any."""
        generation = self._home.generation()
        return generation + sum(store.generation() or 0 for store in self._all_places(generation))

    def changes(self, namespace: str, *, after: int, limit: int = 10_000) -> Changes:
        """Asked and told in the sum over all places, as `generation` is.

        What others have grown by since `after` is taken off it, so a change may be told again; and a place
        that is new in the sum takes off all of its own, which is before every log but a whole one. So a log
        that is shorter than what others were written meanwhile is forgotten sooner than it need be.
        """

        def ask(store: KeyValueStore) -> Changes:
            others = self.generation() - (store.generation() or 0)
            found = store.changes(namespace, after=max(0, after - others), limit=limit)
            return msgspec.structs.replace(found, generation=found.generation + others)

        with self.snapshot():
            return self._follow(ask)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """One moment of each place; not the same one where something has moved."""
        with self._home.snapshot():
            places = self._all_places()
            if not places:
                yield
                return
            with ExitStack() as stack:
                for store in places:
                    stack.enter_context(store.snapshot())
                yield

    def close(self) -> None:
        with self._lock:
            places, self._places = self._places, {}
        for store in places.values():
            store.close()
        self._home.close()

    def _follow(self, ask: Callable[[KeyValueStore], T]) -> T:
        try:
            return ask(self._home)
        except Moved as moved:
            return ask(self._at(moved.location))

    def _locations(self, generation: int | None = None) -> dict[str, str]:
        """Where namespaces are that have moved; read again only after a write at home."""
        if generation is None:
            generation = self._home.generation()
        if self._known[0] != generation:
            self._known = generation, self._home.locations()
        return self._known[1]

    def _all_places(self, generation: int | None = None) -> list[KeyValueStore]:
        locations = self._locations(generation)
        return [self._at(location) for location in sorted(set(locations.values()))] if locations else []

    def _at(self, location: str) -> KeyValueStore:
        with self._lock:
            if location not in self._places:
                self._places[location] = self._open_place(location)
            return self._places[location]

    def _there(self, namespace: Namespace, location: str) -> Namespace:
        found = (there for there in self._at(location).namespaces() if there.name == namespace.name)
        return next(found, namespace)
