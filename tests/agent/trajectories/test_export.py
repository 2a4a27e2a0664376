"""Every format, held by a validator of its own, written from the format's public description."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from weft.agent import Agent, Budgets
from weft.agent.edits import SearchReplace, apply, apply_patch
from weft.agent.events import AnyEvent, Compacted, PersonSaid
from weft.agent.models.protocol import Message
from weft.agent.models.scripted import ScriptedStep
from weft.agent.sandbox.unconfined import Unconfined
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.agent.tools import Toolbox, standard_tools
from weft.agent.trajectories import FORMATS, Format, export
from weft.core.errors import Invalid, NotFound
from weft.testing.agent import BROKEN, MENDED, Cast, call, failing_repository, scripted, step

KEY = "AKIA" + "Q" * 16
SEARCH, REPLACE = BROKEN.split("\n")[1] + "\n", MENDED.split("\n")[1] + "\n"
QUICK = "grep -q 'sum(values) / len(values)' calc.py"
PATCH = """\
*** Begin Patch
*** Update File: config.py
@@
-RETRIES = 1
+RETRIES = 2
*** Add File: notes.md
+the divisor
*** End Patch
"""


def working() -> Cast:
    return Cast(
        scripted(
            step(
                call("read_file", path="config.py"), call("explore", question="alpha: where?"), say="I look."
            ),
            ScriptedStep(reasoning="It must be the divisor.", calls=[call("apply_patch", patch=PATCH)]),
            step(say="Done."),
            step(call("edit_file", path="calc.py", search=SEARCH, replace=REPLACE)),
            step(call("write_file", path="calc.py", content="# mended\n" + MENDED), call("grep", pattern=1)),
            step(call("run_command", command="printf '\\377' > raw; rm notes.md; curl x; touch more")),
            step(call("edit_file", path="raw", search="x\n", replace="y\n"), say=f"with {KEY}"),
            step(say="The divisor was off by one."),
        ),
        **{"alpha:": scripted(step(call("grep", pattern="mean")), step(say="calc.py:1"))},
    )


@pytest.fixture
def store() -> SessionStore:
    return SessionStore()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = failing_repository(tmp_path / "repository")
    (root / "config.py").write_text(f"KEY = '{KEY}'\nRETRIES = 1\n")
    return root


def open_agent(repository: Path, store: SessionStore, model: Any = None, **options: Any) -> Agent:
    options = {"verify": QUICK, "sandbox": Unconfined()} | options
    return Agent.open(repository, model=model or working(), session_store=store, **options)


@pytest.fixture
def session(repository: Path, store: SessionStore) -> str:
    result = open_agent(repository, store).run(f"mend it, the key is {KEY}")
    assert result.ok, result.reason
    return result.session


def lines(store: SessionStore, session: str, form: Format, **options: Any) -> list[dict[str, Any]]:
    data = list(export(store, [session], form, **options))
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in data)
    return [json.loads(line) for line in data]


# chat


def check_chat(chat: dict[str, Any]) -> None:
    """Fine-tuning refuses unknown roles and keys, calls without answers, chats without a reply at the end."""
    assert set(chat) <= {"messages", "tools"}
    open_calls: set[str] = set()
    for message in chat["messages"]:
        role = message["role"]
        allowed = {"assistant": {"tool_calls"}, "tool": {"tool_call_id"}}.get(role, set())
        assert set(message) <= {"role", "content"} | allowed, message
        assert isinstance(message["content"], str)
        if role == "tool":
            open_calls.remove(message["tool_call_id"])
        else:
            assert role in ("system", "user", "assistant")
            assert not open_calls
        for made in message.get("tool_calls", ()):
            assert set(made) == {"id", "type", "function"}
            assert made["type"] == "function"
            assert set(made["function"]) == {"name", "arguments"}
            assert isinstance(made["function"]["arguments"], str)
            open_calls.add(made["id"])
    assert not open_calls
    assert chat["messages"][0]["role"] == "system"
    assert chat["messages"][-1]["role"] == "assistant"
    for tool in chat.get("tools", ()):
        assert set(tool) == {"type", "function"}
        assert set(tool["function"]) == {"name", "description", "parameters"}
        assert tool["function"]["parameters"]["type"] == "object"


def test_chats_are_what_fine_tuning_takes(store: SessionStore, session: str) -> None:
    tools = Toolbox(standard_tools(None)).specs
    (chat,) = lines(store, session, "chat", tools=tools)
    check_chat(chat)
    assert len(chat["tools"]) == len(tools)
    assert [m["role"] for m in chat["messages"][:5]] == ["system", "user", "assistant", "tool", "tool"]
    assert chat["messages"][-1]["content"] == "The divisor was off by one."


def test_a_session_that_stopped_between_call_and_answer_has_no_open_call(
    repository: Path, store: SessionStore
) -> None:
    model = scripted(step(call("read_file", path="calc.py")), step(call("list_dir")))
    agent = open_agent(repository, store, model, on_event=lambda event: stop_at(agent, event, 4))
    result = agent.run("look")
    assert result.reason == "interrupted: the person asked to stop"
    (chat,) = lines(store, result.session, "chat")
    check_chat(chat)


def stop_at(agent: Agent, event: AnyEvent, number: int) -> None:
    if event.number == number:
        agent.interrupt()


class Long(Cast):
    context_tokens = 1_500

    def stream(self, messages: Sequence[Message], *rest: Any) -> Iterator[Any]:
        number = sum(text.content.count("[left out]") for text in messages if text.role == "user")
        made = sum(message.role == "assistant" for message in messages)
        replies = [step(call("run_command", command="head -c 5000 /dev/zero | tr '\\0' x")), step(say="done")]
        yield from scripted(*[replies[1 if number else 0]] * 9).stream(messages, *rest) if made < 9 else ()


def test_each_window_of_a_compacted_session_is_a_chat(repository: Path, store: SessionStore) -> None:
    def compact(state: State, events: Sequence[AnyEvent], budget: int, keep: object) -> Compacted:
        kept = (*state.messages[:2], Message("user", "[left out]"))
        return Compacted(step=state.step, replaced=len(state.messages), messages=kept)

    model = Long(scripted())
    result = open_agent(repository, store, model, compactor=compact, verify="true").run("look")
    assert result.ok
    chats = lines(store, result.session, "chat")
    assert len(chats) == 2
    for chat in chats:
        check_chat(chat)
    assert [len(record["observation"]) for record in lines(store, result.session, "steps")] == [2, 3]
    (document,) = lines(store, result.session, "atif")
    check_atif(document)
    assert {"type": "compaction", "boundary": "replace"} in [
        step.get("extra", {}).get("context_management") for step in document["steps"]
    ]


# ATIF


class Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class AtifCall(Strict):
    tool_call_id: str
    function_name: str
    arguments: dict[str, Any]
    extra: dict[str, Any] | None = None


class AtifReference(Strict):
    trajectory_id: str | None = None
    session_id: str | None = None
    trajectory_path: str | None = None


class AtifResult(Strict):
    source_call_id: str | None = None
    content: str | None = None
    subagent_trajectory_ref: list[AtifReference] | None = None
    extra: dict[str, Any] | None = None


class AtifObservation(Strict):
    results: list[AtifResult]


class AtifMetrics(Strict):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    cost_usd: float | None = None


class AtifStep(Strict):
    step_id: int
    source: Literal["system", "user", "agent"]
    message: str
    timestamp: datetime | None = None
    model_name: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[AtifCall] | None = None
    observation: AtifObservation | None = None
    metrics: AtifMetrics | None = None
    llm_call_count: int | None = None
    extra: dict[str, Any] | None = None


class AtifAgent(Strict):
    name: str
    version: str
    model_name: str | None = None
    tool_definitions: list[dict[str, Any]] | None = None


class AtifFinalMetrics(Strict):
    total_prompt_tokens: int | None = None
    total_completion_tokens: int | None = None
    total_cached_tokens: int | None = None
    total_cost_usd: float | None = None
    total_steps: int | None = None


class AtifTrajectory(Strict):
    schema_version: Literal["ATIF-v1.7"]
    agent: AtifAgent
    steps: list[AtifStep]
    session_id: str | None = None
    trajectory_id: str | None = None
    final_metrics: AtifFinalMetrics | None = None
    extra: dict[str, Any] | None = None
    subagent_trajectories: list[AtifTrajectory] | None = None


def check_atif(document: dict[str, Any]) -> AtifTrajectory:
    """The rules of RFC 0001, version 1.7, that go beyond names and types too."""
    trajectory = msgspec.convert(document, AtifTrajectory)
    check_steps(trajectory)
    return trajectory


def check_steps(trajectory: AtifTrajectory) -> None:
    assert [step.step_id for step in trajectory.steps] == list(range(1, len(trajectory.steps) + 1))
    embedded = {child.trajectory_id for child in trajectory.subagent_trajectories or ()}
    assert len(embedded) == len(trajectory.subagent_trajectories or ())
    assert None not in embedded
    for each in trajectory.steps:
        if each.source != "agent":
            agents_own = (each.model_name, each.reasoning_content, each.tool_calls, each.metrics)
            assert agents_own == (None,) * 4
        calls = {made.tool_call_id for made in each.tool_calls or ()}
        for result in each.observation.results if each.observation else ():
            assert result.source_call_id in calls
            for reference in result.subagent_trajectory_ref or ():
                assert reference.trajectory_id in embedded
    assert trajectory.final_metrics is not None
    assert trajectory.final_metrics.total_steps == len(trajectory.steps)
    for child in trajectory.subagent_trajectories or ():
        check_steps(child)


def test_atif_documents_follow_the_specification(store: SessionStore, session: str) -> None:
    (document,) = lines(store, session, "atif", tools=Toolbox(standard_tools(None)).specs)
    trajectory = check_atif(document)
    assert [step.source for step in trajectory.steps[:4]] == ["system", "user", "agent", "agent"]
    assert trajectory.steps[3].reasoning_content == "It must be the divisor."
    assert len(trajectory.subagent_trajectories or ()) == 1
    assert trajectory.final_metrics is not None
    assert trajectory.final_metrics.total_prompt_tokens == 70  # one scripted step has no usage
    assert document["extra"]["ok"] is True
    verified = [
        step.extra["verified"] for step in trajectory.steps if step.extra and "verified" in step.extra
    ]
    assert verified == [False, True]


# triples


def remade(triple: dict[str, Any]) -> str | None:
    """The final file, made anew from the original and the edit."""
    arguments = triple["edit"]["arguments"]
    match triple["format"]:
        case "search_replace":
            edit = SearchReplace(arguments["search"], arguments["replace"])
            return apply(triple["original"], [edit]).text
        case "patch":
            files = {"config.py": "RETRIES = 1\n"}
            if triple["original"] is not None:
                files[triple["path"]] = triple["original"]
            return apply_patch(files, arguments["patch"])[triple["path"]]
    return arguments["content"]


def test_an_edit_of_a_triple_makes_the_final_file_of_the_original(store: SessionStore, session: str) -> None:
    found = lines(store, session, "triples")
    assert [(triple["format"], triple["path"]) for triple in found] == [
        ("patch", "config.py"),
        ("patch", "notes.md"),
        ("search_replace", "calc.py"),
        ("whole_file", "calc.py"),
    ]
    for triple in found:
        assert set(triple) == {
            *("session", "step", "instruction", "path", "format", "original", "edit", "final")
        }
        assert remade(triple) == triple["final"]
        assert triple["original"] != triple["final"]
    assert [triple["step"] for triple in found] == [2, 2, 4, 5]
    assert (found[1]["original"], found[2]["original"], found[3]["original"]) == (None, BROKEN, MENDED)


def test_search_and_replace_is_over_represented_on_request(store: SessionStore, session: str) -> None:
    often = [triple["format"] for triple in lines(store, session, "triples", repeat_search_replace=3)]
    assert often == ["patch", "patch", *["search_replace"] * 3, "whole_file"]
    with pytest.raises(Invalid):
        lines(store, session, "triples", repeat_search_replace=0)


# steps


def test_only_the_verification_rewards_and_the_records_make_up_the_session(
    store: SessionStore, session: str
) -> None:
    records = lines(store, session, "steps")
    assert [record["step"] for record in records] == list(range(1, 9))
    assert [record["reward"] for record in records] == [0.0] * 7 + [1.0]
    assert [record["done"] for record in records] == [False] * 7 + [True]
    assert not any(record["truncated"] for record in records)
    whole = [each for record in records for each in (*record["observation"], record["action"])]
    (chat,) = lines(store, session, "chat")
    assert whole == chat["messages"]
    assert {"verified": False, "exit_code": 1} in records[2]["info"]["outcomes"]
    assert records[4]["info"]["outcomes"][1]["outcome"] == "invalid"


def test_what_a_budget_ended_is_truncated_and_earns_nothing(repository: Path, store: SessionStore) -> None:
    result = open_agent(repository, store, budgets=Budgets(steps=2)).run("mend it")
    records = lines(store, result.session, "steps")
    assert [(r["reward"], r["done"], r["truncated"]) for r in records] == [
        (0.0, False, False),
        (0.0, False, True),
    ]
    assert "2 steps" in records[-1]["info"]["reason"]


# all of them


@pytest.mark.parametrize("form", FORMATS)
def test_no_secret_is_exported(store: SessionStore, session: str, form: Format) -> None:
    (file,) = [f for f in State(store.events(session)).saved if f.path == "config.py"]
    assert file.before
    assert KEY.encode() in store.file(session, file.before)
    text = b"".join(export(store, [session], form)).decode()
    assert KEY not in text
    assert "[secret removed]" in text


@pytest.mark.parametrize("form", FORMATS)
def test_sessions_that_failed_can_be_left_out(
    repository: Path, store: SessionStore, session: str, form: Format
) -> None:
    failed = open_agent(repository, store, budgets=Budgets(steps=3)).run("mend it").session
    whole = list(export(store, [session, failed], form))
    good = list(export(store, [session, failed], form, only_ok=True))
    assert good == list(export(store, [session], form))
    assert len(whole) > len(good)
    with pytest.raises(NotFound):
        list(export(store, ["nobody"], form))


def test_a_session_that_ended_well_and_goes_on_does_not_count_as_ended(
    store: SessionStore, session: str
) -> None:
    store.open(session).append(PersonSaid(text="now something else"))
    assert not list(export(store, [session], "chat", only_ok=True))
    (document,) = export(store, [session], "atif")
    assert msgspec.json.decode(document)["extra"]["ended"] is False


def test_other_formats_are_refused(store: SessionStore, session: str) -> None:
    with pytest.raises(Invalid, match="use one of chat, atif, triples, steps"):
        list(export(store, [session], "parquet"))  # type: ignore[arg-type]
