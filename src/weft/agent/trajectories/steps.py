"""A session's steps for reinforcement learning: what was seen, what was done, what it was worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from weft.agent.events import AnyEvent, Compacted, ModelReplied, SessionEnded, ToolFinished, Verified
from weft.agent.models.protocol import Message
from weft.agent.state import State
from weft.agent.trajectories.chat import message


class _Step(msgspec.Struct):
    """A reply, what the model had seen since the one before, and what came of it."""

    reply: ModelReplied
    window_from: int
    seen: list[Message]
    said: Message
    outcomes: list[ToolFinished | Verified] = []


def steps(events: Sequence[AnyEvent]) -> Iterator[dict[str, Any]]:
    """One record for each reply of the model.

    `observation` is what came into the window since the reply before; `window_from` is how many messages of
    the window came earlier, 0 where it began anew. `reward` is 1 for the reply whose claim to be done was
    verified, else 0: none comes from what the model says of itself. Of the last step, `done` says that it was
    verified, and `truncated` that the session stopped for another reason.
    """
    collected = _collect(events)
    ended = next((event for event in reversed(events) if isinstance(event, SessionEnded)), None)
    for step in collected:
        verified = any(isinstance(outcome, Verified) and outcome.ok for outcome in step.outcomes)
        last = step is collected[-1]
        yield {
            "session": step.reply.session,
            "step": step.reply.step,
            "window_from": step.window_from,
            "observation": [message(each) for each in step.seen],
            "action": message(step.said),
            "reward": 1.0 if verified else 0.0,
            "done": last and verified,
            "truncated": last and not verified,
            "info": {
                "model": step.reply.model,
                "tokens": {"input": step.reply.usage.input, "output": step.reply.usage.output},
                "cost_usd": step.reply.cost_usd,
                "stop": step.reply.stop,
                "outcomes": [_outcome(outcome) for outcome in step.outcomes],
                "reason": ended.reason if last and ended else "",
            },
        }


def _collect(events: Sequence[AnyEvent]) -> list[_Step]:
    state = State()
    found: list[_Step] = []
    known = 0
    for event in events:
        window = list(state.messages) if isinstance(event, ModelReplied) else []
        state.apply(event)
        if isinstance(event, ModelReplied):
            found.append(_Step(event, known, window[known:], state.messages[len(window)]))
            known = len(window) + 1
        elif isinstance(event, (ToolFinished, Verified)) and found:
            found[-1].outcomes.append(event)
        elif isinstance(event, Compacted):
            known = 0
    return found


def _outcome(event: ToolFinished | Verified) -> dict[str, Any]:
    if isinstance(event, Verified):
        return {"verified": event.ok, "exit_code": event.exit_code}
    return {"call": event.call_id, "tool": event.tool, "outcome": event.outcome}
