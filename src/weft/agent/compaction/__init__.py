"""Shorten a session's window by its structure, with or without the notes of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from weft.agent.compaction.notes import WithNotes
from weft.agent.compaction.sections import Keep
from weft.agent.compaction.window import compact

if TYPE_CHECKING:
    from weft.agent.events import AnyEvent, Compacted
    from weft.agent.state import State

__all__ = ["Keep", "WithNotes", "by_structure", "compact"]


def by_structure(state: State, events: Sequence[AnyEvent], budget_tokens: int, keep: Keep) -> Compacted:
    """The compactor that asks no model."""
    return compact(state.messages, events, state.step, budget_tokens, keep)
