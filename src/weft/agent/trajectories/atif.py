"""Sessions in the Agent Trajectory Interchange Format, version 1.7 (Harbor, RFC 0001)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import msgspec

from weft.agent.events import (
    AnyEvent,
    Compacted,
    LoopFound,
    ModelReplied,
    PersonSaid,
    RulesRead,
    SessionStarted,
    ToolFinished,
    Undone,
    Verified,
)
from weft.agent.models.protocol import ToolCall, ToolSpec
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.agent.trajectories.chat import tool
from weft.core.errors import NotFound

ATIF: Final = "ATIF-v1.7"


def atif(store: SessionStore, session: str, tools: Sequence[ToolSpec] = ()) -> dict[str, Any]:
    """A session as one trajectory, with those of its sub-agents embedded in it."""
    events = store.events(session)
    started = next((event for event in events if isinstance(event, SessionStarted)), None)
    if started is None:
        raise NotFound(f"there is no session `{session}`", hint="list the sessions to see their ids")
    results = _results(events)
    steps = [step for event in events for step in _steps(event, results)]
    children = [event.child for event in events if isinstance(event, ToolFinished) and event.child]
    agent: dict[str, Any] = {"name": "weft", "version": version("weft"), "model_name": started.model}
    trajectory: dict[str, Any] = {
        "schema_version": ATIF,
        "session_id": session,
        "trajectory_id": session,
        "agent": agent | ({"tool_definitions": [tool(spec) for spec in tools]} if tools else {}),
        "steps": [{"step_id": number, **step} for number, step in enumerate(steps, 1)],
        "final_metrics": _final_metrics(events, len(steps)),
        "extra": _outcome(events, started),
    }
    if children:
        trajectory["subagent_trajectories"] = [atif(store, child) for child in children]
    return trajectory


Results = dict[tuple[int, str], ToolFinished]


def _results(events: Sequence[AnyEvent]) -> Results:
    return {(event.step, event.call_id): event for event in events if isinstance(event, ToolFinished)}


def _steps(event: AnyEvent, results: Results) -> list[dict[str, Any]]:
    """What an event adds; tool results belong to the step that asked for them."""
    at = {"timestamp": datetime.fromtimestamp(event.at_us / 1e6, UTC).isoformat().replace("+00:00", "Z")}
    match event:
        case SessionStarted():
            task, *_ = [message.content for message in State([event]).messages if message.role == "user"]
            return [
                at | {"source": "system", "message": event.instructions},
                at | {"source": "user", "message": task},
            ]
        case PersonSaid():
            return [at | {"source": "user", "message": event.text}]
        case ModelReplied():
            return [at | _reply(event, results)]
        case Verified():
            told = f"`{event.command}` ended with exit code {event.exit_code}.\n{event.output}"
            extra = {"verified": event.ok, "exit_code": event.exit_code}
            return [at | {"source": "system", "message": told, "extra": extra}]
        case LoopFound() | Undone() | RulesRead():
            state = State()
            state.apply(event)
            return [at | {"source": "system", "message": state.messages[-1].content}]
        case Compacted():
            texts = "\n\n".join(message.content for message in event.messages)
            change = {"context_management": {"type": "compaction", "boundary": "replace"}}
            return [at | {"source": "system", "message": texts, "extra": change}]
    return []


def _reply(event: ModelReplied, results: Results) -> dict[str, Any]:
    usage = event.usage
    metrics: dict[str, Any] = {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "cached_tokens": usage.cached,
    }
    if event.cost_usd is not None:
        metrics["cost_usd"] = event.cost_usd
    step: dict[str, Any] = {
        "source": "agent",
        "model_name": event.model,
        "message": event.text,
        "metrics": metrics,
        "llm_call_count": 1,
        "extra": {"stop": event.stop, "duration_s": event.duration_s}
        | ({"routed_because": event.reason} if event.reason else {}),
    }
    if event.reasoning:
        step["reasoning_content"] = event.reasoning
    if event.calls:
        step["tool_calls"] = [_call(call) for call in event.calls]
        found = [results[key] for call in event.calls if (key := (event.step, call.id)) in results]
        if found:
            step["observation"] = {"results": [_result(finished) for finished in found]}
    return step


def _call(call: ToolCall) -> dict[str, Any]:
    plain = {"tool_call_id": call.id, "function_name": call.name}
    try:
        return plain | {"arguments": msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])}
    except msgspec.MsgspecError:
        return plain | {"arguments": {}, "extra": {"arguments_as_written": call.arguments}}


def _result(finished: ToolFinished) -> dict[str, Any]:
    result: dict[str, Any] = {
        "source_call_id": finished.call_id,
        "content": finished.output,
        "extra": {"outcome": finished.outcome, "duration_s": finished.duration_s},
    }
    if finished.child:
        result["subagent_trajectory_ref"] = [{"trajectory_id": finished.child, "session_id": finished.child}]
    return result


def _final_metrics(events: Sequence[AnyEvent], steps: int) -> dict[str, Any]:
    replies = [event for event in events if isinstance(event, ModelReplied)]
    costs = [reply.cost_usd for reply in replies]
    metrics: dict[str, Any] = {
        "total_prompt_tokens": sum(reply.usage.input for reply in replies),
        "total_completion_tokens": sum(reply.usage.output for reply in replies),
        "total_cached_tokens": sum(reply.usage.cached for reply in replies),
        "total_steps": steps,
    }
    known = [cost for cost in costs if cost is not None]
    return metrics | ({"total_cost_usd": sum(known)} if len(known) == len(costs) else {})


def _outcome(events: Sequence[AnyEvent], started: SessionStarted) -> dict[str, Any]:
    ended = State(events).ended
    outcome: dict[str, Any] = {"mode": started.mode, "scripted": started.scripted, "ended": ended is not None}
    if ended:
        outcome |= {"ok": ended.ok, "reason": ended.reason}
    if started.parent:
        outcome |= {"parent": started.parent, "because": started.because}
    return outcome
