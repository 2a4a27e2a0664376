"""What every store has beyond its own engine: conveniences over `mutate`, and the `with` statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from weft.core.clock import Clock
from weft.kv.model import ALL, Delete, ItemWrite, Mutation, Put, Selection, TokenSource


class StoreBase:
    """Base of stores and wrappers; they implement `mutate` and `close`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens = TokenSource(clock)

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def put_items(
        self,
        namespace: str,
        record: bytes,
        items: Sequence[ItemWrite] | Mapping[bytes, bytes],
        *,
        event_time_us: int | None = None,
        record_ttl_s: float | None = None,
    ) -> None:
        if isinstance(items, Mapping):
            items = [ItemWrite(key, value) for key, value in items.items()]
        put = Put(
            namespace=namespace,
            record=record,
            items=items,
            event_time_us=self._clock.now_us() if event_time_us is None else event_time_us,
            token=self._tokens.new(),
            record_ttl_s=record_ttl_s,
        )
        self.mutate([put])

    def delete(
        self, namespace: str, record: bytes, selection: Selection = ALL, *, event_time_us: int | None = None
    ) -> None:
        delete = Delete(
            namespace=namespace,
            record=record,
            selection=selection,
            event_time_us=self._clock.now_us() if event_time_us is None else event_time_us,
            token=self._tokens.new(),
        )
        self.mutate([delete])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
