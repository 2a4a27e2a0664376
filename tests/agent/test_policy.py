"""The default rules, and what a command is seen to start."""

from __future__ import annotations

import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.agent.commands import has_pipe, hosts, identity, network_programs, simple_commands
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


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("curl -sS https://Example.org/x | tar x", ["example.org"]),
        ("git clone git@git.hub:a/b && curl http://ann:secret@example.org:8080", ["git.hub", "example.org"]),
        ("sh -c 'wget ftp://a.b'; echo $(curl https://c.d)", ["a.b", "c.d"]),
        ("pip install x", []),
        ("echo a@b", ["b"]),
    ],
)
def test_hosts_are_read_from_the_words(command: str, named: list[str]) -> None:
    assert sorted(hosts(command)) == sorted(named)


@pytest.mark.parametrize(
    ("command", "piped"),
    [
        ("a | b", True),
        ("(a)|b", True),
        ("a 2>&1 |& b", True),
        ("a || b", False),
        ("a && b; c &", False),
        ("echo '|' \"|\"", False),
        ("", False),
    ],
)
def test_pipes_are_told_from_what_looks_like_them(command: str, piped: bool) -> None:
    assert has_pipe(command) == piped


# What an approval is for.

PIECES = st.sampled_from(
    [
        "echo",
        "a",
        "b",
        "'",
        '"',
        "\\",
        "#",
        "|",
        ";",
        "&&",
        "$x",
        "$(",
        ")",
        "*",
        "~",
        "x=1",
        "\n",
        "<<a",
        "`",
        "!",
    ]
)
BLANKS = st.sampled_from([" ", "  ", "\t", "", " \t "])


def said(command: str) -> tuple[int, bytes]:
    """What a shell that has nothing but its own commands makes of it, with x set."""
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": "/nowhere", "x": "1  2", "HOME": "/h"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=20,
        cwd="/proc/self/fdinfo",
    )
    return done.returncode, done.stdout


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(PIECES, BLANKS, BLANKS), min_size=1, max_size=8))
def test_commands_with_one_identity_do_the_same(pieces: list[tuple[str, str, str]]) -> None:
    one, other = ("echo " + "".join(piece[0] + piece[way] for piece in pieces) for way in (1, 2))
    if one != other and identity(one) == identity(other):
        assert said(one) == said(other)


@given(st.lists(st.sampled_from(["make", "-j2", "a/b.c", "x=1", "&&", "|"]), min_size=1), BLANKS)
def test_blanks_between_plain_words_make_no_difference(words: list[str], blank: str) -> None:
    assert identity(f" {blank} ".join(words) + blank) == identity(" ".join(words))


@given(st.text(st.sampled_from("ab -/.&|;'\"$()\n"), min_size=1, max_size=20).filter(str.strip))
def test_what_is_around_a_command_makes_it_another(command: str) -> None:
    around = [
        "env {}",
        "sudo {}",
        "A=1 {}",
        "({})",
        "sh -c '{}'",
        "{} | cat",
        "true; {}",
        "{} x",
        "$({})",
        "alias a=b; {}",
    ]
    for each in around:
        assert identity(each.format(command)) != identity(command)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("make install", "Make install"),
        ("make install", "./make install"),
        ("echo 'a  b'", "echo 'a b'"),
        ("echo $x", "echo '$x'"),
        ("rm a b", "rm 'a b'"),
        ("make\ninstall", "make install"),
        ("make #  x", "make # x"),
    ],
)
def test_what_looks_alike_is_another_command(one: str, other: str) -> None:
    assert identity(one) != identity(other)
