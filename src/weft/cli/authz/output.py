"""Decisions and tuples, as commands print them."""

from __future__ import annotations

from typing import Any

from weft.authz import Decision
from weft.authz.tuples import RelationTuple, format_instant


def verdict(decision: Decision) -> str:
    """A decision in words."""
    if decision.conditional:
        return "conditional on " + ", ".join(f"`{name}`" for name in decision.missing)
    return "allowed" if decision.allowed else "denied"


def decision_fields(decision: Decision) -> dict[str, Any]:
    """A decision for machines."""
    return {
        "allowed": decision.allowed,
        "conditional": decision.conditional,
        "missing": decision.missing,
        "zookie": decision.zookie,
    }


def tuple_fields(item: RelationTuple) -> dict[str, Any]:
    """A tuple for machines: its text and its parts."""
    condition = item.condition
    return {
        "tuple": str(item),
        "object": str(item.object),
        "relation": item.relation,
        "user": str(item.user),
        "condition": condition and {"name": condition.name, "context": condition.values()},
        "expires_at": None if item.expires_at_us is None else format_instant(item.expires_at_us),
    }
