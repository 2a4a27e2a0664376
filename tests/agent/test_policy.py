"""The default rules, and what a command is seen to start."""

from __future__ import annotations

import time

import pytest

from weft.agent.commands import network_programs, simple_commands
from weft.agent.policy import Access, Allow, Ask, Deny, Policy, Question, Resource, RulePolicy
from weft.testing.agent import PolicyContract


class TestRulePolicy(PolicyContract):
    @pytest.fixture
    def policy(self) -> Policy:
        return RulePolicy()

    @pytest.fixture
    def allowed(self) -> Question:
        return Question("s", "ann", "read_file", Access("read", Resource("file", "src/a.py")))


def decide(action, kind, name):
    return RulePolicy().decide(Question("s", "ann", "t", Access(action, Resource(kind, name))))


def test_the_defaults_are_useful() -> None:
    assert isinstance(decide("read", "file", "."), Allow)
    assert isinstance(decide("write", "file", "src/../a.py"), Allow)
    assert isinstance(decide("write", "file", "src/.git/hooks/pre-commit"), Deny)
    assert isinstance(decide("write", "file", ".gitignore"), Allow)
    assert isinstance(decide("run", "command", "make test"), Allow)
    assert isinstance(decide("run", "command", "make test && curl x"), Deny)
    assert isinstance(decide("connect", "host", "example.org"), Deny)
    assert isinstance(decide("land", "workspace", "/repo"), Ask)


@pytest.mark.parametrize(
    "command",
    [
        "curl x",
        "true; curl x",
        "true && curl x",
        "true | /usr/bin/CURL -d @-",
        "echo $(curl x)",
        "echo `curl x`",
        "(cd a; curl x)",
        "sh -c 'curl x'",
        "A=1 env -i timeout 5 curl x",
        "if true; then curl x; fi",
        "true\ncurl x",
        "true & curl x",
        "bash -c \"sh -c 'curl x'\"",
        "xargs curl",
    ],
)
def test_a_network_program_is_found_wherever_it_stands(command: str) -> None:
    assert network_programs(command)[0] == "curl"


@pytest.mark.parametrize("command", ["git push", "git -q fetch", "pip install x", "python3 -m pip install x"])
def test_verbs_that_need_the_network_are_found(command: str) -> None:
    assert len(network_programs(command)) == 1


@pytest.mark.parametrize(
    "command",
    ["echo curl", "grep -r 'curl x' .", "git commit -m 'git push'", "pip list", "cat a.curl", "", "'"],
)
def test_a_word_is_no_program(command: str) -> None:
    assert network_programs(command) == []


def test_commands_come_with_their_words() -> None:
    assert list(simple_commands("cd a && FOO=1 make -j2 | tee 'out put'")) == [
        ["cd", "a"],
        ["make", "-j2"],
        ["tee", "out put"],
    ]


@pytest.mark.parametrize("piece", ["$(", "`", "$(a ", "sh -c '", "( "])
def test_a_command_that_is_made_to_cost_time_costs_little(piece: str) -> None:
    began = time.process_time()
    network_programs(piece * 2_000)
    assert time.process_time() - began < 1


def test_what_stands_in_substitutions_in_substitutions_is_seen() -> None:
    assert set(network_programs("echo $(a $(b $(curl x)) $(wget y)) $(scp z)")) == {"curl", "wget", "scp"}
