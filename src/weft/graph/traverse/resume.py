"""Pages of an answer: where one ends, as a token that the next one starts from.

A place is a key where the last step walks the edges of one node, in the order of their keys: reading goes on
behind it, whatever has been written since, however many edges there are. Elsewhere it is a count of what was
returned, with a digest of it: the walk is repeated, and must begin with the same. Tokens carry the query's
digest and are signed with a key that the graph keeps: a client can resume only where it was told to.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec
import xxhash

from weft.core.codec import encode
from weft.core.errors import Conflict, Invalid
from weft.graph.traverse.steps import Query

_SIGNATURE_BYTES: Final = 12


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended: after `count` things with the digest `seen`; or, with a key, behind it among the
    edges of the one node whose digest is `seen`."""

    question: bytes
    seen: bytes
    count: int
    key: bytes = b""


_places: Final = msgspec.msgpack.Decoder(Place)


def digest(things: Any) -> bytes:
    return xxhash.xxh3_128_digest(encode(things))


def question(query: Query, answer: str) -> bytes:
    """What a token is bound to: the query, however long it may take, and what is asked about its end."""
    return digest([answer, msgspec.structs.replace(query, within_s=None)])


def write_token(place: Place, key: bytes) -> str:
    data = encode(place)
    return base64.urlsafe_b64encode(data + _signature(data, key)).decode().rstrip("=")


def read_token(token: str, asked: bytes, key: bytes) -> Place:
    """The place that a token names; `Invalid` when it is none of this graph, or of another question."""
    try:
        data = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        data, signature = data[:-_SIGNATURE_BYTES], data[-_SIGNATURE_BYTES:]
        place = _places.decode(data) if hmac.compare_digest(signature, _signature(data, key)) else None
    except (TypeError, ValueError, binascii.Error, msgspec.MsgspecError):
        place = None
    if place is None:
        raise Invalid("`after` is not a token", hint="pass what a result's `next` was, unchanged")
    if place.question != asked:
        raise Invalid("`after` belongs to another question", hint="repeat the query that it came from")
    return place


def moved_on() -> Conflict:
    """What to raise when the answer no longer begins with what was returned."""
    return Conflict("the answer has changed since the page before", hint="start again without `after`")


def _signature(data: bytes, key: bytes) -> bytes:
    return hashlib.blake2b(data, key=key, digest_size=_SIGNATURE_BYTES).digest()
