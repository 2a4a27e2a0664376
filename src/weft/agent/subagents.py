"""Sub-agents: a tool by which a second agent looks around in a window of its own, and reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from weft.agent.policy import Access
from weft.agent.state import Budgets, State
from weft.agent.tools.protocol import Observation, ToolContext

EXPLORE: Final = "explore"
EXPLORER_BUDGETS: Final = Budgets(steps=15, tokens=300_000, time_s=300.0)
"""Of one question: past this, several smaller questions do better."""


class ExploreArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: Annotated[
        str,
        Meta(description="what to find out, with all it takes to understand the question", min_length=1),
    ]


class Explore:
    """Asks a sub-agent that can only read. Several questions of one reply are worked on at the same time."""

    name = EXPLORE
    description = (
        "Let a second agent look through the repository and answer a question, when that takes many steps "
        "whose details you do not need. It reads only, and sees nothing of this conversation."
    )
    read_only = True
    arguments = ExploreArguments

    def __init__(self, drive: Callable[[str, str], tuple[str, State]]) -> None:
        """`drive` runs the session for a call and a question to its end; its id, and where it stands."""
        self._drive = drive

    def accesses(self, arguments: ExploreArguments) -> Sequence[Access]:
        """None of its own: each call of the sub-agent is asked about."""
        return ()

    def run(self, arguments: ExploreArguments, context: ToolContext) -> Observation:
        child, state = self._drive(context.call, arguments.question)
        ended = state.ended
        ok = ended is not None and ended.ok
        reason = ended.reason if ended else "it was interrupted"
        text = state.last_text if ok else f"[no answer: {reason}]\n{state.last_text}".rstrip()
        return Observation(
            text,
            ok,
            child=child,
            tokens=state.tokens,
            cost_usd=None if state.unpriced else state.cost_usd,
        )


def left_of(budgets: Budgets, state: State) -> Budgets:
    """What a sub-agent may spend: its own budgets, and no more than its parent has left."""
    money = None if budgets.money_usd is None else max(0.0, budgets.money_usd - state.cost_usd)
    return msgspec.structs.replace(
        EXPLORER_BUDGETS,
        tokens=min(EXPLORER_BUDGETS.tokens, max(1, budgets.tokens - state.tokens)),
        time_s=min(EXPLORER_BUDGETS.time_s, budgets.time_s),
        money_usd=money,
    )
