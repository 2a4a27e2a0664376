"""The loop under a scripted model: what it does, what it refuses, and that it goes on from any event."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from weft.agent import Agent, Answer, Budgets, RunResult
from weft.agent.events import (
    AnyEvent,
    Decided,
    Interrupted,
    Landed,
    ModelReplied,
    SessionEnded,
    ToolFinished,
    Verified,
)
from weft.agent.models.scripted import OffScript, ScriptedModel
from weft.agent.policy import Decision, Deny, Question, RulePolicy
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.core.errors import Invalid, NotFound
from weft.kv.memory import MemoryStore
from weft.testing.agent import BROKEN, MENDED, call, failing_repository, scripted, step

SEARCH, REPLACE = BROKEN.split("\n")[1] + "\n", MENDED.split("\n")[1] + "\n"
# As strict as the test in the repository, and a hundred times as fast as pytest.
QUICK = "grep -q 'sum(values) / len(values)' calc.py"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return failing_repository(tmp_path / "repository")


def mending() -> ScriptedModel:
    return scripted(
        step(call("read_file", path="calc.py"), call("list_dir"), call("grep", pattern="def mean")),
        step(
            call("run_command", command="curl http://example.org"), expect=["len(values) + 1", "calc.py:1:"]
        ),
        step(call("edit_file", path="calc.py", search=SEARCH, replace=REPLACE), expect="denied"),
        step(call("write_file", path="notes/why.md", content="the divisor\n"), expect="+    return sum"),
        step(call("run_command", command="chmod +x notes/why.md && rm test_calc.py"), expect="+the divisor"),
        step(say="The divisor was off by one.", expect="[exit 0]"),
    )


def of(kind: type, events: Sequence[AnyEvent]) -> list:
    return [event for event in events if isinstance(event, kind)]


def open_agent(repository: Path, model: object = None, **options: object) -> Agent:
    options = {"sandbox": Unconfined(), "verify": QUICK} | options
    return Agent.open(repository, model=model or mending(), **options)  # type: ignore[arg-type]


@pytest.mark.sandbox
@pytest.mark.slow
def test_a_failing_test_is_mended_in_the_real_sandbox(repository: Path) -> None:
    model = scripted(
        step(call("run_tests")),
        step(call("read_file", path="calc.py"), expect=["1 failed", "test_calc.py::test_mean"]),
        step(call("run_command", command="cat /etc/shadow; echo > /outside"), expect="len(values) + 1"),
        step(call("edit_file", path="calc.py", search=SEARCH, replace=REPLACE), expect="exit"),
        step(say="The divisor was off by one.", expect="+    return sum(values) / len(values)"),
    )
    result = Agent.open(repository, model=model).run("make the failing test pass")
    assert (result.ok, result.reason, result.scripted, result.model) == (
        True,
        "verified",
        True,
        "scripted:test",
    )
    assert [
        line for line in result.diff.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---")
    ] == [
        "-" + SEARCH.rstrip(),
        "+" + REPLACE.rstrip(),
    ]
    assert (repository / "calc.py").read_text() == BROKEN
    assert not Path("/outside").exists()
    assert set(result.timings) == {"model", "tools", "policy", "sandbox", "verification"}
    assert result.timings["verification"] > 0
    assert "1 passed" in of(Verified, result.events)[0].output


def test_the_change_is_made_in_the_copy_and_every_step_is_on_record(repository: Path) -> None:
    seen: list[AnyEvent] = []
    result = open_agent(repository, on_event=seen.append).run("make the failing test pass")
    assert result.ok
    assert result.summary == "The divisor was off by one."
    assert (repository / "calc.py").read_text() == BROKEN
    assert "+++ b/notes/why.md" in result.diff
    assert seen == result.events
    assert [event.number for event in seen] == list(range(len(seen)))
    assert [event.id for event in seen] == sorted({event.id for event in seen})
    assert {event.session for event in seen} == {result.session}
    touched = [(use.path, use.how) for event in of(ToolFinished, seen) for use in event.files]
    assert touched == [("calc.py", "read"), ("calc.py", "written"), ("notes/why.md", "written")]
    assert [event.command.exit_code for event in of(ToolFinished, seen) if event.command] == [0]


def test_a_denied_call_never_runs_and_the_model_is_told(repository: Path) -> None:
    model = scripted(
        step(call("run_command", command="touch ran; git push")),
        step(call("read_file", path="../../etc/passwd"), expect="denied, and not run: `git push`"),
        step(expect="outside the workspace"),
    )
    result = open_agent(repository, model, verify="test ! -e ran").run("push")
    assert result.ok  # the command did not run: its first half would have left a file
    assert [event.outcome for event in of(ToolFinished, result.events)] == ["denied", "denied"]
    assert [event.effect for event in of(Decided, result.events)] == ["deny", "deny"]


class Crash(Exception):
    """The process dies."""


def crash_at(number: int):
    def on_event(event: AnyEvent) -> None:
        if event.number == number:
            raise Crash

    return on_event


def test_a_session_resumed_after_any_event_ends_the_same(repository: Path) -> None:
    whole = open_agent(repository).run("make the failing test pass")
    assert whole.ok
    for number in range(len(whole.events) - 1):
        store = MemoryStore()
        with pytest.raises(Crash):
            open_agent(repository, session_store=store, on_event=crash_at(number)).run(
                "make the failing test pass"
            )
        (session,) = SessionStore(store).sessions()
        again = open_agent(repository, session_store=store).resume(session)
        assert (again.ok, again.diff, again.summary) == (whole.ok, whole.diff, whole.summary), number
        assert State(again.events).messages == State(whole.events).messages, number


def test_resuming_what_has_ended_gives_its_result_again(repository: Path) -> None:
    agent = open_agent(repository, session_store=MemoryStore())
    first = agent.run("make the failing test pass")
    again = agent.resume(first.session)
    assert (again.ok, again.diff, len(again.events)) == (first.ok, first.diff, len(first.events))
    with pytest.raises(NotFound):
        agent.resume("nobody")


def test_done_is_what_the_verification_says_and_not_the_model(repository: Path) -> None:
    model = scripted(
        step(say="Done."),
        step(call("edit_file", path="calc.py", search=SEARCH, replace=REPLACE), expect="Not done yet"),
        step(say="Done now."),
    )
    result = open_agent(repository, model).run("mend it")
    assert [event.ok for event in of(Verified, result.events)] == [False, True]
    assert result.ok
    unverified = open_agent(repository, scripted(step(say="Done.")), verify=None).run("mend it")
    assert not unverified.ok
    assert "no command to verify with" in unverified.reason


@pytest.mark.parametrize(
    ("budgets", "reason"),
    [(Budgets(steps=2), "2 steps"), (Budgets(tokens=11), "11 tokens"), (Budgets(time_s=0), "0 s")],
)
def test_a_spent_budget_ends_the_session(repository: Path, budgets: Budgets, reason: str) -> None:
    result = open_agent(repository, budgets=budgets).run("mend it")
    assert not result.ok
    assert reason in result.reason
    assert isinstance(result.events[-1], SessionEnded)


def test_an_interrupted_session_stays_open_and_goes_on(repository: Path) -> None:
    store = MemoryStore()
    agent = open_agent(
        repository,
        session_store=store,
        on_event=lambda event: (
            agent.interrupt() if isinstance(event, ModelReplied) and event.step == 3 else None
        ),
    )
    stopped = agent.run("mend it")
    assert (stopped.ok, stopped.reason) == (False, "interrupted: the person asked to stop")
    assert isinstance(stopped.events[-1], Interrupted)
    assert open_agent(repository, session_store=store).resume(stopped.session).ok


def test_calls_that_do_not_fit_are_answered_and_the_session_goes_on(repository: Path) -> None:
    model = scripted(
        step(call("read_file", file="calc.py"), call("read_file", path="none.py")),
        step(
            call("edit_file", path="calc.py", search="nothing like it\n", replace="x\n"),
            expect=["its arguments are"],
        ),
        step(call("edit_file", path="calc.py", search=SEARCH, replace=REPLACE), expect="not in the file"),
        step(),
    )
    result = open_agent(repository, model).run("mend it")
    outcomes = [event.outcome for event in of(ToolFinished, result.events)]
    assert (result.ok, outcomes) == (True, ["invalid", "failed", "failed", "ok"])


class Guarded(RulePolicy):
    """The default rules, and a test that nobody may write and a file that nobody may read."""

    def decide(self, question: Question) -> Decision:
        access = question.access
        if (access.action, access.resource.name) in (("write", "test_calc.py"), ("read", "diary.txt")):
            return Deny(f"`{access.resource.name}` is guarded")
        return super().decide(question)


def test_what_a_command_does_to_a_guarded_file_is_undone_before_it_counts(repository: Path) -> None:
    model = scripted(
        step(call("run_command", command="echo 'assert True' > test_calc.py")),
        step(say="All tests pass."),
        step(call("edit_file", path="calc.py", search=SEARCH, replace=REPLACE), expect="was put back"),
        step(say="Now they do."),
    )
    result = open_agent(
        repository, model, policy=Guarded(), verify=f"grep -q mean test_calc.py && {QUICK}"
    ).run("x")
    assert [event.ok for event in of(Verified, result.events)] == [False, True]
    assert "test_calc.py" not in result.diff
    assert [d.access.resource.name for d in of(Decided, result.events) if d.effect == "deny"] == [
        "test_calc.py"
    ]


def test_searching_and_listing_do_not_show_what_may_not_be_read(repository: Path) -> None:
    (repository / "diary.txt").write_text("mean thoughts\n")
    model = scripted(step(call("grep", pattern="mean"), call("list_dir")), step(expect="calc.py:1:def mean"))
    result = open_agent(repository, model, policy=Guarded(), verify="true").run("look")
    assert "diary" not in str(of(ToolFinished, result.events))


def test_landing_asks_and_is_refused_where_nobody_answers(repository: Path) -> None:
    refused = open_agent(repository).run("mend it", land=True)
    assert (refused.ok, refused.landed) == (True, False)
    assert (repository / "calc.py").read_text() == BROKEN
    asked: list[Question] = []
    landed = open_agent(
        repository, approve=lambda question, reason: asked.append(question) or Answer.ONCE
    ).run("mend it", land=True)
    assert landed.landed
    assert [question.access.action for question in asked] == ["land"]
    assert (repository / "calc.py").read_text() == MENDED
    assert set(of(Landed, landed.events)[0].paths) == {"calc.py", "notes/why.md", "test_calc.py"}


def test_a_consent_for_the_session_is_asked_for_once_and_one_for_once_again(repository: Path) -> None:
    asked: list[Question] = []

    def run_twice(answer: Answer) -> list[bool]:
        store, policy = SessionStore(), RulePolicy()
        agent = open_agent(
            repository,
            scripted(
                step(call("write_file", path="a", content=answer.value)),
                step(),
                step(call("write_file", path="b", content=answer.value)),
                step(),
            ),
            verify="true",
            session_store=store,
            policy=policy,
            approve=lambda question, reason: asked.append(question) or answer,
        )
        first = agent.run("one", land=True)
        second = agent.resume(first.session, message="two", land=True)
        decided = of(Decided, second.events)
        return [event.asked for event in decided if event.tool == "land" and event.effect == "allow"]

    assert run_twice(Answer.SESSION) == [True, False]
    assert run_twice(Answer.ONCE) == [True, True]
    assert run_twice(Answer.REFUSE) == []
    assert len(asked) == 1 + 2 + 2
    assert (repository / "b").read_text() == "allow once"


def test_what_is_hidden_meanwhile_stops_the_session_until_it_is_covered(repository: Path) -> None:
    (repository / "diary.txt").write_text("treasure")

    class Changing(RulePolicy):
        paths: tuple[str, ...] = ()

        def hidden(self, session: str, user: str) -> Sequence[str]:
            return self.paths

    policy, store = Changing(), SessionStore()
    model = scripted(
        step(call("list_dir")), step(call("run_command", command="cat diary.txt")), step(say="Done.")
    )

    def hide(event: AnyEvent) -> None:
        if isinstance(event, ModelReplied) and event.step == 1:
            policy.paths = ("diary.txt",)

    agent = open_agent(
        repository, model, policy=policy, session_store=store, on_event=hide, verify="! cat diary.txt"
    )
    stopped = agent.run("read it")
    assert stopped.reason.startswith("interrupted: `diary.txt` was hidden since")
    resumed = agent.resume(stopped.session)
    assert resumed.ok
    assert "treasure" not in str(resumed.events)


def test_an_unexpected_state_stops_a_script(repository: Path) -> None:
    model = scripted(step(call("list_dir")), step(expect="1 failed"))
    with pytest.raises(OffScript, match="expects `1 failed`"):
        open_agent(repository, model).run("mend it")


def test_secrets_reach_neither_the_log_nor_the_model(repository: Path) -> None:
    key = "AKIA" + "Q" * 16
    (repository / "config.py").write_text(f"KEY = '{key}'\nRETRIES = 1\n")
    model = scripted(
        step(call("read_file", path="config.py")),
        step(
            call("write_file", path="config.py", content="KEY = '[secret removed]'\n"),
            expect="[secret removed]",
        ),
        step(
            call("edit_file", path="config.py", search="RETRIES = 1\n", replace="RETRIES = 2\n"),
            expect="hold",
        ),
        step(expect="+RETRIES = 2"),
    )
    result = open_agent(repository, model, verify="grep -q AKIAQQ config.py").run(f"use {key}")
    assert key not in str(result.events)
    assert [event.outcome for event in of(ToolFinished, result.events)] == ["ok", "invalid", "ok"]


def test_opening_refuses_what_cannot_work(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        Agent.open(tmp_path / "nowhere", model=mending())
    with pytest.raises(Invalid, match="no model adapter is registered for `smoke:`"):
        Agent.open(repository, model="smoke:signals")
    with pytest.raises(NotFound, match="cannot be read"):
        Agent.open(repository, model="scripted:none.json")
    with pytest.raises(Invalid, match="task is empty"):
        open_agent(repository).run("  ")


def test_the_results_shape_is_the_public_one() -> None:
    assert {"ok", "diff", "events", "timings"} <= set(RunResult.__struct_fields__)


@pytest.mark.parametrize(
    "path", ["secret/key", "alias", "folder/key", "./folder/../alias", "/etc/passwd", "out"]
)
def test_a_link_opens_nothing_that_the_policy_closes(repository: Path, path: str) -> None:
    class Closed(RulePolicy):
        def decide(self, question: Question) -> Decision:
            hidden = question.access.resource.name.startswith("secret")
            return Deny("it is hidden") if hidden else super().decide(question)

    (repository / "secret").mkdir()
    (repository / "secret" / "key").write_text("treasure")
    (repository / "alias").symlink_to("secret/key")
    (repository / "folder").symlink_to("secret")
    (repository / "out").symlink_to("/etc/passwd")
    model = scripted(step(call("read_file", path=path)), step(call("write_file", path=path, content="x")))
    agent = open_agent(repository, model, policy=Closed(), budgets=Budgets(steps=2))
    finished = of(ToolFinished, agent.run("read it").events)
    assert [event.outcome for event in finished] == ["denied", "denied"]
    assert not any("treasure" in event.output or "root:" in event.output for event in finished)
