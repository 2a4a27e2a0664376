"""One table from the kind of an error to its status on each wire."""

from __future__ import annotations

from typing import Final, NamedTuple

from weft.core import errors
from weft.core.errors import WeftError


class Unauthenticated(errors.Denied):
    """The request does not say who sends it; send a key."""

    code = "unauthenticated"


class Status(NamedTuple):
    """`grpc` is the name of a `grpc.StatusCode`."""

    http: int
    grpc: str


STATUS: Final[dict[type[WeftError], Status]] = {
    errors.Invalid: Status(400, "INVALID_ARGUMENT"),
    errors.NotFound: Status(404, "NOT_FOUND"),
    errors.Conflict: Status(409, "ABORTED"),
    errors.Unavailable: Status(503, "UNAVAILABLE"),
    errors.LimitExceeded: Status(413, "RESOURCE_EXHAUSTED"),
    errors.Denied: Status(403, "PERMISSION_DENIED"),
    Unauthenticated: Status(401, "UNAUTHENTICATED"),
    errors.Corrupt: Status(500, "DATA_LOSS"),
    errors.Bug: Status(500, "INTERNAL"),
}


def status_of(error: WeftError) -> Status:
    """The status of the error's kind; subclasses share their kind's."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), Status(500, "INTERNAL"))
