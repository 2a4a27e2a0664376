"""The seam between weft and storage engines."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, Self

from weft.core.errors import Conflict
from weft.kv.model import (
    ALL,
    Changes,
    Exported,
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
    CHANGES = "a namespace may keep a log of what changed lately"


class Moved(Conflict):
    """The namespace is kept elsewhere since it was moved; `weft.kv.open` follows it."""

    def __init__(self, namespace: str, location: str) -> None:
        super().__init__(
            f"namespace `{namespace}` has moved to `{location}`",
            hint="open the store with weft.kv.open, which follows it",
            namespace=namespace,
            location=location,
        )
        self.location = location


class ChangesForgotten(Conflict):
    """The log of a namespace's changes does not reach back to where it was asked from."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            f"the changes of namespace `{namespace}` since then are forgotten",
            hint="read it all again, and follow the changes after a generation that was read before that",
            namespace=namespace,
        )


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
    - A write hides older writes for `limits.MAX_LATENESS_US` after its event time and after its token's
      instant, whichever is later, also once it is expired, or behind a later write that is forgotten first. A
      delete does so for as long after it was written, too (by the store's clock; written again, it is kept
      longer): one that is written long after its event, as in a backfill, hides late writes as well.
      Tombstones are kept for as long and then reclaimed.
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

    def export(
        self,
        namespace: str,
        records: Sequence[bytes] | None = None,
        *,
        after: bytes | None = None,
        page: PageLimits | None = None,
    ) -> Exported:
        """A page of the mutations that make an equal namespace elsewhere, or equal `records`.

        They carry versions, tombstones and expiries as they are now, so that a sweep changes nothing in them.
        They are for a namespace without a TTL of its own, and merge with what it holds. All pages are one
        state only where nobody writes meanwhile.
        """

    def erase(self, namespace: str, *, limit: int = 10_000) -> int:
        """Forget up to about `limit` items of a namespace, their versions and tombstones too; how many.

        For copies that are no longer needed: what is erased protects nothing. The configuration stays.
        """

    def sweep(self, *, limit: int = 10_000) -> int:
        """Reclaim up to about `limit` expired items and old tombstones; how many were reclaimed."""

    def snapshot(self) -> AbstractContextManager[object]:
        """Until it is left, this thread's reads see what was stored at one moment, when the store is not
        remote; what expires meanwhile may be gone. Keep it short and write nothing in it: it may hold others
        up."""

    def generation(self) -> int | None:
        """A number that grows by one with every `mutate` and `configure` of any process, and with a `sweep`
        or `erase` that took something away; None without `Capability.GENERATION`."""

    def changes(self, namespace: str, *, after: int, limit: int = 10_000) -> Changes:
        """What was changed in a namespace by writes of a generation greater than `after`.

        Told up to the generation of this moment, or to one with which about `limit` changes are told; always
        whole generations.

        It names what changed, not what to: whoever reads that as it is now ends up with the state, whatever
        was missed in between. A write that changed nothing, since it lost, is left out; so is what expires,
        which is no write. The log is `Namespace.changes_bytes` large. It begins when that is configured, for
        a new namespace at the very beginning, and in a new place when the namespace has moved there. Where
        it does not reach back to `after` this raises `ChangesForgotten`: then everything is to be read again,
        after asking for the `generation` to go on from.
        """

    def close(self) -> None:
        """Release everything; later calls raise `Invalid`. Closing twice is allowed."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc_info: object) -> None: ...
