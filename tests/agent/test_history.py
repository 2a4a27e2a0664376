"""Sessions as a history: listed, forked, undone, replayed, held by one process at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.agent import Agent, Answer, RunResult
from weft.agent.checkpoints import Checkpoints
from weft.agent.events import (
    AnyEvent,
    Decided,
    Landed,
    ModelReplied,
    SessionStarted,
    ToolFinished,
    Undone,
)
from weft.agent.history import summaries, summary
from weft.agent.models.protocol import Usage
from weft.agent.sandbox import commit
from weft.agent.sandbox.changes import Change, Content
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.agent.undo import undo
from weft.core.errors import Conflict, Invalid, NotFound
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.testing.agent import BROKEN, MENDED, Cast, call, failing_repository, scripted, step

KEY = "AKIA" + "Q" * 16
SIXTEEN = " ".join(map(str, range(16)))
ODD = [os.fsdecode(b"odd\xff"), KEY]
QUICK = "grep -q 'sum(values) / len(values)' calc.py"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = failing_repository(tmp_path / "repository")
    (root / "config.py").write_text(f"KEY = '{KEY}'\nRETRIES = 1\n")
    (root / "tool.sh").write_text("#!/bin/sh\n")
    (root / "tool.sh").chmod(0o755)
    (root / "link").symlink_to("tool.sh")
    return root


def working() -> Cast:
    """Each kind of change, one a step."""
    return Cast(
        scripted(
            step(call("edit_file", path="config.py", search="RETRIES = 1\n", replace="RETRIES = 2\n")),
            step(
                call("run_command", command="rm tool.sh link; printf '\\377\\000' > raw; ln -s raw link"),
                call("run_command", command="echo odd > \"$(printf 'odd\\377')\""),
                call("run_command", command=f"echo k > {KEY[:4]}$(printf Q%.0s {SIXTEEN})"),
            ),
            step(call("explore", question="alpha: is it so?"), call("list_dir")),
            step(call("write_file", path="deep/er/new.py", content="x = 1\n")),
            step(call("write_file", path="calc.py", content=MENDED)),
            step(say="Done."),
            step(call("write_file", path="more.py", content="y = 2\n")),
            step(say="Done again."),
        ),
        **{"alpha:": scripted(step(call("list_dir")), step(say="so it is"))},
    )


def open_agent(repository: Path, store: object, model: object = None, **options: object) -> Agent:
    options = {"approve": lambda question, reason: Answer.ONCE, "verify": QUICK} | options
    return Agent.open(
        repository,
        model=model or working(),  # type: ignore[arg-type]
        sandbox=Unconfined(),
        session_store=store,  # type: ignore[arg-type]
        **options,  # type: ignore[arg-type]
    )


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything that a person sees of a folder."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(root))] = (1, os.readlink(path).encode())
        elif path.is_file():
            found[str(path.relative_to(root))] = (path.stat().st_mode & 0o111, path.read_bytes())
    return found


# undo


@pytest.mark.parametrize("to_step", range(5))
def test_a_landed_session_is_taken_out_of_the_workspace_byte_for_byte(repository: Path, to_step: int) -> None:
    before, store = tree(repository), SessionStore()
    result = open_agent(repository, store).run("change it", land=True)
    assert (result.ok, result.landed) == (True, True)
    assert tree(repository)["config.py"] == (0, f"KEY = '{KEY}'\nRETRIES = 2\n".encode())
    (repository / "persons.txt").write_text("mine")
    (repository / "test_calc.py").write_text("# edited by the person meanwhile\n")
    undo(store, result.session, to_step)
    mine = {"persons.txt": (0, b"mine"), "test_calc.py": (0, b"# edited by the person meanwhile\n")}
    assert tree(repository) == before | mine
    assert not summary(store, result.session).landed

    paths = [["config.py"], ["link", "raw", "tool.sh", *ODD], [], ["deep/er/new.py"], ["calc.py"]]
    assert {file.place for file in State(store.events(result.session)).saved} == {
        path for step in paths[:to_step] for path in step
    }


def test_a_file_that_the_person_edited_is_never_undone(repository: Path) -> None:
    store = SessionStore()
    result = open_agent(repository, store).run("change it", land=True)
    (repository / "calc.py").write_text(MENDED + "# and mine\n")
    landed, events = tree(repository), len(store.events(result.session))
    with pytest.raises(Conflict, match=r"^`calc\.py` was changed by somebody else"):
        undo(store, result.session, 0)
    assert tree(repository) == landed
    assert len(store.events(result.session)) == events
    (repository / "calc.py").write_text(MENDED)
    undo(store, result.session, 0)
    (repository / "calc.py").write_text("other")
    with pytest.raises(Conflict, match=r"`calc\.py`"):
        open_agent(repository, store).replay(result.session)


def test_changes_that_did_not_land_never_overwrite_a_persons(repository: Path) -> None:
    store = SessionStore()
    agent = open_agent(repository, store, verify="true")
    result = agent.run("change it")
    (repository / "calc.py").write_text("print('mine')\n")
    with pytest.raises(Conflict, match=r"^`calc\.py` was changed by somebody else"):
        agent.resume(result.session, land=True)
    assert (repository / "calc.py").read_text() == "print('mine')\n"
    undo(store, result.session, 3)
    assert (repository / "calc.py").read_text() == "print('mine')\n"
    resumed = agent.resume(result.session, land=True)
    assert (resumed.ok, resumed.landed) == (True, True)
    assert (repository / "calc.py").read_text() == "print('mine')\n"
    assert (repository / "more.py").exists()


def test_an_undo_that_a_crash_cut_short_can_be_repeated(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, store = tree(repository), SessionStore()
    result = open_agent(repository, store).run("change it", land=True)
    real = commit.write

    def half(root: str, changes: list[Change]) -> None:
        real(root, changes[: len(changes) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(commit, "write", half)
    with pytest.raises(KeyboardInterrupt):
        undo(store, result.session, 0)
    monkeypatch.setattr(commit, "write", real)
    undo(store, result.session, 0)
    assert tree(repository) == before


def test_there_is_a_step_to_undo_or_it_is_said(repository: Path) -> None:
    store = SessionStore()
    result = open_agent(repository, store).run("change it")
    for to_step in (-1, 6, 7):
        with pytest.raises(Invalid, match="no step after"):
            undo(store, result.session, to_step)
    with pytest.raises(NotFound):
        undo(store, "nobody", 0)


def test_the_model_is_told_and_a_landed_session_goes_on_and_lands_again(repository: Path) -> None:
    before, store = tree(repository), SessionStore()
    agent = open_agent(repository, store)
    first = agent.run("change it", land=True)
    second = agent.resume(first.session, message="and more", land=True)
    assert second.ok
    assert "more.py" in tree(repository)
    assert [event.paths for event in second.events if isinstance(event, Landed)][1] == ("more.py",)
    undo(store, first.session, 6)
    assert "more.py" not in tree(repository)
    assert "calc.py" in tree(repository)
    undo(store, first.session, 0)
    assert tree(repository) == before
    assert (
        "took back what you changed after step 0" in State(store.events(first.session)).messages[-1].content
    )


class Life:
    """A session and its workspace without sandbox or model, and what undoing has to bring back."""

    def __init__(self, root: Path) -> None:
        self.root, self.store = root, SessionStore()
        self.session = self.store.new()
        self.session.append(
            SessionStarted(
                task="t",
                user="u",
                workspace=str(root),
                model="m",
                scripted=True,
                instructions="",
                verify=None,
            )
        )
        self.step = 0
        self.copy: dict[str, bytes | None] = {}
        self.moments: list[tuple[dict, dict]] = []

    def work(self, path: str, data: bytes | None) -> None:
        self.moments.append((tree(self.root), self._changed()))
        self.step += 1
        self.session.append(
            ModelReplied(
                step=self.step,
                text="",
                reasoning="",
                calls=(),
                usage=Usage(),
                first_delta_s=None,
                duration_s=0,
            )
        )
        self.copy[path] = data
        saved = Checkpoints(self.session, self.root).save(self._changes())
        self.session.append(
            ToolFinished(
                step=self.step, call_id="", tool="t", arguments="", outcome="ok", output="", saved=saved
            )
        )

    def land(self) -> None:
        saved = State(self.session.events).saved
        commit.write(str(self.root), self._changes())
        self.copy = {}
        self.session.append(Landed(paths=(), saved=saved))

    def undo(self, to_step: int) -> None:
        undo(self.store, self.session.id, to_step)
        self.session = self.store.open(self.session.id)
        assert (tree(self.root), self._saved()) == self.moments[to_step]
        self.copy = dict(self._saved())

    def _saved(self) -> dict[str, bytes | None]:
        return {
            file.path: None if file.digest is None else self.store.file(self.session.id, file.digest)
            for file in State(self.session.events).saved
        }

    def _changed(self) -> dict[str, bytes | None]:
        return {change.path: change.after.data if change.after else None for change in self._changes()}

    def _changes(self) -> list[Change]:
        def content(data: bytes | None) -> Content | None:
            return None if data is None else Content(0o100644, data)

        found = []
        for path, data in sorted(self.copy.items()):
            file = self.root / path
            before = file.read_bytes() if file.is_file() else None
            if before != data:
                found.append(Change(path, content(before), content(data)))
        return found


PATHS = st.sampled_from(["a", "b", "d/c"])
WORK = st.tuples(st.just("work"), PATHS, st.none() | st.binary(max_size=2))


@settings(max_examples=60)
@given(
    st.lists(st.one_of(WORK, st.just(("land",)), st.tuples(st.just("undo"), st.integers(0, 20))), max_size=25)
)
def test_undo_brings_back_what_was_before_the_next_step_whatever_happened_since(acts: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        life = Life(Path(folder))
        (life.root / "a").write_bytes(b"first")
        for act, *rest in acts:
            if act == "undo":
                if rest[0] < life.step:
                    life.undo(rest[0])
            else:
                getattr(life, act)(*rest)


@pytest.mark.parametrize("message", ["", "no, stop that"])
def test_calls_that_an_undo_or_a_message_came_before_are_answered_and_do_not_run(
    repository: Path, message: str
) -> None:
    store = SessionStore()
    model = scripted(
        step(call("write_file", path="a", content="a")),
        step(call("write_file", path="b", content="b"), call("list_dir")),
        step(say="x", expect="not run: the person"),
        step(say="x"),
    )
    agent = open_agent(
        repository, store, model, verify="true", on_event=lambda event: at_reply(agent, event, 2)
    )
    session = agent.run("x").session
    if not message:
        undo(store, session, 1)
    result = open_agent(repository, store, model, verify="true").resume(session, message=message)
    assert result.ok
    assert [file.path for file in State(result.events).saved] == ["a"]
    answers = [m.call_id for m in State(result.events).messages if m.role == "tool"]
    assert answers == ["call_1_1", "call_2_1", "call_2_2"]


def at_reply(agent: Agent, event: AnyEvent, step: int) -> None:
    if isinstance(event, ModelReplied) and event.step == step:
        agent.interrupt()


def test_a_session_goes_on_in_its_own_workspace_only(repository: Path, tmp_path: Path) -> None:
    store = SessionStore()
    session = open_agent(repository, store).run("x").session
    other = open_agent(failing_repository(tmp_path / "other"), store)
    for attempt in (other.resume, other.replay):
        with pytest.raises(Invalid, match="belongs to another workspace"):
            attempt(session)


# fork


def kinds(events: Sequence[AnyEvent]) -> list[type]:
    return [type(event) for event in events]


def test_a_session_forks_at_any_event_and_the_two_go_their_own_ways(repository: Path) -> None:
    store = SessionStore(MemoryStore())
    agent = open_agent(repository, store)
    whole = agent.run("change it")
    recorded = store.events(whole.session)
    for at in range(len(recorded)):
        fork = store.fork(whole.session, at)
        events = store.events(fork)
        assert kinds(events) == kinds(recorded[: at + 1])
        assert (events[0].parent, events[0].because) == (whole.session, "fork")
        assert {event.session for event in events} == {fork}
        assert State(events).messages == State(recorded[: at + 1]).messages
        resumed = agent.resume(fork)
        assert (resumed.ok, resumed.diff) == (True, whole.diff)
    assert store.events(whole.session) == recorded
    with pytest.raises(Invalid, match="has no event 999"):
        store.fork(whole.session, 999)
    with pytest.raises(NotFound):
        store.fork("nobody")


# replay


def test_a_replay_does_the_same_again_with_sub_agents_and_approvals(repository: Path) -> None:
    store = SessionStore()
    result = open_agent(repository, store).run("change it")

    def refuse(question: object, reason: str) -> Answer:
        raise AssertionError("a person was asked again")

    silent = Cast(scripted())
    again = open_agent(repository, store, silent, approve=refuse).replay(result.session)
    assert (again.ok, again.diff, again.summary) == (result.ok, result.diff, result.summary)
    assert kinds(again.events) == kinds(result.events)
    assert [m.content for m in State(again.events).messages] == [
        m.content for m in State(result.events).messages
    ]
    assert (again.events[0].parent, again.events[0].because) == (result.session, "replay")
    assert again.scripted
    children = [session for session in store.sessions() if "." in session]
    assert len(children) == 2
    assert kinds(store.events(children[0])) == kinds(store.events(children[1]))


def test_a_replay_needs_the_files_as_the_session_found_them(repository: Path) -> None:
    store = SessionStore()
    agent = open_agent(repository, store)
    result = agent.run("change it", land=True)
    undo(store, result.session, 0)
    assert agent.replay(result.session).diff == result.diff


# one process at a time


def test_a_session_that_is_being_driven_is_refused_to_others(repository: Path) -> None:
    store = MemoryStore()
    refused: list[str] = []

    def meddle(event: AnyEvent) -> None:
        if isinstance(event, Decided) and not refused:
            for attempt in (
                lambda: open_agent(repository, store).resume(event.session),
                lambda: undo(SessionStore(store), event.session, 0),
            ):
                with pytest.raises(Conflict, match="is being driven by process"):
                    attempt()
                refused.append(event.session)
            assert summary(SessionStore(store), event.session).status == "running"
            assert store_of_fork(event.session)

    def store_of_fork(session: str) -> str:
        return SessionStore(store).fork(session)

    result = open_agent(repository, store, on_event=meddle).run("change it")
    assert result.ok
    assert len(refused) == 2
    assert summary(SessionStore(store), result.session).status == "ok"


HOLD = """
import sys
from weft.agent.session import SessionStore
from weft.kv.lmdb import LmdbStore
store = SessionStore(LmdbStore.open(sys.argv[1]))
with store.claims.hold(sys.argv[2]):
    print("holding", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_another_process_holds_a_session_until_it_dies(repository: Path, tmp_path: Path) -> None:
    store = SessionStore(LmdbStore.open(tmp_path / "kv"))
    result = open_agent(repository, store).run("change it")
    command = [sys.executable, "-c", HOLD, str(tmp_path / "kv"), result.session]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"holding\n"
        with pytest.raises(Conflict, match=f"driven by process {other.pid}"):
            undo(store, result.session, 0)
        other.send_signal(signal.SIGKILL)
        other.wait()
        undo(store, result.session, 0)


# the list


def test_sessions_are_listed_newest_first_and_page_by_page(repository: Path) -> None:
    store = SessionStore()
    agent = open_agent(repository, store)
    ids = [agent.run(f"task {number}", land=number == 2).session for number in range(3)]
    failed = open_agent(repository, store, scripted(step(say="x")), verify=None).run("fails").session
    listed = summaries(store)
    assert [each.id for each in listed] == [failed, *reversed(ids)]
    assert [each.status for each in listed] == ["failed", "ok", "ok", "ok"]
    assert [each.landed for each in listed] == [False, True, False, False]
    assert [each.task for each in listed[1:]] == ["task 2", "task 1", "task 0"]
    assert "calc.py" in listed[2].files
    assert listed[0].reason.startswith("done, but not verified")
    assert [each.id for each in summaries(store, limit=2)] == [failed, ids[2]]
    assert [each.id for each in summaries(store, before=ids[2])] == [ids[1], ids[0]]
    assert len(summaries(store, sub_agents=True)) == 4 + 3
    with pytest.raises(Invalid, match="session of a sub-agent"):
        agent.resume(next(each.id for each in summaries(store, sub_agents=True) if each.because))


# secrets


def test_secrets_are_in_no_event_and_saved_files_are_exact(repository: Path) -> None:
    kv = MemoryStore()
    agent = open_agent(repository, kv, on_event=lambda event: stop_after(agent, event))
    stopped: RunResult = agent.run("change it")
    assert stopped.reason == "interrupted: the person asked to stop"
    assert "RETRIES = 2" in stopped.diff
    assert KEY not in stopped.diff
    assert KEY not in str(stopped.events)
    file = next(file for file in State(stopped.events).saved if file.path == "config.py")
    assert file.digest
    assert KEY.encode() in SessionStore(kv).file(stopped.session, file.digest)


def stop_after(agent: Agent, event: AnyEvent) -> None:
    if isinstance(event, ToolFinished):
        agent.interrupt()


def test_an_undo_is_an_event_that_the_graph_can_be_told(repository: Path) -> None:
    store = SessionStore()
    result = open_agent(repository, store).run("change it", land=True)
    undone = undo(store, result.session, 0)
    assert isinstance(store.events(result.session)[-1], Undone)
    assert {file.path for file in undone.written} >= {"calc.py", "deep/er/new.py"}
    assert BROKEN.encode() == (repository / "calc.py").read_bytes()
