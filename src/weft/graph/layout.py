"""How nodes and edges lie in the two-level map.

- `node/TYPE`: record = node id; one item per property group, under the group's name (the first has none).
- `out/TYPE` and `in/TYPE`: adjacency lists; record = one end's id, one item per other end, keyed by its id.
  Both hold the properties, so that either direction needs one read per hop, unless the type is split:
- `edge/TYPE`: the properties of a split type; record = both ends. The items of its lists are empty.
- `newest/out/TYPE` and `newest/in/TYPE`: adjacency in the order of time, where the type asks for it; the key
  is the event time, falling, and the other end's id. Every write adds an item, a removal as well: the first
  item of an other end is what holds, later ones are stale and left to a sweep. So nothing has to be read to
  write, and of two writers neither needs to know of the other.

All that one edge has is written in one batch, under one token.

A super-node needs no shards here: an edge is an item of its own, so a write touches one key and a page
begins at any. At 1 M edges of one node, 100 of them take as long as at 20 k, and memory is that of a page.

Deleting is a tombstone in the same place, so a late event loses to it like to any newer write.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
import xxhash

from weft.core import codec
from weft.core.errors import Corrupt
from weft.core.limits import CHANGES_BYTES, MAX_RECORD_ID_BYTES
from weft.graph.model import Edge, Node, id_text
from weft.graph.schema import Schema
from weft.graph.types import EdgeType
from weft.kv.model import Delete, Item, ItemWrite, Keys, Mutation, Namespace, Put, Token

META: Final = "graph/meta"
OFFSETS: Final = "graph/offsets"
DEAD_LETTERS: Final = "graph/dead"
RELATIONS: Final = "graph/relations"

REMOVED: Final = b"\xff"
"""How an item of a list in the order of time begins that tells of a removal; a sweep puts an instant behind
it. It is no map, and greater than any: it replaces a value that has the same version."""

NO_PROPERTIES: Final = b"\x80"

_LENGTH: Final = struct.Struct(">H")
_TIME: Final = struct.Struct(">Q")
_LAST_US: Final = (1 << 64) - 1
_properties: Final = msgspec.msgpack.Decoder(dict[str, Any])


def node_namespace(name: str) -> str:
    return f"node/{name}"


def out_namespace(name: str) -> str:
    return f"out/{name}"


def in_namespace(name: str) -> str:
    return f"in/{name}"


def pair_namespace(name: str) -> str:
    return f"edge/{name}"


def newest_namespace(adjacency: str) -> str:
    """That of the same lists in the order of time."""
    return f"newest/{adjacency}"


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
        yield Namespace(name=node_namespace(node.name), ttl_s=node.ttl_s, changes_bytes=CHANGES_BYTES)
    for edge in schema.edges.values():
        for name in edge_namespaces(edge):
            # An edge changes once: its adjacency the other way need not be followed, too.
            followed = name == out_namespace(edge.name)
            yield Namespace(name=name, ttl_s=edge.ttl_s, changes_bytes=CHANGES_BYTES * followed)


def edge_namespaces(kind: EdgeType) -> list[str]:
    """All that edges of the type are written to."""
    lists = [out_namespace(kind.name), in_namespace(kind.name)]
    names = lists + [newest_namespace(name) for name in lists if kind.newest]
    return names + [pair_namespace(kind.name)] * kind.split


def node_mutation(
    name: str, node: bytes, group: str, value: bytes | None, time_us: int, token: Token
) -> Mutation:
    """Write a property group of the node, or delete it when the value is None."""
    key = group.encode() if group else b""
    return _item(node_namespace(name), node, key, value, time_us, token)


def edge_mutations(
    name: str, source: bytes, target: bytes, value: bytes | None, time_us: int, token: Token
) -> tuple[Mutation, Mutation]:
    """Write the edge in both directions, or delete it when the value is None."""
    return (
        _item(out_namespace(name), source, target, value, time_us, token),
        _item(in_namespace(name), target, source, value, time_us, token),
    )


def forget_mutation(namespace: str, record: bytes, item: Item) -> Mutation:
    """Delete an item as it was read, and nothing that was written after it."""
    time_us, token = item.version
    return _item(namespace, record, item.key, None, time_us, token)


def seen_removal_mutation(namespace: str, record: bytes, item: Item, now_us: int) -> Mutation:
    """Note in a removal when it was first seen to be old."""
    time_us, token = item.version
    return _item(namespace, record, item.key, REMOVED + codec.pack_u64(now_us), time_us, token)


def removal_seen_us(item: Item) -> int | None:
    """The instant that `seen_removal_mutation` noted, if it has."""
    return codec.unpack_u64(item.value[1:]) if len(item.value) > 1 else None


def laid_out_edge_mutations(
    kind: EdgeType, source: bytes, target: bytes, value: bytes | None, time_us: int, token: Token
) -> tuple[Mutation, ...]:
    """As `edge_mutations`, for a type that is split or in the order of time."""
    name = kind.name
    link = b"" if kind.split and value is not None else value
    found: tuple[Mutation, ...] = edge_mutations(name, source, target, link, time_us, token)
    if kind.split:
        pair = pair_record(source, target)
        found += (_item(pair_namespace(name), pair, b"", value, time_us, token),)
    if kind.newest:
        told = REMOVED if link is None else link
        found += (
            _item(
                newest_namespace(out_namespace(name)),
                source,
                newest_key(time_us, target),
                told,
                time_us,
                token,
            ),
            _item(
                newest_namespace(in_namespace(name)),
                target,
                newest_key(time_us, source),
                told,
                time_us,
                token,
            ),
        )
    return found


def _item(
    namespace: str, record: bytes, key: bytes, value: bytes | None, time_us: int, token: Token
) -> Mutation:
    if value is None:
        return Delete(
            namespace=namespace, record=record, selection=Keys((key,)), event_time_us=time_us, token=token
        )
    return Put(
        namespace=namespace, record=record, items=(ItemWrite(key, value),), event_time_us=time_us, token=token
    )


def pair_record(source: bytes, target: bytes) -> bytes:
    """The record of a split edge's properties."""
    return _LENGTH.pack(len(source)) + source + target


def pair_ends(record: bytes) -> tuple[bytes, bytes]:
    """The inverse of `pair_record`."""
    at = _LENGTH.size + _LENGTH.unpack_from(record)[0]
    return record[_LENGTH.size : at], record[at:]


def newest_key(time_us: int, there: bytes) -> bytes:
    """Keys sort the latest first, and equal times by the other end."""
    return _TIME.pack(_LAST_US - time_us) + there


def newest_end(key: bytes) -> bytes:
    """The other end in a key of `newest_key`."""
    return key[_TIME.size :]


def properties_of(item: Item) -> dict[str, Any]:
    try:
        return _properties.decode(item.value)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"the properties do not decode: {error}") from error


def node_from(name: str, node: bytes, items: Iterable[Item]) -> Node:
    """The node as its record's items tell it."""
    properties: dict[str, Any] = {}
    time_us = 0
    try:
        for item in items:
            properties.update(properties_of(item))
            time_us = max(time_us, item.version.event_time_us)
    except Corrupt as error:
        raise _damaged(f"node `{name}:{id_text(node)}`", error) from error
    return Node(name, id_text(node), properties, time_us)


def edge_from(name: str, source: bytes, target: bytes, item: Item) -> Edge:
    try:
        properties = properties_of(item)
    except Corrupt as error:
        raise _damaged(f"edge `{id_text(source)} -{name}-> {id_text(target)}`", error) from error
    return Edge(name, id_text(source), id_text(target), properties, item.version.event_time_us)


def _damaged(what: str, error: Corrupt) -> Corrupt:
    return Corrupt(f"{what}: {error.message}", hint="write it again, or remove it")
