"""What this host can promise, and how to make it promise more; for `weft doctor`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping

import msgspec

from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.provider import Promise
from weft.core.errors import WeftError

_HOW_TO_BOUND_ALL = (
    "let this process make control groups: run as root, or under systemd with Delegate=yes and a sub-group"
)


class Finding(msgspec.Struct, frozen=True):
    """One promise, whether this host holds it for this user, and what to do where it does not."""

    promise: Promise
    available: bool
    how_to_improve: str


def host_report(*, environ: Mapping[str, str] | None = None) -> list[Finding]:
    """Every promise, found by opening a sandbox around an empty folder rather than by reading versions."""
    with tempfile.TemporaryDirectory(prefix="weft-doctor-") as workspace:
        try:
            with Namespaces(environ=environ).open(workspace) as box:
                held, reason = box.promises, _HOW_TO_BOUND_ALL
        except WeftError as error:
            held, reason = frozenset(), str(error)
    return [Finding(promise, promise in held, "" if promise in held else reason) for promise in Promise]
