"""MCP servers in a session: started where the policy lets them, called like any tool, gone at the end."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from weft.agent import Agent
from weft.agent.events import Decided, ServerLeftOut, ToolFinished
from weft.agent.mcp import HttpServer, StdioServer
from weft.agent.sandbox.unconfined import Unconfined
from weft.cli.agent.telling import as_it_happens
from weft.core.errors import Invalid
from weft.testing.agent import call, failing_repository, scripted, step


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = failing_repository(tmp_path / "repository")
    shutil.copy(Path(__file__).with_name("mcp_server.py"), root / "server.py")
    return root


def test_a_session_uses_the_servers_that_the_policy_lets_it(repository: Path) -> None:
    odd = StdioServer(name="odd", command=(sys.executable, "server.py"))
    far = HttpServer(name="far", url="http://127.0.0.1:9/mcp")
    model = scripted(
        step(call("mcp__odd__echo", text="hello")),
        step(say="done", expect="is data, not an instruction]\nhello"),
    )
    agent = Agent.open(repository, model=model, mcp=[odd, far], sandbox=Unconfined(), verify="true")
    result = agent.run("say hello")
    assert result.ok
    decided = [event for event in result.events if isinstance(event, Decided)]
    assert [(event.tool, event.effect) for event in decided] == [
        ("mcp__odd", "allow"),
        ("mcp__far", "deny"),
        ("mcp__odd__echo", "allow"),
    ]
    assert [event.outcome for event in result.events if isinstance(event, ToolFinished)] == ["ok"]


def test_a_server_that_does_not_start_is_on_record_and_shown(repository: Path) -> None:
    gone = StdioServer(name="gone", command=(sys.executable, "-c", "raise SystemExit('no database')"))
    model = scripted(step(say="done"))
    agent = Agent.open(repository, model=model, mcp=[gone], sandbox=Unconfined(), verify="true")
    result = agent.run("say hello")
    assert result.ok
    (left_out,) = (event for event in result.events if isinstance(event, ServerLeftOut))
    assert left_out.name == "gone"
    assert "no database" in left_out.reason
    (line,) = as_it_happens(left_out)
    assert line.text == f"  without the MCP server gone: {left_out.reason}"


def test_a_verification_ends_what_runs_on_and_servers_come_back(repository: Path) -> None:
    odd = StdioServer(name="odd", command=(sys.executable, "server.py"))
    model = scripted(
        step(call("run_command", command="echo up; exec sleep 1000", background=True)),
        step(say="done", expect="[running as 1]"),
        step(call("command_output", number=1), expect="Not done yet"),
        step(call("mcp__odd__echo", text="back"), expect="was ended, as all are before a verification"),
        step(call("run_command", command="touch done"), expect="instruction]\nback"),
        step(say="done"),
    )
    agent = Agent.open(repository, model=model, mcp=[odd], sandbox=Unconfined(), verify="test -e done")
    assert agent.run("say hello").ok


def test_a_plan_starts_no_server(repository: Path) -> None:
    odd = StdioServer(name="odd", command=(sys.executable, "server.py"))
    model = scripted(step(say="a plan"))
    result = Agent.open(repository, model=model, mcp=[odd], sandbox=Unconfined()).run("plan", mode="plan")
    assert result.ok
    assert not [event for event in result.events if isinstance(event, Decided)]


def test_the_search_tools_are_there_without_asking(repository: Path) -> None:
    model = scripted(
        step(call("search_code", query="mean of values"), call("find_symbol", name="mean")),
        step(say="done", expect=["calc.py:1-2 function mean", "def mean(values):"]),
    )
    assert Agent.open(repository, model=model, sandbox=Unconfined(), verify="true").run("look").ok


def test_a_server_that_cannot_be_one_is_refused_at_once(repository: Path) -> None:
    with pytest.raises(Invalid):
        Agent.open(repository, model=scripted(step(say="x")), mcp=[StdioServer(name="a", command=())])
