"""Writes beside the loop: in order, many at a time, none behind one that failed; a process that is killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from weft.agent import Agent
from weft.agent.events import Interrupted, ToolFinished
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import EVENTS, SessionStore
from weft.agent.state import State
from weft.core.errors import Unavailable
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.model import Mutation, Put
from weft.testing.agent import call, failing_repository, scripted, step


class Watched(MemoryStore):
    """Remembers its commits; may be told to wait, or to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.commits: list[int] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.failure: Exception | None = None

    def mutate(self, mutations: Sequence[Mutation]) -> None:
        puts = [each for each in mutations if isinstance(each, Put) and each.namespace == EVENTS]
        if puts:
            assert self.may_go_on.wait(10)
            if self.failure:
                raise self.failure
            self.commits.append(len(puts))
        super().mutate(mutations)


def test_a_slow_commit_is_waited_for_by_nobody_and_the_next_takes_all_that_came_meanwhile() -> None:
    kv = Watched()
    store = SessionStore(kv)
    session = store.new()
    kv.may_go_on.clear()
    for number in range(50):
        session.append(Interrupted(reason=str(number)))
    assert [event.number for event in session.events] == list(range(50))
    kv.may_go_on.set()
    store.flush()
    assert sum(kv.commits) == 50
    assert len(kv.commits) <= 2
    assert SessionStore(kv).events(session.id) == session.events


def test_after_a_write_that_failed_nothing_is_written_any_more() -> None:
    kv = Watched()
    store = SessionStore(kv)
    session = store.new()
    session.append(Interrupted(reason="first"))
    store.flush()
    kv.failure = Unavailable("the disk is full")
    session.append(Interrupted(reason="lost"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="disk is full"):
            store.flush()
    kv.failure = None
    with pytest.raises(Unavailable, match="disk is full"):
        session.append(Interrupted(reason="a hole before it"))
    assert [event.reason for event in SessionStore(kv).events(session.id)] == ["first"]  # type: ignore[union-attr]


def test_holding_a_session_ends_with_everything_durable() -> None:
    kv = Watched()
    store = SessionStore(kv)
    with store.hold("s"):
        store.new(session="s").append(Interrupted(reason="x"))
    assert sum(kv.commits) == 1


RUN = """
import sys
from weft.agent import Agent
from weft.agent.models.scripted import ScriptedModel
from weft.agent.sandbox.unconfined import Unconfined
from weft.kv.lmdb import LmdbStore
agent = Agent.open(
    sys.argv[1], model="scripted:" + sys.argv[2], session_store=LmdbStore.open(sys.argv[3]),
    sandbox=Unconfined(), verify="test $(cat a) = 20",
    on_event=lambda event: print(event.session, event.number, flush=True),
)
agent.run("count")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 7, 20, 33])
def test_a_session_whose_process_was_killed_goes_on_in_another(tmp_path: Path, number: int) -> None:
    count = call("run_command", command="echo $(($(cat a 2>/dev/null || echo 0) + 1)) > a.new && mv a.new a")
    model = scripted(*[step(count) for _ in range(20)], step(say="Done."))
    script, repository = tmp_path / "script.json", failing_repository(tmp_path / "repository")
    script.write_text(encoded(model))
    command = [sys.executable, "-c", RUN, str(repository), str(script), str(tmp_path / "kv")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            session, seen = line.split()
            if int(seen) == number:
                process.send_signal(signal.SIGKILL)
                break
    store = SessionStore(LmdbStore.open(tmp_path / "kv"))
    if not store.sessions():
        return  # killed before the first commit: nothing was asked of a model yet either
    agent = Agent.open(repository, model=model, session_store=store, sandbox=Unconfined())
    result = agent.resume(session)
    assert result.ok, result.reason
    assert [event.number for event in result.events] == list(range(len(result.events)))
    assert sum(isinstance(event, ToolFinished) for event in result.events) == 20
    (file,) = State(result.events).saved
    assert file.digest
    assert store.file(session, file.digest) == b"20\n"


def encoded(model: object) -> str:
    import msgspec

    return msgspec.json.encode(model._script).decode()  # type: ignore[attr-defined]
