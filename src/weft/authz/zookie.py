"""Zookies: opaque texts that name a point in a store's history.

After Zanzibar (section 2.4): a client keeps the zookie of a write beside the content that it protects, and
sends it with later checks, which then never see older permissions.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from typing import Final, NamedTuple

from weft.core.errors import Invalid, Unavailable

_FORMAT: Final = 1
_BODY: Final = struct.Struct(">B8sQQQ")
_CHECKSUM_BYTES: Final = 9
"""Makes 42 bytes in all, which fill 56 characters: no spare bits that somebody could change unseen."""


class Zookie(str):
    """A URL-safe text; keep it, send it back, read nothing into it."""

    __slots__ = ()


class EXACT(NamedTuple):
    """Evaluate at exactly the revision that the zookie names."""

    zookie: Zookie | str


class Latest(NamedTuple):
    """Evaluate at the newest revision; see `LATEST`."""


LATEST: Final = Latest()
"""Evaluate at the newest revision, whatever the quantization window."""

Consistency = Zookie | str | EXACT | Latest | None
"""None: a recent revision, quantized to the window; a zookie: at least as fresh as it."""


class Moment(NamedTuple):
    """What a zookie names: a revision, the wall time it was written at, and the schema's revision."""

    revision: int
    wall_us: int
    schema_revision: int


class BadZookie(Invalid):
    """The text is not a zookie, or somebody changed it."""

    code = "bad_zookie"


class ForeignZookie(Invalid):
    """The zookie belongs to another store."""

    code = "foreign_zookie"


class ExpiredZookie(Invalid):
    """The zookie's revision is older than the retained history."""

    code = "expired_zookie"


class FutureZookie(Unavailable):
    """The zookie's revision is ahead of this store: it lags behind, or was restored from an old copy."""

    code = "future_zookie"


class ZookieMint:
    """Makes and reads the zookies of one store. `store_id` has 8 bytes; `key` keeps others from forging."""

    def __init__(self, store_id: bytes, key: bytes) -> None:
        self._store_id = store_id
        self._key = key

    def make(self, moment: Moment) -> Zookie:
        """The zookie that names `moment`."""
        body = _BODY.pack(_FORMAT, self._store_id, *moment)
        return Zookie(base64.urlsafe_b64encode(body + self._checksum(body)).decode())

    def read(self, zookie: str) -> Moment:
        """The moment that a zookie names; `BadZookie` or `ForeignZookie` when it names none of ours."""
        body, checksum = _split(zookie)
        version, store_id, *moment = _BODY.unpack(body)
        if version != _FORMAT:
            raise BadZookie(f"zookie has format {version}, this is format {_FORMAT}", hint=_ASK_AGAIN)
        if store_id != self._store_id:
            raise ForeignZookie("zookie belongs to another store", hint="send it to the store that made it")
        if not hmac.compare_digest(checksum, self._checksum(body)):
            raise BadZookie("zookie fails its checksum", hint=_ASK_AGAIN)
        return Moment(*moment)

    def _checksum(self, body: bytes) -> bytes:
        return hashlib.blake2b(body, key=self._key, digest_size=_CHECKSUM_BYTES).digest()


_ASK_AGAIN: Final = "send a zookie as it came from a write or a check, unchanged"


def _split(zookie: object) -> tuple[bytes, bytes]:
    shown = repr(zookie)[:80]
    if not isinstance(zookie, str):
        raise BadZookie(f"`{shown}` is not a zookie", hint=_ASK_AGAIN)
    try:
        raw = base64.b64decode(zookie + "=" * (-len(zookie) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise BadZookie(f"`{shown}` is not a zookie", hint=_ASK_AGAIN) from None
    if len(raw) != _BODY.size + _CHECKSUM_BYTES:
        raise BadZookie(f"`{shown}` is not a zookie", hint=_ASK_AGAIN)
    return raw[: _BODY.size], raw[_BODY.size :]
