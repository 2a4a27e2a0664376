"""What a router is told about a step, and what it answers; routers themselves live elsewhere."""

from __future__ import annotations

from typing import Protocol

import msgspec

from weft.agent.events import Mode
from weft.agent.models.protocol import Model


class StepFeatures(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is about to be asked for, as far as the events before it tell."""

    session: str
    step: int
    mode: Mode
    task_chars: int
    window_tokens: int
    """About how long the prompt is, without the tools."""
    files_touched: int
    failures: int
    """Failed calls and verifications since the last success of any."""
    failed_verifications: int
    """In the whole session."""
    tools_only: bool
    """Whether the last reply was nothing but tool calls."""
    cost_usd: float
    last_model: str
    """Empty before the first reply."""


class Choice(msgspec.Struct, frozen=True):
    """The model for a step, and why."""

    model: Model
    reason: str


class Router(Protocol):
    """Chooses a model for each step.

    Promises: the same features and the same table give the same choice; choosing takes well under a
    millisecond and asks no model.
    """

    def choose(self, features: StepFeatures) -> Choice:
        """The model to ask for this step."""
