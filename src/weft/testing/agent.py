"""For tests of the agent: contracts of its seams, a repository with a failing test, scripts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from weft.agent.models.protocol import (
    DEFAULTS,
    CallDelta,
    Delta,
    Message,
    Model,
    Opaque,
    Options,
    Stopped,
    ToolSpec,
    Usage,
    collect,
)
from weft.agent.models.scripted import Script, ScriptedCall, ScriptedModel, ScriptedStep
from weft.agent.policy import Access, Allow, Ask, Deny, Policy, Question, Resource

BROKEN = "def mean(values):\n    return sum(values) / (len(values) + 1)\n"
MENDED = "def mean(values):\n    return sum(values) / len(values)\n"
TEST = "from calc import mean\n\n\ndef test_mean():\n    assert mean([1, 2, 3]) == 2\n"


def failing_repository(folder: Path) -> Path:
    """A small Python repository in which one pytest test fails, until `BROKEN` reads `MENDED`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "calc.py").write_text(BROKEN)
    (folder / "test_calc.py").write_text(TEST)
    return folder


def call(tool: str, **arguments: Any) -> ScriptedCall:
    """One tool call of a script."""
    return ScriptedCall(tool, arguments)


def step(*calls: ScriptedCall, say: str = "", expect: str | list[str] = "") -> ScriptedStep:
    """One reply of a script; without calls it claims that the task is done."""
    return ScriptedStep(expect=expect or [], say=say, calls=list(calls), usage=Usage(10, 1))


def scripted(*steps: ScriptedStep, name: str = "test") -> ScriptedModel:
    """A model that makes these replies."""
    return ScriptedModel(Script(list(steps), name))


class Cast:
    """Several scripted models in one: each speaks in the sessions whose first message holds its line."""

    scripted = True
    context_tokens: int | None = None
    name = "scripted:cast"

    def __init__(self, main: ScriptedModel, **roles: ScriptedModel) -> None:
        """`roles` by a word of the question that a sub-agent is asked; `main` has the rest."""
        self._main = main
        self._roles = roles

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        asked = next(message.content for message in messages if message.role == "user")
        role = next((model for word, model in self._roles.items() if word in asked.split()), self._main)
        return role.stream(messages, tools, options)


class ModelContract:
    """What every model adapter promises; subclass it and give `model`, `history` and `tools`."""

    @pytest.fixture
    def model(self) -> Model:
        """A model that answers `history`, the same whenever it is asked."""
        raise NotImplementedError

    @pytest.fixture
    def history(self) -> list[Message]:
        return [Message("system", "be brief"), Message("user", "list the files")]

    @pytest.fixture
    def tools(self) -> list[ToolSpec]:
        return [ToolSpec("list_dir", "list files", {"type": "object", "properties": {}})]

    def test_usage_comes_once_and_last(
        self, model: Model, history: list[Message], tools: list[ToolSpec]
    ) -> None:
        deltas = list(model.stream(history, tools))
        assert [isinstance(delta, Usage) for delta in deltas].count(True) <= 1
        assert not any(isinstance(delta, Usage) for delta in deltas[:-1])

    def test_the_end_is_told_in_order_and_once(
        self, model: Model, history: list[Message], tools: list[ToolSpec]
    ) -> None:
        order = (Opaque, Stopped, Usage)
        deltas = list(model.stream(history, tools))
        closing = [delta for delta in deltas if isinstance(delta, order)]
        assert deltas[len(deltas) - len(closing) :] == closing
        places = [order.index(type(delta)) for delta in closing]
        assert places == sorted(set(places))

    def test_the_order_of_the_tools_does_not_matter(
        self, model: Model, history: list[Message], tools: list[ToolSpec]
    ) -> None:
        more = [*tools, ToolSpec("another", "another tool", {"type": "object", "properties": {}})]
        assert collect(model.stream(history, more)) == collect(model.stream(history, more[::-1]))

    def test_calls_are_whole_and_numbered_in_order(
        self, model: Model, history: list[Message], tools: list[ToolSpec]
    ) -> None:
        deltas: list[Delta] = list(model.stream(history, tools))
        reply = collect(deltas)
        indices = [delta.index for delta in deltas if isinstance(delta, CallDelta)]
        assert indices == sorted(indices)
        assert len({made.id for made in reply.calls}) == len(reply.calls)
        assert all(made.name for made in reply.calls)

    def test_the_history_and_the_tools_are_left_as_they_were(
        self, model: Model, history: list[Message], tools: list[ToolSpec]
    ) -> None:
        before = (list(history), list(tools))
        collect(model.stream(history, tools))
        assert (history, tools) == before

    def test_asking_again_is_a_new_request_that_depends_on_nothing_else(
        self, model: Model, history: list[Message], tools: list[ToolSpec]
    ) -> None:
        assert collect(model.stream(history, tools)) == collect(model.stream(history, tools))

    def test_a_stream_can_be_left_in_the_middle(
        self, model: Model, history: list[Message], tools: list[ToolSpec]
    ) -> None:
        stream = model.stream(history, tools)
        next(stream)
        getattr(stream, "close", lambda: None)()
        assert collect(model.stream(history, tools)).usage is not None


class PolicyContract:
    """What every policy promises; subclass it and give `policy` and a question that it allows."""

    @pytest.fixture
    def policy(self) -> Policy:
        raise NotImplementedError

    @pytest.fixture
    def allowed(self) -> Question:
        raise NotImplementedError

    def test_every_kind_of_access_gets_an_answer(self, policy: Policy, allowed: Question) -> None:
        for access in (
            Access("read", Resource("file", "a.py")),
            Access("write", Resource("file", "a.py")),
            Access("run", Resource("command", "make test")),
            Access("connect", Resource("host", "example.org")),
            Access("land", Resource("workspace", "repository")),
            Access("see", Resource("place", "/srv/data")),
            Access("run_outside", Resource("command", "make test")),
        ):
            answer = policy.decide(Question(allowed.session, allowed.user, "tool", access))
            assert isinstance(answer, (Allow, Ask, Deny))
            assert isinstance(answer, Allow) or answer.reason

    def test_asking_changes_nothing(self, policy: Policy, allowed: Question) -> None:
        assert [type(policy.decide(allowed)) for _ in range(3)] == [Allow] * 3

    def test_what_is_hidden_may_not_be_read(self, policy: Policy, allowed: Question) -> None:
        for path in policy.hidden(allowed.session, allowed.user):
            access = Access("read", Resource("file", path))
            assert isinstance(policy.decide(Question(allowed.session, allowed.user, "t", access)), Deny)

    @pytest.mark.parametrize(
        ("access", "others"),
        [
            (Access("land", Resource("workspace", "repository")), []),
            (
                Access("see", Resource("place", "/srv/data")),
                ["/srv/database", "/srv", "/", "/srv/other", "/srv/dat"],
            ),
            (
                Access("run_outside", Resource("command", "make get")),
                [
                    "make",
                    "make get x",
                    "A=1 make get",
                    "make get; ls",
                    "(make get)",
                    "sh -c 'make get'",
                    "MAKE get",
                ],
            ),
        ],
        ids=["land", "see", "run_outside"],
    )
    def test_an_approval_ends_the_asking_of_its_session_and_its_access_alone(
        self, policy: Policy, allowed: Question, access: Access, others: list[str]
    ) -> None:
        mine = Question(allowed.session, allowed.user, "", access)
        if isinstance(policy.decide(mine), Ask):
            policy.approve(allowed.session, access, 60.0)
            assert isinstance(policy.decide(mine), Allow)
        assert not isinstance(policy.decide(Question("another", allowed.user, "", access)), Allow)
        for name in others:
            other = Access(access.action, Resource(access.resource.kind, name))
            assert not isinstance(policy.decide(Question(allowed.session, allowed.user, "", other)), Allow)

    @pytest.mark.parametrize("path", ["../secret", "a/../../secret", "/etc/passwd", ".."])
    def test_nothing_outside_the_workspace_is_allowed(
        self, policy: Policy, allowed: Question, path: str
    ) -> None:
        for action in ("read", "write"):
            access = Access(action, Resource("file", path))
            assert not isinstance(policy.decide(Question(allowed.session, allowed.user, "t", access)), Allow)
