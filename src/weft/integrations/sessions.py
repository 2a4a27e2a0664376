"""Sessions flow into the graph: who touched this, why, and was it allowed, as a traversal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from weft.agent.events import (
    AnyEvent,
    Decided,
    Landed,
    ModelReplied,
    SessionEnded,
    SessionStarted,
    ToolFinished,
    Undone,
    Verified,
)
from weft.agent.session import SessionStore
from weft.graph import Edge, EdgeType, Node, NodeType, job
from weft.graph.ingest.job import Output
from weft.graph.ingest.model import Event, Offset
from weft.graph.types import GraphType
from weft.integrations.repository.types import FILE, PERSON, node_id

_CALL: Final = {"action": str, "effect": str, "reason": str}

TYPES: Final[list[GraphType]] = [
    PERSON,
    FILE,
    NodeType("session", properties={"task": str, "model": str, "scripted": bool}),
    NodeType("outcome", properties={"ok": bool, "reason": str}),
    NodeType("step", properties={"number": int, "text": str}),
    NodeType("tool_call", properties={"tool": str, "outcome": str}),
    NodeType("command", properties={"text": str}),
    NodeType("host"),
    NodeType("place"),
    EdgeType("acts_for", source="session", target="person"),
    EdgeType("took", source="session", target="step"),
    EdgeType("called", source="step", target="tool_call"),
    EdgeType("asked_file", source="tool_call", target="file", properties=_CALL),
    EdgeType("asked_command", source="tool_call", target="command", properties=_CALL),
    EdgeType("asked_host", source="tool_call", target="host", properties=_CALL),
    EdgeType("asked_place", source="tool_call", target="place", properties=_CALL),
    EdgeType("touched", source="tool_call", target="file", properties={"how": str}),
    EdgeType("ran", source="tool_call", target="command", properties={"exit_code": int, "timed_out": bool}),
    EdgeType("verified", source="session", target="command", properties={"ok": bool, "step": int}),
    EdgeType("landed", source="session", target="file"),
    EdgeType("undid", source="session", target="file", properties={"to_step": int}),
    EdgeType("came_from", source="session", target="session", properties={"because": str}),
    EdgeType("ended", source="session", target="outcome"),
]

_TEXT_CHARACTERS: Final = 2_000


class SessionSource:
    """One session's log as a stream; reading it again later goes on where it was."""

    def __init__(self, store: SessionStore, session: str) -> None:
        self._store = store
        self._session = session
        self.name = f"session:{session}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        for event in self._new(after):
            yield Event(Offset(event.number + 1), event.at_us, event)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return len(self._new(after))

    def _new(self, after: Mapping[int, Offset]) -> list[AnyEvent]:
        done = after[0].position if after else 0
        return self._store.events(self._session)[done:]


@job
def sessions(event: Event) -> Iterator[Output]:
    """Sessions, their steps and tool calls, and the files, commands, hosts and places that they ask for."""
    recorded: AnyEvent = event.value
    session = recorded.session
    match recorded:
        case SessionStarted():
            facts = {"task": recorded.task, "model": recorded.model, "scripted": recorded.scripted}
            yield Node("session", session, facts)
            yield Edge("acts_for", session, node_id(recorded.user))
            if recorded.parent:
                yield Edge("came_from", session, recorded.parent, {"because": recorded.because or ""})
        case ModelReplied():
            yield from _replied(recorded)
        case Decided():
            yield from _decided(recorded)
        case ToolFinished():
            yield from _finished(recorded)
        case Verified():
            yield from _command(recorded.command)
            verdict = {"ok": recorded.ok, "step": recorded.step}
            yield Edge("verified", session, node_id(recorded.command), verdict)
        case Landed():
            for path in recorded.paths:
                yield Edge("landed", session, node_id(path))
        case Undone():
            for file in recorded.written:
                yield Edge("undid", session, node_id(file.path), {"to_step": recorded.to_step})
        case SessionEnded():
            yield Node("outcome", session, {"ok": recorded.ok, "reason": recorded.reason})
            yield Edge("ended", session, session)


def _replied(reply: ModelReplied) -> Iterator[Output]:
    step = f"{reply.session}/{reply.step}"
    yield Node("step", step, {"number": reply.step, "text": reply.text[:_TEXT_CHARACTERS]})
    yield Edge("took", reply.session, step)
    for call in reply.calls:
        yield Edge("called", step, _call(reply, call.id))


def _decided(decided: Decided) -> Iterator[Output]:
    access = decided.access
    if not decided.call_id or access.resource.kind == "workspace":
        return
    verdict = {"action": access.action, "effect": decided.effect, "reason": decided.reason}
    if access.resource.kind == "command":
        yield from _command(access.resource.name)
    yield Edge(
        f"asked_{access.resource.kind}",
        _call(decided, decided.call_id),
        node_id(access.resource.name),
        verdict,
    )


def _finished(finished: ToolFinished) -> Iterator[Output]:
    call = _call(finished, finished.call_id)
    yield Node("tool_call", call, {"tool": finished.tool, "outcome": finished.outcome})
    for use in finished.files:
        yield Edge("touched", call, node_id(use.path), {"how": use.how})
    if finished.command is not None:
        yield from _command(finished.command.command)
        facts = {"exit_code": finished.command.exit_code, "timed_out": finished.command.timed_out}
        yield Edge("ran", call, node_id(finished.command.command), facts)


def _command(text: str) -> Iterator[Output]:
    yield Node("command", node_id(text), {"text": text})


def _call(event: ModelReplied | Decided | ToolFinished, call_id: str) -> str:
    """Ids of calls are unique within a step only."""
    return f"{event.session}/{event.step}/{call_id}"
