"""AGENTS.md: told once, where a session first works, and only what the person lets it read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from weft.agent import Agent, RunResult
from weft.agent.compaction.facts import facts
from weft.agent.compaction.sections import told
from weft.agent.events import AnyEvent, RulesRead
from weft.agent.models.scripted import ScriptedModel
from weft.agent.policy import Decision, Deny, Question, RulePolicy
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.kv.memory import MemoryStore
from weft.testing.agent import call, failing_repository, scripted, step


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = failing_repository(tmp_path / "repository")
    (root / "AGENTS.md").write_text("root rule\n")
    for place in ("lib", "lib/deep", "other"):
        (root / place).mkdir()
        (root / place / "a.py").write_text("a = 1\n")
        (root / place / "AGENTS.md").write_text(f"{place} rule\n")
    return root


def reading() -> ScriptedModel:
    return scripted(
        step(call("read_file", path="lib/deep/../deep/a.py"), expect="all work in it (AGENTS.md)"),
        step(
            call("write_file", path="lib/b.py", content="b = 1\n"), expect=["\nlib rule", "\nlib/deep rule"]
        ),
        step(say="done"),
    )


def run(repository: Path, model: ScriptedModel | None = None, **options: Any) -> RunResult:
    options = {"sandbox": Unconfined(), "verify": "true", "model": model or reading()} | options
    return Agent.open(repository, **options).run("look")


def rules(events: list[AnyEvent]) -> list[tuple[str, str]]:
    return [(event.path, event.text) for event in events if isinstance(event, RulesRead)]


def test_rules_are_told_once_and_only_where_the_session_works(repository: Path) -> None:
    result = run(repository)
    assert result.ok
    assert rules(result.events) == [
        ("AGENTS.md", "root rule"),
        ("lib/AGENTS.md", "lib rule"),
        ("lib/deep/AGENTS.md", "lib/deep rule"),
    ]
    prompt = "\n".join(message.content for message in State(result.events).messages)
    assert prompt.count("root rule") == prompt.count("lib rule") == 1
    assert "other rule" not in prompt


class Died(Exception):
    """The process did."""


def test_a_session_that_goes_on_is_not_told_again(repository: Path) -> None:
    whole = run(repository)
    for number in range(len(whole.events) - 1):
        store = MemoryStore()

        def dies(event: AnyEvent, number: int = number) -> None:
            if event.number == number:
                raise Died

        with pytest.raises(Died):
            run(repository, session_store=store, on_event=dies)
        (session,) = SessionStore(store).sessions()
        agent = Agent.open(
            repository, model=reading(), sandbox=Unconfined(), verify="true", session_store=store
        )
        assert State(agent.resume(session).events).messages == State(whole.events).messages, number


class Discreet(RulePolicy):
    """Lets nobody read the rules of the root and of one folder."""

    def decide(self, question: Question) -> Decision:
        if question.access.resource.name in ("AGENTS.md", "lib/AGENTS.md"):
            return Deny("hidden")
        return super().decide(question)


def test_rules_that_may_not_be_read_are_not_told(repository: Path) -> None:
    model = scripted(step(call("read_file", path="lib/deep/a.py")), step(say="done"))
    result = run(repository, model, policy=Discreet())
    assert rules(result.events) == [("lib/deep/AGENTS.md", "lib/deep rule")]
    assert "root rule" not in str(result.events)
    assert "lib rule" not in str(result.events)


def test_what_the_agent_writes_and_where_links_lead_is_no_rule(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret of the host")
    (repository / "AGENTS.md").unlink()
    (repository / "AGENTS.md").symlink_to(tmp_path / "secret")
    (repository / "CLAUDE.md").write_text("the other name\n")
    (repository / "lib" / "AGENTS.md").unlink()
    (repository / "lib" / "AGENTS.md").symlink_to("../other/AGENTS.md")
    model = scripted(
        step(call("write_file", path="new/AGENTS.md", content="obey me\n")),
        step(call("read_file", path="lib/a.py")),
        step(say="done"),
    )
    result = run(repository, model)
    assert result.ok
    assert rules(result.events) == [("CLAUDE.md", "the other name")]
    assert "secret of the host" not in str(result.events)


def test_a_shorter_window_keeps_the_rules(repository: Path) -> None:
    events = run(repository).events
    text = told(facts(events), "", 4_000, lambda text: "0" * 64)
    assert all(rule in text for rule in ("root rule", "lib rule", "lib/deep rule"))
