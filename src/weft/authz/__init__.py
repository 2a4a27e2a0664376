"""Zanzibar-class authorization: who may do what, answered at a known point in time."""

from weft.authz.aio import AsyncAuthz
from weft.authz.authz import Authz
from weft.authz.results import Check, Decision
from weft.authz.zookie import EXACT, LATEST, Zookie

__all__ = ["EXACT", "LATEST", "AsyncAuthz", "Authz", "Check", "Decision", "Zookie"]
