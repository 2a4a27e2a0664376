"""From what callers and jobs write to checked updates, and from those to mutations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from weft.core.errors import Invalid
from weft.graph import layout
from weft.graph.model import Edge, EdgeRef, Node, NodeRef, PartialNode, Remove, id_bytes
from weft.graph.schema import Schema
from weft.graph.types import NodeType
from weft.kv.model import Mutation, Token

_MAX_TIME_US: Final = 1 << 62


Key = tuple[str, bytes, bytes | None] | tuple[str, bytes, bytes | None, str]


class Update(msgspec.Struct, frozen=True, gc=False):
    """One write to one edge, or to one property group of a node, checked and encoded. `target` is None for a
    node; `value` is None for a removal. Of two updates to the same `key`, the one with the greater `order`
    holds."""

    type: str
    record: bytes
    target: bytes | None
    value: bytes | None
    event_time_us: int
    nonce: bytes
    group: str = ""

    @property
    def key(self) -> Key:
        key = self.type, self.record, self.target
        return (*key, self.group) if self.group else key

    @property
    def order(self) -> tuple[int, bytes]:
        return self.event_time_us, self.nonce


def compile_updates(
    output: Node | Edge | Remove, schema: Schema, default_time_us: int, nonce: bytes
) -> Sequence[Update]:
    """Check one output against the schema; `Invalid` or `LimitExceeded` when it does not fit."""
    time_us = output.event_time_us
    if time_us is None:
        time_us = default_time_us
    elif type(time_us) is not int or not 0 <= time_us < _MAX_TIME_US:
        raise Invalid(
            f"the event time `{time_us!r}` is not in microseconds since 1970", hint="use a whole number"
        )
    if isinstance(output, Edge):
        value = schema.edge(output.type).encode(output.properties)
        return (Update(output.type, id_bytes(output.source), id_bytes(output.target), value, time_us, nonce),)
    if isinstance(output, Node):
        kind = schema.node(output.type)
        if kind.groups or type(output) is not Node:
            return _grouped(output, kind, time_us, nonce)
        value = kind.encode(output.properties)
        return (Update(output.type, id_bytes(output.id), None, value, time_us, nonce),)
    what = output.what
    if isinstance(what, EdgeRef):
        schema.edge(what.type)
        return (Update(what.type, id_bytes(what.source), id_bytes(what.target), None, time_us, nonce),)
    if isinstance(what, NodeRef):
        groups = ("", *schema.node(what.type).groups)
        node = id_bytes(what.id)
        return [Update(what.type, node, None, None, time_us, nonce, group) for group in groups]
    raise Invalid(f"`{what!r:.80}` cannot be removed", hint="use NodeRef(...) or EdgeRef(...)")


def _grouped(node: Node, kind: NodeType, time_us: int, nonce: bytes) -> list[Update]:
    if not kind.groups:
        raise Invalid(
            f"{kind.label} has one property group, which a partial node would replace whole",
            hint="declare `groups`, or write Node(...)",
        )
    groups = kind.encode_groups(node.properties, partial=isinstance(node, PartialNode))
    record = id_bytes(node.id)
    return [Update(node.type, record, None, value, time_us, nonce, group) for group, value in groups.items()]


def mutations(update: Update, schema: Schema, instant_us: int | None = None) -> tuple[Mutation, ...]:
    """The mutations of an update, under one token; `instant_us=None` takes the event time, so that the token
    depends on the update alone, and a repetition changes nothing. (A removal hides late events for as long
    after it was written all the same: the store sees to that, whatever the token says.)"""
    name, record, target, value, time_us = (
        update.type,
        update.record,
        update.target,
        update.value,
        update.event_time_us,
    )
    token = Token(time_us if instant_us is None else instant_us, update.nonce)
    if target is None:
        return (layout.node_mutation(name, record, update.group, value, time_us, token),)
    kind = schema.edges[name]
    if kind.plain:
        return layout.edge_mutations(name, record, target, value, time_us, token)
    return layout.laid_out_edge_mutations(kind, record, target, value, time_us, token)
