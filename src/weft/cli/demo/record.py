"""Act 4: the graph is asked what the agent just did."""

from __future__ import annotations

import msgspec

from weft.agent import RunResult
from weft.cli.demo.screen import Screen
from weft.cli.demo.stores import Stores
from weft.cli.demo.task import FOLDER
from weft.graph import Graph
from weft.integrations.sessions import SessionSource, sessions


class Act(msgspec.Struct, frozen=True):
    """What the session's log became, and what a traversal counts of it."""

    events: int
    tool_calls: int
    denied: int


def play(screen: Screen, stores: Stores, result: RunResult) -> Act:
    """The session's log is one more stream; then who, why and whether it was allowed are traversals."""
    graph = stores.graph
    report = graph.ingest(sessions, SessionSource(stores.sessions, result.session))
    changed = f"{FOLDER}/busiest.py"
    touches = graph.start("file", changed).in_("touched", where={"how": "written"})
    steps, tasks = touches.in_("called"), touches.in_("called").in_("took")
    rows = [
        *((f"who changed {changed}?", _names(graph, session.id)) for session in tasks.nodes()[-1:]),
        *(("in which task?", session.properties["task"]) for session in tasks.nodes()[-1:]),
        *(
            ("at which step, and why?", f"{step.properties['number']}: {step.properties['text']}")
            for step in steps.nodes()[-1:]
        ),
    ]
    screen.table("one file, walked back to its reason", ("question", "answer"), rows)
    calls = graph.start("session", result.session).out("took").out("called")
    denied = calls.out("asked_file", where={"effect": "deny"})
    screen.table(
        "what was asked for and denied",
        ("file", "because"),
        [(edge.target, edge.properties["reason"]) for edge in denied.edges()],
    )
    return Act(report.events, calls.count(), denied.count())


def _names(graph: Graph, session: str) -> str:
    people = graph.start("session", session).out("acts_for").nodes()
    return f"session {session}, acting for {', '.join(person.id for person in people)}"
