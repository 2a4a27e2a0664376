"""A coding agent for real repositories: sandboxed, within permissions, verified, every step on record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.agent.agent import Agent, RunResult
    from weft.agent.policy import Answer
    from weft.agent.state import Budgets

__all__ = ["Agent", "Answer", "Budgets", "RunResult"]


def __getattr__(name: str) -> Any:
    """Load on first use, so that `weft.agent.edits` alone stays light."""
    if name in ("Agent", "RunResult"):
        from weft.agent import agent

        return getattr(agent, name)
    if name == "Answer":
        from weft.agent.policy import Answer

        return Answer
    if name == "Budgets":
        from weft.agent.state import Budgets

        return Budgets
    raise AttributeError(f"module `weft.agent` has no attribute `{name}`")
