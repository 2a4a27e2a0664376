"""How nodes and edges lie in the two-level map.

- `node/TYPE`: record = node id; one item under the empty key holds the properties.
- `out/TYPE` and `in/TYPE`: adjacency lists; record = one end's id, one item per other end, keyed by its id.
  Both hold the properties, so that either direction needs one read per hop. They are written in one batch.

A super-node needs no shards here: an edge is an item of its own, so a write touches one key and a page
begins at any. At 1 M edges of one node, 100 of them take as long as at 20 k, and memory is that of a page.

Deleting is a tombstone in the same place, so a late event loses to it like to any newer write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import xxhash

from weft.core.errors import Corrupt
from weft.core.limits import MAX_RECORD_ID_BYTES
from weft.graph.model import Edge, Node, id_text
from weft.graph.schema import Schema
from weft.kv.model import Delete, Item, ItemWrite, Keys, Mutation, Namespace, Put, Token

META: Final = "graph/meta"
OFFSETS: Final = "graph/offsets"
DEAD_LETTERS: Final = "graph/dead"
RELATIONS: Final = "graph/relations"

_WHOLE: Final = Keys((b"",))
_properties: Final = msgspec.msgpack.Decoder(dict[str, Any])


def node_namespace(name: str) -> str:
    return f"node/{name}"


def out_namespace(name: str) -> str:
    return f"out/{name}"


def in_namespace(name: str) -> str:
    return f"in/{name}"


def stream_record(stream: str) -> bytes:
    """The record that a stream's offsets and dead letters are kept under."""
    name = stream.encode()
    if len(name) <= MAX_RECORD_ID_BYTES:
        return name
    return name[: MAX_RECORD_ID_BYTES - 32] + xxhash.xxh3_128_hexdigest(name).encode()


def own_namespaces() -> list[Namespace]:
    """The namespaces that every graph has, whatever its types."""
    return [Namespace(name=name) for name in (META, OFFSETS, DEAD_LETTERS, RELATIONS)]


def type_namespaces(schema: Schema) -> Iterator[Namespace]:
    for node in schema.nodes.values():
        yield Namespace(name=node_namespace(node.name), ttl_s=node.ttl_s)
    for edge in schema.edges.values():
        yield Namespace(name=out_namespace(edge.name), ttl_s=edge.ttl_s)
        yield Namespace(name=in_namespace(edge.name), ttl_s=edge.ttl_s)


def node_mutation(name: str, node: bytes, value: bytes | None, time_us: int, token: Token) -> Mutation:
    """Write the node, or delete it when the value is None."""
    if value is None:
        return Delete(
            namespace=node_namespace(name), record=node, selection=_WHOLE, event_time_us=time_us, token=token
        )
    return Put(
        namespace=node_namespace(name),
        record=node,
        items=(ItemWrite(b"", value),),
        event_time_us=time_us,
        token=token,
    )


def edge_mutations(
    name: str, source: bytes, target: bytes, value: bytes | None, time_us: int, token: Token
) -> tuple[Mutation, Mutation]:
    """Write the edge in both directions, or delete it when the value is None."""
    return (
        _adjacent(out_namespace(name), source, target, value, time_us, token),
        _adjacent(in_namespace(name), target, source, value, time_us, token),
    )


def _adjacent(
    namespace: str, here: bytes, there: bytes, value: bytes | None, time_us: int, token: Token
) -> Mutation:
    if value is None:
        return Delete(
            namespace=namespace, record=here, selection=Keys((there,)), event_time_us=time_us, token=token
        )
    return Put(
        namespace=namespace, record=here, items=(ItemWrite(there, value),), event_time_us=time_us, token=token
    )


def properties_of(item: Item) -> dict[str, Any]:
    try:
        return _properties.decode(item.value)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"a node's or edge's properties do not decode: {error}") from error


def node_from(name: str, node: bytes, items: Iterable[Item]) -> Node:
    """The node as its record's items tell it."""
    properties: dict[str, Any] = {}
    time_us = 0
    for item in items:
        properties.update(properties_of(item))
        time_us = max(time_us, item.version.event_time_us)
    return Node(name, id_text(node), properties, time_us)


def edge_from(name: str, source: bytes, target: bytes, item: Item) -> Edge:
    return Edge(name, id_text(source), id_text(target), properties_of(item), item.version.event_time_us)
