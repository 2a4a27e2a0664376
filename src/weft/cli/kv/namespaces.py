"""`weft kv namespaces` and `stats`."""

from __future__ import annotations

import msgspec

from weft.cli.kv.options import Data, Json, NamespaceName, data_path, open_store
from weft.cli.output import emit, print_table
from weft.kv.lmdb import LmdbStore


def namespaces(data: Data = None, json: Json = False) -> None:
    """List the namespaces of a store, how they are configured, and where they are if they have moved.

    Example: weft kv namespaces
    """
    with LmdbStore.open(data_path(data), readonly=True) as store:
        locations = store.locations()
        found = store.namespaces()
    if json:
        for namespace in found:
            fields = msgspec.to_builtins(namespace) | {"location": locations.get(namespace.name)}
            emit(True, fields, "")
        return
    rows = [
        (n.name, "" if n.ttl_s is None else f"{n.ttl_s:g} s", n.compression, locations.get(n.name, ""))
        for n in found
    ]
    print_table(("namespace", "ttl", "compression", "moved to"), rows)


def stats(namespace: NamespaceName, data: Data = None, json: Json = False) -> None:
    """Count a namespace by reading all of it; stored are also expired items and tombstones.

    Example: weft kv stats edges
    """
    with open_store(data) as store:
        found = msgspec.to_builtins(store.stats(namespace))
    if json:
        emit(True, found, "")
    else:
        print_table(("what", "number"), [(name.replace("_", " "), f"{n:,}") for name, n in found.items()])
