"""Cursors: opaque texts that resume a list at the revision of its first page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any, Final

import msgspec

from weft.core.codec import encode
from weft.core.errors import Invalid

_CHECKSUM_BYTES: Final = 8
_HINT: Final = "send the cursor of the page before, with the same arguments"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where a list goes on: at a revision, after an item of a question."""

    revision: int
    after: bytes
    question: bytes
    """A digest of the arguments, so that a cursor cannot be used for another list."""


def digest_of(*arguments: Any) -> bytes:
    """The digest of a question's arguments."""
    return hashlib.blake2b(encode(arguments), digest_size=8).digest()


def seal(place: Place, secret: bytes) -> str:
    """The cursor of a place."""
    body = encode(place)
    return base64.urlsafe_b64encode(_checksum(body, secret) + body).decode().rstrip("=")


def unseal(cursor: str, question: bytes, secret: bytes) -> Place:
    """The place of a cursor; `Invalid` when it was changed, or belongs to another question or store."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise Invalid(f"`{str(cursor)[:40]}` is not a cursor", hint=_HINT) from None
    checksum, body = raw[:_CHECKSUM_BYTES], raw[_CHECKSUM_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(body, secret)):
        raise Invalid(f"`{cursor[:40]}` is not a cursor of this store", hint=_HINT)
    place = msgspec.msgpack.decode(body, type=Place)
    if place.question != question:
        raise Invalid("the cursor belongs to another question", hint=_HINT)
    return place


def _checksum(body: bytes, secret: bytes) -> bytes:
    return hashlib.blake2b(body, key=secret, digest_size=_CHECKSUM_BYTES).digest()
