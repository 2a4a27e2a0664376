"""What a fleet is told when it first begins, and the names by which its actors find each other."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Literal

import msgspec

from weft.agent.sandbox.fleet.policy import Policy
from weft.agent.sandbox.fleet.pool import BOX_BYTES
from weft.agent.sandbox.provider import DEFAULT_LIMITS, Limits
from weft.core.extras import require

NAMESPACE = "weft"
COORDINATOR = "weft-coordinator"
RESOURCE = "weft_sandbox_mib"
"""The Ray resource that makes a machine a member: MiB for all its sandboxes. One actor holds all of it."""


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Holds from the first `Fleet.connect` to `Fleet.stop`; who connects later finds what is there."""

    policy: Policy = Policy()
    limits: Limits = DEFAULT_LIMITS
    provider: Literal["namespaces", "unconfined"] = "namespaces"
    box_bytes: int = BOX_BYTES
    """Set aside for a sandbox where the request says nothing else."""
    starts_at_once: int = 2
    """Of each machine; about its cores."""
    lease_s: float = 30.0
    """A lease whose client has said nothing for so long is over, and its sandbox is closed."""
    watch_s: float = 1.0
    """How soon a machine that joins is noticed; one that is lost is noticed when Ray does."""
    copies: int = 2
    """Machines that are given a snapshot when it is uploaded; others fetch it when they need it."""
    cache_bytes: int = 20 << 30
    """Of snapshots on each machine's disk, packed; those that stand longest unused go first."""
    state: str | None = None
    """The folder for snapshots and sandboxes on each machine, on a real disk; the system's temporary one."""


def require_ray() -> ModuleType:
    """Ray, which tells nobody that it is used, or `MissingExtra`."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return require("ray", "ray")
