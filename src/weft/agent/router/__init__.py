"""Auto: chooses a model for each step by rules and by what steps of its kind came to before."""

from weft.agent.router.auto import AutoRouter, Candidate
from weft.agent.router.outcomes import Outcome, outcomes
from weft.agent.router.table import Table

__all__ = ["AutoRouter", "Candidate", "Outcome", "Table", "outcomes"]
