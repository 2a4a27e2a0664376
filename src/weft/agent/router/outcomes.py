"""What a session's steps came to, read from its events."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from weft.agent.events import AnyEvent, ModelReplied, ToolFinished, Verified
from weft.agent.router.kinds import Kind, kind_of
from weft.agent.state import State


class Outcome(msgspec.Struct, frozen=True):
    """One step: which model took it, whether it worked, and what it took."""

    kind: Kind
    model: str
    ok: bool
    """The reply was whole, its calls were sound and took effect, and what it called done was. A command that
    fails is no failure of the step that ran it: that is how one learns."""
    cost_usd: float | None
    seconds: float


def outcomes(events: Iterable[AnyEvent]) -> list[Outcome]:
    """The outcomes of one session's steps, in order. What a script replied is no evidence and is left out."""
    state, found, step = State(), list[Outcome](), -1
    for event in events:
        match event:
            case ModelReplied() if not event.model.startswith("scripted:"):
                ok = event.stop in ("done", "calls")
                kind = kind_of(state.features())
                found.append(Outcome(kind, event.model, ok, event.cost_usd, event.duration_s))
                step = event.step
            case ToolFinished() | Verified() if event.step == step and _failed(event):
                found[-1] = msgspec.structs.replace(found[-1], ok=False)
        state.apply(event)
    return found


def _failed(event: ToolFinished | Verified) -> bool:
    if isinstance(event, Verified):
        return not event.ok
    return event.outcome in ("failed", "invalid") and event.command is None
