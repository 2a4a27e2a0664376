"""The sessions of a store at a glance, newest first."""

from __future__ import annotations

from typing import Literal

import msgspec

from weft.agent.events import Mode, SessionEnded
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.core.errors import Corrupt, NotFound


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One session in a line."""

    id: str
    task: str
    mode: Mode
    user: str
    workspace: str
    model: str
    scripted: bool
    status: Literal["running", "open", "ok", "failed"]
    """Open: stopped before its end; it can be resumed."""
    reason: str
    started_us: int
    last_us: int
    steps: int
    tokens: int
    cost_usd: float | None
    """None where a price was not known."""
    files: tuple[str, ...]
    """That differ from the workspace."""
    landed: bool
    parent: str | None
    because: Literal["explore", "fork", "replay"] | None


def summaries(
    store: SessionStore, *, limit: int = 50, before: str | None = None, sub_agents: bool = False
) -> list[Summary]:
    """The newest sessions; `before` is the id of the last one of the page before."""
    ids = [
        session
        for session in reversed(store.sessions())
        if (before is None or session < before) and (sub_agents or "." not in session)
    ]
    return [summary(store, session) for session in ids[:limit]]


def summary(store: SessionStore, session: str) -> Summary:
    """One session; `NotFound` if there is none."""
    events = store.events(session)
    if not events:
        raise NotFound(f"there is no session `{session}`", hint="list the sessions to see their ids")
    state = State(events)
    started = state.started
    if started is None:
        raise Corrupt(f"the session `{session}` has no start", hint="start the task anew")
    return Summary(
        id=session,
        task=started.task,
        mode=started.mode,
        user=started.user,
        workspace=started.workspace,
        model=started.model,
        scripted=started.scripted,
        status="running" if store.claims.holder(session) else _status(state.ended),
        reason=state.ended.reason if state.ended else "",
        started_us=events[0].at_us,
        last_us=events[-1].at_us,
        steps=state.step,
        tokens=state.tokens,
        cost_usd=None if state.unpriced else state.cost_usd,
        files=tuple(file.path for file in state.saved),
        landed=state.landed,
        parent=started.parent,
        because=started.because,
    )


def _status(ended: SessionEnded | None) -> Literal["open", "ok", "failed"]:
    if ended is None:
        return "open"
    return "ok" if ended.ok else "failed"
