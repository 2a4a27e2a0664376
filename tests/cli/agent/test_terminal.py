"""`weft agent` at a real terminal: approvals, Ctrl-C, colours, a conversation with line editing."""

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from weft.agent.models.scripted import ScriptedCall
from weft.testing.model_server import reply

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/agent/first-task.md"
VERIFY = "grep -q hello greeting.txt"


def test_a_person_is_asked_before_a_change_lands(
    at_terminal: Any, serve: Any, mending: Any, workspace: Path
) -> None:
    words = ["agent", "run", "mend it", workspace, "--model", serve(*mending).url, "--verify", VERIFY]
    with at_terminal(words, workspace.parent) as terminal:
        terminal.expect("[n] refuse:")
        assert "+hello" in terminal.seen
        assert "\x1b[32m+hello\x1b[0m" in terminal.raw
        terminal.type("y\n")
        assert terminal.end() == 0
        assert "  landed: greeting.txt" in terminal.seen
    assert (workspace / "greeting.txt").read_text() == "hello\n"


def test_no_colours_where_nobody_wants_them(
    at_terminal: Any, serve: Any, mending: Any, workspace: Path
) -> None:
    words = ["agent", "run", "mend it", workspace, "--model", serve(*mending).url, "--verify", VERIFY]
    with at_terminal([*words, "--land", "no"], workspace.parent, NO_COLOR="1") as terminal:
        assert terminal.end() == 0
        assert "\n+hello\n" in terminal.seen
        assert "\x1b[3" not in terminal.raw


@pytest.mark.parametrize("stalled", ["model", "command", "approval"])
def test_ctrl_c_stops_and_the_session_goes_on_later(
    stalled: str, at_terminal: Any, serve: Any, mending: Any, weft: Any, workspace: Path
) -> None:
    first, rest, sign = {
        "model": ([reply("I think about it", stall_after=2)], mending, "I think about"),
        "command": (
            [reply("I wait.", ScriptedCall("run_command", {"command": "sleep $(cat pause)"}))],
            mending,
            "running run_command",
        ),
        "approval": (mending, [], "[n] refuse:"),
    }[stalled]
    (workspace / "pause").write_text("50")
    server = serve(*first)
    words = ["agent", "run", "mend it", workspace, "--model", server.url, "--verify", VERIFY]
    with at_terminal(words, workspace.parent) as terminal:
        terminal.expect(sign)
        terminal.interrupt()
        assert terminal.end() == 130
        found = re.search(r"interrupted; `weft agent resume (\w{26})` goes on with it", terminal.seen)
    assert found, terminal.seen
    (one,) = [json.loads(line) for line in weft("sessions --json").out.splitlines()]
    assert (one["id"], one["status"]) == (found[1], "ok" if stalled == "approval" else "open")
    (workspace / "pause").write_text("0")
    done = weft("resume", found[1], "--model", serve(*rest).url, "--land", "yes")
    assert (done.code, done.err) == (0, "")
    assert (workspace / "greeting.txt").read_text() == "hello\n"


def test_a_conversation_at_a_terminal(at_terminal: Any, serve: Any, mending: Any, workspace: Path) -> None:
    stalls = reply("I wonder about", stall_after=2)
    url = serve(stalls, *mending).url
    with at_terminal(
        ["agent", "chat", workspace, "--model", url, "--verify", VERIFY], workspace.parent
    ) as terminal:
        terminal.expect("> ")
        terminal.type("mend it\n")
        terminal.expect("I wonder")
        terminal.interrupt()
        terminal.expect("stopped; say what to do instead")
        terminal.type("go on\n")
        terminal.expect("verified: ")
        terminal.type("/land\n")
        terminal.expect("[n] refuse:")
        terminal.type("n\n")
        terminal.expect("denied: land")
        terminal.type("/quit\n")
        assert terminal.end() == 0
    assert (workspace / "greeting.txt").read_text() == "helo\n"


def test_the_session_of_the_docs(at_terminal: Any, tmp_path: Path) -> None:
    """The page's first block that begins with a command of weft is what a person sees and types."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    block = re.search(r"^```text\n\$ weft ([^\n]+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert block
    with at_terminal(shlex.split(block[1]), tmp_path) as terminal:
        terminal.expect("[n] refuse:")
        terminal.type("y\n")
        assert terminal.end() == 0
        shown = terminal.seen.replace(str(tmp_path), "/home/ann/work")
    expected = re.escape(block[2]).replace(r"\.\.\.", r"[\w.-]+")
    assert re.fullmatch(expected, shown), shown
