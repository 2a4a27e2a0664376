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
from weft.agent.events import AnyEvent, Compacted, Landed, ModelReplied, ToolFinished, Verified
from weft.agent.models import open_model
from weft.agent.models.protocol import Model
from weft.agent.policy import Question
from weft.core.errors import Invalid, WeftError
from weft.testing.agent_tasks import (
    VERIFY,
    End,
    InTurn,
    Made,
    RecordedTask,
    Seed,
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
        assert contents(workspace) == before, "the workspace was changed before the landing"
        return Answer.ONCE if question.access.action == "land" else Answer.REFUSE

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
    assert (run.result.ok, run.result.landed) == (task.end.landed, task.end.landed), run.result.reason
    assert [event.ok for event in of(Verified, run.events)] == task.end.verified
    assert len(of(Compacted, run.events)) == task.end.compactions
    outcomes = [event.outcome for event in of(ToolFinished, run.events) if event.outcome != "ok"]
    assert outcomes == task.end.outcomes
    check_answers(run.events)
    expected = task.expected(run.before)
    assert applied(run.result.diff, run.before, scratch) == expected
    assert run.after == (expected if task.end.landed else run.before)
    differing = {
        name for name in run.before.keys() | run.after if run.before.get(name) != run.after.get(name)
    }
    assert {path for event in of(Landed, run.events) for path in event.paths} == differing


def check_answers(events: list[AnyEvent]) -> None:
    """Every call has one answer, in the order of the calls, before the model is asked again."""
    waiting: dict[str, list[str]] = {}
    for event in events:
        if isinstance(event, ModelReplied):
            assert not waiting.get(event.session)
            waiting[event.session] = [call.id for call in event.calls]
        elif isinstance(event, ToolFinished):
            assert event.call_id == waiting[event.session].pop(0)
    assert not any(waiting.values())


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
def test_a_task_ends_as_it_says_and_the_same_over_every_wire(path: Path, tmp_path: Path) -> None:
    task, workspace = RecordedTask.load(path), tmp_path / "workspace"
    (tmp_path / "outside.txt").write_text("as it was")
    task.make(workspace)
    assert not passes(workspace), "the task is done before it begins"
    around = surroundings(tmp_path, task)
    scripted = run(task, workspace)
    check_done(task, scripted, tmp_path / "scratch")
    shutil.rmtree(tmp_path / "scratch")
    assert passes(workspace) == task.end.landed
    told = [comparable(event, scripted.result.session) for event in scripted.events]
    for wire, key in HISTORY.items():
        served = run(task, workspace, wire)
        assert [comparable(event, served.result.session) for event in served.events] == told, wire
        assert served.after == scripted.after
        assert len(served.requests) == len(task.steps)
        sessions = len({event.session for event in served.events})
        check_prefixes(served.requests, key, sessions, task.end.compactions)
    assert surroundings(tmp_path, task) == around


def test_the_tasks_use_every_way_to_edit_and_most_tools() -> None:
    calls = [call for path in TASKS for step in RecordedTask.load(path).steps for call in step.calls]
    used = {call.tool for call in calls}
    assert len(TASKS) >= 10
    assert used >= {
        *("grep", "glob", "list_dir", "read_file", "search_code", "find_symbol", "find_references"),
        *("edit_file", "apply_patch", "write_file", "move_file", "delete_file"),
        *("run_command", "run_tests", "diagnostics", "git_diff", "git_log", "todo", "explore"),
    }
    patches = [call.text() for call in calls if call.tool == "apply_patch"]
    assert {"*** Begin Patch" in patch for patch in patches} == {True, False}


WRONG: dict[str, dict[str, Any]] = {
    "another verification": {"verified": [False, True]},
    "fewer mistakes": {"outcomes": ["failed"]},
    "another text": {"changed": {"colours/spaces.py": [("m2 = l * (1.0-s)", "m2 = l * (s+1.0)")]}},
    "no change": {"changed": {}},
    "one more file": {"added": {"why.md": ""}},
    "one file less": {"gone": ["colours/__init__.py"]},
    "a compaction": {"compactions": 1},
    "no landing": {"landed": False},
}


@pytest.fixture(scope="module")
def mended(tmp_path_factory: pytest.TempPathFactory) -> tuple[RecordedTask, Outcome]:
    task = RecordedTask.load(Path(__file__).parent / "tasks" / "mend_a_bug.toml")
    return task, run(task, tmp_path_factory.mktemp("mended") / "workspace")


@pytest.mark.sandbox
@pytest.mark.parametrize("wrong", WRONG)
def test_an_end_that_is_not_as_the_task_says_is_found(
    wrong: str, mended: tuple[RecordedTask, Outcome], tmp_path: Path
) -> None:
    task, outcome = mended
    check_done(task, outcome, tmp_path / "right")
    end = msgspec.structs.replace(task.end, **WRONG[wrong])
    with pytest.raises(AssertionError):
        check_done(msgspec.structs.replace(task, end=end), outcome, tmp_path / "wrong")


@pytest.mark.sandbox
def test_a_diff_that_is_not_what_was_landed_is_found(
    mended: tuple[RecordedTask, Outcome], tmp_path: Path
) -> None:
    task, outcome = mended
    result = msgspec.structs.replace(outcome.result, diff=outcome.result.diff.replace("+s)", "+ s)"))
    with pytest.raises(AssertionError):
        check_done(task, outcome._replace(result=result), tmp_path)


@pytest.mark.parametrize(
    ("workspace", "message"),
    [
        (Made(copy={"a.py": "stdlib:no_such_module.py"}), "not installed"),
        (Made(copy={"a": "package:no_such_package"}), "not installed"),
        (Made(copy={"a.py": "somewhere:a.py"}), "names no tree"),
        (Made(write={"a.py": "x = 1\n"}, seed=[Seed("a.py", "y = 1", "y = 2")]), "0 times"),
        (Made(write={"a.py": "x = 1\nx = 1\n"}, seed=[Seed("a.py", "x = 1", "x = 2")]), "2 times"),
    ],
)
def test_a_tree_that_lacks_what_a_task_needs_is_an_error(
    workspace: Made, message: str, tmp_path: Path
) -> None:
    task = RecordedTask("do it", workspace, [], End([]))
    with pytest.raises(WeftError, match=message):
        task.make(tmp_path / "workspace")


def test_a_file_that_is_no_task_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('instruction = "do it"\nmodel = "any"\n')
    with pytest.raises(Invalid, match="is not a recorded task"):
        RecordedTask.load(tmp_path / "a.toml")
