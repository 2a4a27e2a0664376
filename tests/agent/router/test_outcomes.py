"""From a session's events to what its steps came to, and through a real session with a router."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from weft.agent import Agent
from weft.agent.events import AnyEvent, CommandUse, ModelReplied, SessionStarted, ToolFinished, Verified
from weft.agent.models import ToolCall, Usage
from weft.agent.router import AutoRouter, Candidate, Outcome, outcomes
from weft.testing.agent import BROKEN, MENDED, call, failing_repository, scripted, step


def replied(number: int, *tools: str, text: str = "", model: str = "m", stop: Any = None) -> ModelReplied:
    calls = tuple(ToolCall(f"{number}-{n}", tool, "{}") for n, tool in enumerate(tools))
    return ModelReplied(
        step=number,
        text=text,
        reasoning="",
        calls=calls,
        usage=Usage(100, 10),
        first_delta_s=0.1,
        duration_s=2.0,
        stop=stop or ("calls" if calls else "done"),
        cost_usd=0.01,
        model=model,
    )


def finished(number: int, n: int, outcome: Any = "ok", command: CommandUse | None = None) -> ToolFinished:
    return ToolFinished(
        step=number,
        call_id=f"{number}-{n}",
        tool="t",
        arguments="{}",
        outcome=outcome,
        output="",
        command=command,
    )


def verified(number: int, ok: bool) -> Verified:
    return Verified(step=number, command="test", ok=ok, output="", exit_code=int(not ok), duration_s=1.0)


START = SessionStarted(
    task="mend it", user="u", workspace="/w", model="m", scripted=False, instructions="", verify="test"
)


def test_each_step_is_judged_by_what_it_did() -> None:
    tests_fail = CommandUse("pytest", 1, 1.0)
    events: list[AnyEvent] = [
        START,
        replied(1, "run_tests"),
        finished(1, 0, "failed", tests_fail),
        replied(2, "edit_file", "read_file"),
        finished(2, 0, "failed"),
        finished(2, 1),
        replied(3, "edit_file"),
        finished(3, 0, "invalid"),
        replied(4, "edit_file", text="I see."),
        finished(4, 0, "denied"),
        replied(5, text="done"),
        verified(5, False),
        replied(6, text="cut of", stop="cut"),
        replied(7, text="done", model="other"),
        verified(7, True),
    ]
    found = outcomes(events)
    assert [outcome.ok for outcome in found] == [True, False, False, True, False, False, True]
    kinds = [outcome.kind for outcome in found]
    assert kinds == ["begin", "look", "look", "look", "stuck", "stuck", "stuck"]
    assert found[0] == Outcome("begin", "m", True, 0.01, 2.0)
    assert found[-1].model == "other"


def test_scripts_are_no_evidence() -> None:
    assert outcomes([START, replied(1, text="done", model="scripted:x"), verified(1, False)]) == []


@pytest.mark.sandbox
def test_a_session_steps_up_after_a_failed_verification_and_says_why(tmp_path: Path) -> None:
    """Both models replay what they would say; the n-th reply of either answers the n-th step."""
    wrong = call("edit_file", path="calc.py", search=BROKEN, replace=BROKEN.replace("+ 1", "+ 2"))
    right = call("edit_file", path="calc.py", search=BROKEN.replace("+ 1", "+ 2"), replace=MENDED)
    weak = scripted(step(wrong), step(say="done"), name="weak")
    strong = scripted(step(), step(), step(right), step(say="done"), name="strong")
    router = AutoRouter([Candidate(weak), Candidate(strong)])
    agent = Agent.open(failing_repository(tmp_path / "repo"), model=weak, router=router)
    result = agent.run("make the failing test pass")
    asked = [(event.model, event.reason) for event in result.events if isinstance(event, ModelReplied)]
    assert result.ok, result.reason
    assert [model for model, _ in asked] == [
        "scripted:weak",
        "scripted:weak",
        "scripted:strong",
        "scripted:strong",
    ]
    assert "weakest" in asked[0][1]
    assert "1 failed verification so far" in asked[2][1]
