"""What this host can promise, and how to make it promise more; for `weft sandbox doctor`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Final

import msgspec

from weft.agent.sandbox.layers import HOW_TO_BOUND_ALL
from weft.agent.sandbox.namespaces import Namespaces
from weft.agent.sandbox.provider import REQUIRED, Promise, SandboxProvider
from weft.core.errors import WeftError

# Who bounds all memory by other means than a control group that this process makes.
_OWN_BOUNDS: Final = {
    "container": "give the engine the memory controller: boot with cgroup v2, or with cgroup_enable=memory",
    "kubernetes": "have the nodes' container runtime use the memory controller",
}


class Finding(msgspec.Struct, frozen=True):
    """One promise, whether this host holds it for this user, and what to do where it does not."""

    promise: Promise
    available: bool
    how_to_improve: str


def host_report(
    provider: SandboxProvider | None = None, *, environ: Mapping[str, str] | None = None
) -> list[Finding]:
    """Every promise, found by opening a sandbox around an empty folder rather than by reading versions.

    It is a sandbox of the provider, or, by Linux namespaces with the variables of `environ`.
    """
    provider = provider or Namespaces(environ=environ)
    with tempfile.TemporaryDirectory(prefix="weft-doctor-") as workspace:
        try:
            with provider.open(workspace) as box:
                held, reason = box.promises, ""
        except WeftError as error:
            held, reason = frozenset(), str(error)
    return [
        Finding(promise, promise in held, "" if promise in held else reason or _remedy(promise, provider))
        for promise in Promise
    ]


def _remedy(promise: Promise, provider: SandboxProvider) -> str:
    """What to do where the provider works and does not hold a promise."""
    if promise is Promise.TOTAL_MEMORY and provider.name in _OWN_BOUNDS:
        return _OWN_BOUNDS[provider.name]
    if promise is Promise.TOTAL_MEMORY and provider.promises >= REQUIRED:
        return HOW_TO_BOUND_ALL
    if promise is Promise.LANDLOCK and Promise.FILES in provider.promises:
        return "its nodes have no Landlock: boot them with Linux 5.13 or newer and lsm= naming landlock"
    return f"`{provider.name}` never promises it: use `{Namespaces.name}`"
