"""Every limit in one place, each with its reason. Units are in the names."""

from __future__ import annotations

from typing import Final

from weft.core.errors import LimitExceeded

# LMDB holds keys of at most 511 bytes; the rest of the key is the namespace and the record's number.
MAX_ITEM_KEY_BYTES: Final = 480
# As long as an object id, so that any object can own a record.
MAX_RECORD_ID_BYTES: Final = 1_024
# One chunk per 1 MiB keeps pages of LMDB and cells of Cassandra small; more than this belongs in a file.
CHUNK_BYTES: Final = 1 << 20
MAX_VALUE_BYTES: Final = 256 << 20
# Values shorter than this do not pay for a zstd frame.
COMPRESS_FROM_BYTES: Final = 512
MAX_MUTATIONS_PER_BATCH: Final = 100_000

# Zanzibar's tuples name people and documents, not payloads.
MAX_OBJECT_ID_BYTES: Final = 1_024
MAX_NAME_BYTES: Final = 64
MAX_WRITES_PER_REQUEST: Final = 1_000
MAX_CHECKS_PER_REQUEST: Final = 10_000
MAX_CONTEXTUAL_TUPLES: Final = 100
MAX_DEPTH: Final = 50
# A context is stored with each tuple and hashed with each check.
MAX_CONTEXT_BYTES: Final = 32 << 10
# A schema is read by people, and compiled whole on each change.
MAX_SCHEMA_BYTES: Final = 1 << 20
# Deeper expressions than this nobody reads; bounds the recursion of parsers and evaluators.
MAX_EXPRESSION_DEPTH: Final = 32
# A condition runs inside a check: its text and the lists that it walks stay small.
MAX_CONDITION_BYTES: Final = 4 << 10
MAX_CONDITION_ITEMS: Final = 10_000

# A node id is an item key of its neighbours' adjacency records.
MAX_NODE_ID_BYTES: Final = 400

# Event times further ahead than this are refused, or a bad clock would make values that nobody can overwrite.
MAX_FUTURE_SKEW_US: Final = 60 * 1_000_000
# Tombstones older than this are dropped: no event may arrive later than this and still lose to them.
MAX_LATENESS_US: Final = 7 * 24 * 3_600 * 1_000_000


def within(what: str, size: int, limit: int, unit: str = "bytes") -> None:
    """Raise `LimitExceeded` naming `what`, its size and the limit, when the size is over it."""
    if size > limit:
        raise LimitExceeded(
            f"{what} has {size:,} {unit}, the limit is {limit:,}",
            hint="make it smaller",
            limit=limit,
            size=size,
        )
