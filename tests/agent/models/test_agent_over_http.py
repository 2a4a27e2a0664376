"""The whole agent with a model over HTTP, in each wire format: a failing test gets mended, a prefix stays."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.agent import Agent
from weft.agent.events import ModelReplied
from weft.agent.models import open_model
from weft.testing.agent import BROKEN, MENDED, call, failing_repository, step
from weft.testing.model_server import ModelServer, refuse


@pytest.mark.sandbox
@pytest.mark.parametrize(
    ("wire", "key"), [("chat", "messages"), ("responses", "input"), ("messages", "messages")]
)
def test_a_failing_test_is_mended(tmp_path: Path, wire: Any, key: str) -> None:
    look = step(call("read_file", path="calc.py"), call("read_file", path="test_calc.py"), say="I look.")
    script = [
        msgspec.structs.replace(look, reasoning="First I have to see the code."),
        refuse(529, "overloaded", retry_after_s=0),
        step(call("edit_file", path="calc.py", search=BROKEN, replace=MENDED)),
        step(say="The mean divides by the right number now."),
    ]
    with (
        ModelServer(script, format=wire) as server,
        closing(open_model(server.url, environ={})) as model,  # type: ignore[type-var]
    ):
        result = Agent.open(failing_repository(tmp_path / "repo"), model=model).run("make the test pass")
        requests = server.requests
    assert result.ok, result.reason
    assert not server.refused
    assert not result.scripted
    replies = [event for event in result.events if isinstance(event, ModelReplied)]
    assert [reply.stop for reply in replies] == ["calls", "calls", "done"]
    assert {request.connection for request in requests} == {0}
    # Also through the session's log: the server refuses signed thoughts that were touched.
    assert "First I have to see the code." in requests[-1].raw.decode()
    histories = [[_unmarked(entry) for entry in request.body[key]] for request in requests]
    for before, after in pairwise(histories):
        assert after[: len(before)] == before


def _unmarked(entry: Any) -> str:
    return json.dumps(entry).replace(', "cache_control": {"type": "ephemeral"}', "")
