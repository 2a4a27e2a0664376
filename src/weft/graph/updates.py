"""From what callers and jobs write to checked updates, and from those to mutations."""

from __future__ import annotations

from typing import Final, NamedTuple

from weft.core.errors import Invalid
from weft.graph import layout
from weft.graph.model import Edge, EdgeRef, Node, NodeRef, Remove, id_bytes
from weft.graph.schema import Schema
from weft.kv.model import Mutation, Token

_MAX_TIME_US: Final = 1 << 62


class Update(NamedTuple):
    """One write to one node or edge, checked and encoded. `target` is None for a node; `value` is None for a
    removal. Of two updates to the same `key`, the one with the greater `order` holds."""

    type: str
    record: bytes
    target: bytes | None
    value: bytes | None
    event_time_us: int
    nonce: bytes

    @property
    def key(self) -> tuple[str, bytes, bytes | None]:
        return self[:3]

    @property
    def order(self) -> tuple[int, bytes]:
        return self[4:]


def compile_update(
    output: Node | Edge | Remove, schema: Schema, default_time_us: int, nonce: bytes
) -> Update:
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
        return Update(output.type, id_bytes(output.source), id_bytes(output.target), value, time_us, nonce)
    if isinstance(output, Node):
        value = schema.node(output.type).encode(output.properties)
        return Update(output.type, id_bytes(output.id), None, value, time_us, nonce)
    what = output.what
    if isinstance(what, EdgeRef):
        schema.edge(what.type)
        return Update(what.type, id_bytes(what.source), id_bytes(what.target), None, time_us, nonce)
    if isinstance(what, NodeRef):
        schema.node(what.type)
        return Update(what.type, id_bytes(what.id), None, None, time_us, nonce)
    raise Invalid(f"`{what!r:.80}` cannot be removed", hint="use NodeRef(...) or EdgeRef(...)")


def mutations(update: Update, instant_us: int | None = None) -> tuple[Mutation, ...]:
    """The mutations of an update, under one token; `instant_us=None` takes the event time, so that the token
    depends on the update alone."""
    kind, record, target, value, time_us, nonce = update
    token = Token(time_us if instant_us is None else instant_us, nonce)
    if target is None:
        return (layout.node_mutation(kind, record, value, time_us, token),)
    return layout.edge_mutations(kind, record, target, value, time_us, token)
