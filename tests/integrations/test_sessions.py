"""A session's log becomes a graph that says who touched what, why, and whether it was allowed."""

from pathlib import Path

import pytest

from weft.agent import Agent, Answer, RunResult
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import SessionStore
from weft.agent.undo import undo
from weft.graph import Graph
from weft.integrations.sessions import TYPES, SessionSource, sessions
from weft.testing.agent import BROKEN, MENDED, Cast, call, failing_repository, scripted, step

CHECK = "grep -q 'sum(values) / len(values)' calc.py"
WORDY = "The divisor is off by one. " * 200


@pytest.fixture
def log() -> SessionStore:
    return SessionStore()


@pytest.fixture
def result(tmp_path: Path, log: SessionStore) -> RunResult:
    model = scripted(
        step(call("read_file", path="calc.py"), say=WORDY),
        step(call("run_command", command="curl http://example.org")),
        step(call("edit_file", path="calc.py", search=BROKEN, replace=MENDED)),
        step(call("run_command", command="exit 3")),
        step(say="Done."),
    )
    agent = Agent.open(
        failing_repository(tmp_path / "repository"),
        model=model,
        sandbox=Unconfined(),
        session_store=log,
        user="user:ann",
        verify=CHECK,
        approve=lambda question, reason: Answer.ONCE,
    )
    return agent.run("mend it", land=True)


@pytest.fixture
def graph(result: RunResult, log: SessionStore) -> Graph:
    graph = Graph.open("memory:", TYPES)
    report = graph.ingest(sessions, SessionSource(log, result.session))
    assert (report.events, report.dead_letters) == (len(result.events), 0)
    return graph


def test_a_change_leads_back_to_its_step_its_task_and_its_user(graph: Graph, result: RunResult) -> None:
    written = graph.start("file", "calc.py").in_("touched", where={"how": "written"})
    assert [node.properties["tool"] for node in written.nodes()] == ["edit_file"]
    steps = written.in_("called")
    assert [node.properties["number"] for node in steps.nodes()] == [3]
    assert [(node.id, node.properties["task"]) for node in steps.in_("took").nodes()] == [
        (result.session, "mend it")
    ]
    assert [node.id for node in steps.in_("took").out("acts_for").nodes()] == ["user:ann"]


def test_what_was_denied_is_there_with_its_reason(graph: Graph, result: RunResult) -> None:
    calls = graph.start("session", result.session).out("took").out("called")
    denied = list(calls.out("asked_command", where={"effect": "deny"}).edges())
    assert [edge.target for edge in denied] == ["curl http://example.org"]
    assert "needs the network" in denied[0].properties["reason"]
    assert calls.out("asked_command", where={"effect": "allow"}).count() == 1


def test_commands_the_verification_the_landing_and_the_end_are_there(graph: Graph, result: RunResult) -> None:
    session = graph.start("session", result.session)
    ran = session.out("took").out("called").out("ran")
    assert [(edge.target, edge.properties["exit_code"]) for edge in ran.edges()] == [("exit 3", 3)]
    verified = [(edge.target, edge.properties["ok"]) for edge in session.out("verified").edges()]
    assert verified == [(CHECK, True)]
    assert [edge.target for edge in session.out("landed").edges()] == ["calc.py"]
    assert [node.properties["ok"] for node in session.out("ended").nodes()] == [True]


def test_sub_agents_and_undone_landings_are_there(tmp_path: Path) -> None:
    log = SessionStore()
    main = scripted(
        step(call("explore", question="alpha: what is it?")),
        step(call("edit_file", path="calc.py", search=BROKEN, replace=MENDED)),
        step(say="Done."),
    )
    agent = Agent.open(
        failing_repository(tmp_path / "repository"),
        model=Cast(main, **{"alpha:": scripted(step(call("read_file", path="calc.py")), step(say="a mean"))}),
        sandbox=Unconfined(),
        session_store=log,
        verify=CHECK,
        approve=lambda question, reason: Answer.ONCE,
    )
    session = agent.run("mend it", land=True).session
    undo(log, session, 0)
    graph = Graph.open("memory:", TYPES)
    for each in log.sessions():
        report = graph.ingest(sessions, SessionSource(log, each))
        assert report.dead_letters == 0
    children = graph.start("session", session).in_("came_from", where={"because": "explore"})
    assert [node.id for node in children.out("took").out("called").out("touched").nodes()] == ["calc.py"]
    undid = graph.start("session", session).out("undid").edges()
    assert [(edge.target, edge.properties["to_step"]) for edge in undid] == [("calc.py", 0)]


def test_long_texts_are_cut(graph: Graph, result: RunResult) -> None:
    first = next(iter(graph.start("step", f"{result.session}/1").nodes()))
    assert first.properties["text"] == WORDY[:2_000]


def test_reading_goes_on_behind_what_was_read(log: SessionStore, result: RunResult) -> None:
    source = SessionSource(log, result.session)
    whole = [event for event in source.events({}) if event is not None]
    for done, event in enumerate(whole, 1):
        assert list(source.events({0: event.offset})) == whole[done:]
        assert source.pending({0: event.offset}) == len(whole) - done
