"""The seam between weft and storage engines."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

from weft.kv.model import (
    ALL,
    ItemWrite,
    Mutation,
    Namespace,
    NamespaceStats,
    Page,
    PageLimits,
    RecordPage,
    Selection,
)


class Capability(enum.Enum):
    """What a backend may lack. The contract suite checks each declaration both ways."""

    DURABLE = "what a mutate acknowledged is there after kill -9"
    ATOMIC_BATCH = "a mutate is all or nothing, over records and namespaces"
    SHARED = "other processes may open the same store at the same time"
    TOKEN_TIE_BREAK = "equal event times are settled by the token, not by the value"
    GENERATION = "the store tells whether anything was written since, by any process"


class KeyValueStore(Protocol):
    """Namespaces of records of sorted items.

    Vocabulary. A *namespace* is configured once and named in every call. A *record* is a set of *items* under
    one id. A *version* (event time, then token) decides which write to an item wins, whatever the order in
    which writes arrive. An item is *expired* from the instant `expires_at_us` on, and *dead* when expired or
    deleted; no call ever returns a dead item, counts it, or pages by it.

    Promises.

    - Identity is byte-exact: case, blanks, NUL, non-UTF-8 and the empty item key are all keys like any other
      (a record id has at least one byte).
    - Items come back in bytewise order of their keys, or in its reverse.
    - Reads of one call are from one snapshot when the store is not remote.
    - `mutate` returns once the batch is as durable as the backend can make it; applying a batch twice, or two
      batches in either order, ends in the same state.
    - A call with bad input changes nothing: `Invalid`, `LimitExceeded` or `NotFound` (unknown namespace) is
      raised before anything is written. An event time beyond now + `limits.MAX_FUTURE_SKEW_US` is `Invalid`.
    - Tombstones are kept for `limits.MAX_LATENESS_US` after their event time and after their token's instant,
      whichever is later, also behind a later write, and then reclaimed: a delete that is written long after
      its event hides late writes as well. An expired item still wins over older writes as a tombstone for as
      long, so reclaiming it early undoes nothing.
    - A record's expiry (`Put.record_ttl_s`) is versioned as an item is, and ends what was put before it:
      items with an event time from that instant on start afresh. It can be moved until
      `limits.MAX_LATENESS_US` after it and after its token's instant; then it is final.
    - A namespace's TTL applies to what is written while it is configured.

    Methods are synchronous and may be called from any thread.
    """

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What this backend can promise."""

    def namespaces(self) -> list[Namespace]:
        """The configured namespaces, by name."""

    def configure(self, *namespaces: Namespace) -> None:
        """Create namespaces or replace their configuration, all or none; their items stay."""

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        """Apply puts and deletes, over any records and namespaces, as one batch."""

    def put_items(
        self,
        namespace: str,
        record: bytes,
        items: Sequence[ItemWrite] | Mapping[bytes, bytes],
        *,
        event_time_us: int | None = None,
        record_ttl_s: float | None = None,
    ) -> None:
        """`mutate` with one put under a new token; the event time is now unless given."""

    def delete(
        self, namespace: str, record: bytes, selection: Selection = ALL, *, event_time_us: int | None = None
    ) -> None:
        """`mutate` with one delete under a new token; the event time is now unless given."""

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
        """The selected live items of many records in one round trip, in the order of `records`.

        Records with no such item are left out. `limit_per_record` bounds the items of each record over all
        pages. `after` is the `next` of the page before, asked with the same arguments; others are `Invalid`.
        """

    def scan_records(
        self, namespace: str, *, after: bytes | None = None, page: PageLimits | None = None
    ) -> RecordPage:
        """Ids of the records that hold a live item, each exactly once over all pages."""

    def stats(self, namespace: str) -> NamespaceStats:
        """Counts over the whole namespace; reads all of it."""

    def sweep(self, *, limit: int = 10_000) -> int:
        """Reclaim up to about `limit` expired items and old tombstones; how many were reclaimed."""

    def generation(self) -> int | None:
        """A number that grows by one with every `mutate` and `configure` of any process, and with a `sweep`
        that reclaimed something; None without `Capability.GENERATION`."""

    def close(self) -> None:
        """Release everything; later calls raise `Invalid`. Closing twice is allowed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...
