"""Recorded tasks on real source trees, from the instruction to the landed diff: with the scripted model, and
the same replies over HTTP in each wire format, where everything but names and times has to come out equal."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from weft.agent import Agent, Answer, RunResult
from weft.agent.events import AnyEvent, Compacted, Landed, ToolFinished, Verified
from weft.agent.models import open_model
from weft.agent.models.protocol import Model
from weft.agent.policy import Question
from weft.testing.agent_tasks import (
    VERIFY,
    InTurn,
    RecordedTask,
    applied,
    comparable,
    contents,
    found,
    served,
)
from weft.testing.model_server import ModelServer, Request

TASKS = sorted((Path(__file__).parent / "tasks").glob("*.toml"))
HISTORY = {"chat": "messages", "responses": "input", "messages": "messages"}
MARK = b',"cache_control":{"type":"ephemeral"}'


class Outcome(NamedTuple):
    result: RunResult
    events: list[AnyEvent]
    before: dict[str, bytes]
    after: dict[str, bytes]
    requests: list[Request]


def run(task: RecordedTask, workspace: Path, wire: Any = None) -> Outcome:
    """The task in a workspace that is made anew, at the same place each time."""
    shutil.rmtree(workspace, ignore_errors=True)
    before = task.make(workspace)
    events: list[AnyEvent] = []

    def approve(question: Question, reason: str) -> Answer:
        assert question.access.action == "land"
        assert contents(workspace) == before, "the workspace was changed before the landing"
        return Answer.ONCE

    with ExitStack() as stack:
        model: Model = InTurn(task.steps)
        server = None
        if wire:
            server = stack.enter_context(ModelServer([served(step) for step in task.steps], format=wire))
            model = stack.enter_context(open_model(server.url, environ={}))  # type: ignore[arg-type]
        agent = Agent.open(workspace, model=model, verify=VERIFY, approve=approve, on_event=events.append)
        result = agent.run(task.instruction, land=True)
    assert not server or not server.refused
    return Outcome(result, events, before, contents(workspace), server.requests if server else [])


def of(kind: type, events: list[AnyEvent]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def passes(workspace: Path) -> bool:
    done = subprocess.run([*shlex.split(VERIFY)], cwd=workspace, capture_output=True, env={})
    return done.returncode == 0


def surroundings(folder: Path, task: RecordedTask) -> dict[str, bytes]:
    """What lies beside the workspace, and the trees that it was copied from."""
    beside = {name: data for name, data in contents(folder).items() if not name.startswith("workspace/")}
    for source in task.workspace.copy.values():
        path = found(source)
        files = [path] if path.is_file() else path.rglob("*.py")
        beside |= {str(file): file.read_bytes() for file in files}
    return beside


def check_done(task: RecordedTask, run: Outcome, scratch: Path) -> None:
    """Everything that a task says of its end, and that its diff is what was landed."""
    assert run.result.ok, run.result.reason
    assert run.result.landed
    assert [event.ok for event in of(Verified, run.events)] == task.end.verified
    assert len(of(Compacted, run.events)) == task.end.compactions
    outcomes = [event.outcome for event in of(ToolFinished, run.events) if event.outcome != "ok"]
    assert outcomes == task.end.outcomes
    expected = task.expected(run.before)
    assert run.after == expected
    differing = {name for name in run.before.keys() | expected if run.before.get(name) != expected.get(name)}
    assert set(of(Landed, run.events)[0].paths) == differing
    assert applied(run.result.diff, run.before, scratch) == expected


def check_prefixes(requests: list[Request], key: str, sessions: int, compactions: int) -> None:
    """Each request of a session extends the one before it byte for byte, but for compactions."""
    conversations: dict[bytes, list[bytes]] = {}
    for request in requests:
        parts = msgspec.json.decode(request.raw.replace(MARK, b""), type=dict[str, msgspec.Raw])
        history = bytes(parts.pop(key))
        conversations.setdefault(msgspec.json.encode(parts), []).append(history.removesuffix(b"]"))
    pairs = [pair for histories in conversations.values() for pair in pairwise(histories)]
    assert len(conversations) == sessions, "what comes before the history is not the same each time"
    assert sum(not later.startswith(earlier) for earlier, later in pairs) == compactions


@pytest.mark.sandbox
@pytest.mark.slow
@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_task_ends_verified_and_the_same_over_every_wire(path: Path, tmp_path: Path) -> None:
    task, workspace = RecordedTask.load(path), tmp_path / "workspace"
    (tmp_path / "outside.txt").write_text("as it was")
    task.make(workspace)
    assert not passes(workspace), "the task is done before it begins"
    around = surroundings(tmp_path, task)
    scripted = run(task, workspace)
    check_done(task, scripted, tmp_path / "scratch")
    shutil.rmtree(tmp_path / "scratch")
    assert passes(workspace)
    told = [comparable(event, scripted.result.session) for event in scripted.events]
    for wire, key in HISTORY.items():
        served = run(task, workspace, wire)
        assert [comparable(event, served.result.session) for event in served.events] == told, wire
        assert served.after == scripted.after
        assert len(served.requests) == len(task.steps)
        sessions = len({event.session for event in served.events})
        check_prefixes(served.requests, key, sessions, task.end.compactions)
    assert surroundings(tmp_path, task) == around
