"""The contract of `KeyValueStore`: subclass `KeyValueStoreContract`, and say how a store is made.

Capabilities are checked both ways: what a store declares must hold, and what it does not declare must fail.
"""

from weft.testing.kv.changes import ChangesContract
from weft.testing.kv.expiry import ExpiryContract
from weft.testing.kv.exporting import ExportContract
from weft.testing.kv.fixtures import Backend
from weft.testing.kv.paging import PagingContract
from weft.testing.kv.promises import PromiseContract
from weft.testing.kv.reading import ReadingContract
from weft.testing.kv.refusals import RefusalContract
from weft.testing.kv.versions import VersionContract

__all__ = ["Backend", "KeyValueStoreContract"]


class KeyValueStoreContract(
    ReadingContract,
    VersionContract,
    ExpiryContract,
    PagingContract,
    ExportContract,
    RefusalContract,
    PromiseContract,
    ChangesContract,
):
    """Every promise of a store. The subclass gives `open_backend`."""
