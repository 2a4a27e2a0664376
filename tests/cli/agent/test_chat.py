"""`weft agent chat` through pipes: turns of one session, and what else can be typed."""

import json
from pathlib import Path
from typing import Any

import pytest

from weft.agent.models.scripted import ScriptedCall
from weft.testing.model_server import refuse, reply


@pytest.fixture
def chat(weft: Any, workspace: Path, serve: Any) -> Any:
    """Says these lines while the model gives these answers."""

    def talk(*lines: str, answers: Any = (), verify: str = "true") -> Any:
        url = serve(*answers).url
        said = "".join(f"{line}\n" for line in lines)
        return weft("chat", workspace, "--model", url, "--verify", verify, stdin=said)

    return talk


def test_messages_are_turns_of_one_session(chat: Any, weft: Any) -> None:
    done = chat("hello", "and again", "/quit", "never read", answers=[reply("Hi."), reply("Hi again.")])
    assert (done.code, done.err) == (0, "")
    assert [line for line in done.out.splitlines() if line.startswith("Hi")] == ["Hi.", "Hi again."]
    (one,) = [json.loads(line) for line in weft("sessions --json").out.splitlines()]
    assert (one["task"], one["steps"]) == ("hello", 2)


def test_a_change_is_shown_landed_and_undone(chat: Any, mending: Any, workspace: Path) -> None:
    done = chat("mend it", "/diff", "/land", "y", "/diff", answers=mending)
    assert done.out.count("\n+hello\n") == 2
    assert "May it land the change in `" in done.out
    assert "[y] once, [s] for the session, [n] refuse:" in done.out
    assert "  landed: greeting.txt" in done.out
    assert "nothing that has not landed" in done.out
    assert (workspace / "greeting.txt").read_text() == "hello\n"


def test_a_landed_change_is_undone(chat: Any, mending: Any, workspace: Path) -> None:
    done = chat("mend it", "/land", "yes", "/undo", answers=mending)
    assert "  undone: everything after step 0" in done.out
    assert (workspace / "greeting.txt").read_text() == "helo\n"


def test_landing_can_be_refused(chat: Any, mending: Any, workspace: Path) -> None:
    done = chat("mend it", "/land", "maybe", "n", answers=mending)
    assert done.out.count("[n] refuse:") == 2
    assert (workspace / "greeting.txt").read_text() == "helo\n"


def test_a_plan_is_made_and_acted_on(chat: Any, weft: Any, mending: Any) -> None:
    done = chat("/plan", "mend it", "/act", answers=[reply("1. Spell it right."), *mending])
    assert "1. Spell it right." in done.out
    acted, planned = [json.loads(line) for line in weft("sessions --json").out.splitlines()]
    assert [planned["mode"], acted["mode"], acted["task"]] == ["plan", "act", "mend it"]
    start = json.loads(weft("show last --json").out.splitlines()[0])
    assert start["plan"] == "1. Spell it right."


def test_a_question_of_the_agent_is_answered(chat: Any, weft: Any) -> None:
    asks = reply("", ScriptedCall("ask_user", {"question": "Which?", "options": ["this", "that"]}))
    done = chat("go", "2", answers=[asks, reply("That.")])
    assert "the agent asks: Which?" in done.out
    assert "    that\n" in weft("show last").out


def test_an_error_ends_a_turn_and_not_the_conversation(chat: Any) -> None:
    done = chat("hello", "once more", answers=[refuse(401, "no such key"), reply("Hi.")])
    assert done.code == 0
    assert "weft: " in done.out
    assert "\nHi.\n" in done.out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("/help", "/undo [STEP]"),
        ("/nonsense", "`/nonsense` is no command; see /help"),
        ("/diff", "nothing was done yet"),
        ("/land", "nothing was done yet"),
        ("/undo x", "nothing was done yet"),
    ],
)
def test_what_can_be_typed(chat: Any, line: str, said: str) -> None:
    assert said in chat(line).out
