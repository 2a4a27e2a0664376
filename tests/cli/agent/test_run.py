"""`weft agent run` and `resume` against a model's server: output, exit status, budgets, errors, landing."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from weft.agent.models.protocol import Usage
from weft.agent.models.scripted import ScriptedCall
from weft.testing.model_server import refuse, reply


def session_in(out: str) -> str:
    found = re.search(r"session (\w{26})", out)
    assert found, out
    return found[1]


def test_a_task_is_done_before_ones_eyes_and_the_workspace_stays_as_it_was(do: Any, workspace: Path) -> None:
    done = do()
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[1] == "I look."
    assert lines[2].startswith("  read_file greeting.txt: ")
    assert lines[4].startswith("  edit_file greeting.txt: +1 -1, ")
    assert "+hello" in lines
    assert "-helo" in lines
    assert "done: verified" in lines
    assert f"  session {session_in(done.out)}: `weft agent show {session_in(done.out)}`" in lines
    assert "  changed in the copy, not landed: greeting.txt" in lines
    assert (workspace / "greeting.txt").read_text() == "helo\n"


def test_a_verified_change_lands_on_demand_and_an_undo_takes_it_back(
    do: Any, weft: Any, workspace: Path
) -> None:
    done = do(options=("--land", "yes"))
    assert done.code == 0
    assert "  landed: greeting.txt" in done.out.splitlines()
    assert (workspace / "greeting.txt").read_text() == "hello\n"
    assert weft("undo last --to 1").out.endswith("in the workspace: greeting.txt\n")
    assert (workspace / "greeting.txt").read_text() == "helo\n"


def test_an_undo_spares_what_a_person_did_since(do: Any, weft: Any, workspace: Path) -> None:
    assert do(options=("--land", "yes")).code == 0
    (workspace / "greeting.txt").write_text("good day\n")
    refused = weft("undo last")
    assert refused.code == 2
    assert "`greeting.txt` was changed by somebody else" in refused.err
    assert (workspace / "greeting.txt").read_text() == "good day\n"


def test_what_was_not_landed_lands_later(do: Any, weft: Any, workspace: Path) -> None:
    assert do().code == 0
    landed = weft("resume", "last", "--land", "yes", "--model", "chat:http://127.0.0.1:9/v1#none")
    assert (landed.code, landed.err) == (0, "")
    assert (workspace / "greeting.txt").read_text() == "hello\n"


def test_json_is_the_sessions_events_and_nothing_else(do: Any, weft: Any) -> None:
    done = do(options=("--json",))
    assert (done.code, done.err) == (0, "")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [event["number"] for event in events] == list(range(len(events)))
    assert [events[0]["type"], events[-1]["type"]] == ["session_started", "session_ended"]
    assert weft("show last --json").out == done.out


def test_what_is_not_verified_is_not_done(do: Any) -> None:
    done = do(reply("It is done, believe me."), reply("Really."), options=("--steps", "2"))
    assert done.code == 1
    assert "not verified: `grep -q hello greeting.txt` ended with 1" in done.out
    assert "not done: the budget of 2 steps is spent" in done.out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--steps", "1"), "the budget of 1 steps is spent"),
        (("--tokens", "30"), "the budget of 30 tokens is spent"),
        (("--usd", "1"), "the price of `chat:http://127.0.0.1:"),
        (("--time-s", "0"), "the budget of 0 s is spent"),
    ],
    ids=["steps", "tokens", "usd", "time"],
)
def test_a_budget_ends_the_session(do: Any, options: tuple[str, ...], reason: str) -> None:
    answers = [reply("", ScriptedCall("list_dir", {"path": "."}), usage=Usage(20, 15))] * 2
    done = do(*answers, options=options)
    assert done.code == 1
    assert f"not done: {reason}" in done.out


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (refuse(401, "no such key"), "no such key"),
        (refuse(404, "no such model"), "no such model"),
        (reply("I think about it", cut_after=2), "failed: peer closed connection"),
    ],
    ids=["401", "404", "cut"],
)
def test_an_error_of_the_models_side_is_told_and_the_session_kept(do: Any, answer: Any, said: str) -> None:
    done = do(answer)
    assert done.code == 2
    assert done.err.startswith("weft: ")
    assert said in done.err
    assert f"`weft agent resume {session_in(done.out)}` goes on with it" in done.out


@pytest.mark.slow  # it is asked again and again for some seconds
def test_a_server_that_is_not_there_is_told(weft: Any, workspace: Path) -> None:
    done = weft("run", "mend it", workspace, "--model", "http://127.0.0.1:9/v1#none")
    assert done.code == 2
    assert done.err.startswith("weft: the connection to `127.0.0.1:9` failed")


def test_without_a_model_it_says_how_to_have_one(
    weft: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("WEFT_MODEL_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    done = weft("run", "anything")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert not (tmp_path / ".weft").exists()
    for way in ("--model", "WEFT_MODEL_URL", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "weft.toml"):
        assert way in done.err


def test_a_plan_reads_only_and_another_run_acts_on_it(
    do: Any, weft: Any, serve: Any, mending: Any, workspace: Path
) -> None:
    write = reply("", ScriptedCall("write_file", {"path": "new.txt", "content": "x"}))
    planned = do(write, reply("1. Spell it right."), options=("--plan",))
    assert planned.code == 0
    assert "there is no tool `write_file`" in planned.out
    server = serve(*mending)
    acted = weft("run", "go", workspace, "--plan-from", "last", "--model", server.url, "--verify", "true")
    assert acted.code == 0
    assert "1. Spell it right." in server.requests[0].body["messages"][1]["content"]
    assert weft("run", "go", workspace, "--plan-from", "last", "--model", server.url).code == 2


def test_what_a_model_says_cannot_command_the_terminal(do: Any) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202egpj"
    done = do(reply(f"I look {evil}", ScriptedCall("read_file", {"path": evil})), options=("--steps", "2"))
    assert not set("\x1b\x07\u202e") & set(done.out)
    assert "\\x1b]0;owned\\x07\\x1b[2J\\u202egpj" in done.out


def test_a_secret_in_a_reply_is_not_shown(do: Any) -> None:
    pieces = reply("the key is sk-abcdefghijklmnopqrstuvwxyz then", chunks=(7,))
    done = do(pieces, options=("--steps", "1"))
    assert "the key is [secret removed] then" in done.out


def test_weft_own_data_in_the_workspace_is_out_of_reach(do: Any, weft: Any, workspace: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=workspace, check=True)
    reads = reply(
        "",
        ScriptedCall("read_file", {"path": ".weft/agent/data.mdb"}),
        ScriptedCall(
            "run_command", {"command": "ls -A .weft | wc -l; git status --short; echo > .weft/mine"}
        ),
        ScriptedCall("write_file", {"path": ".weft/authz/data.mdb", "content": "rights"}),
    )
    done = do(reads, options=("--steps", "1", "--data", workspace / ".weft"))
    assert (workspace / ".weft" / "agent").is_dir()
    assert "read_file .weft/agent/data.mdb: denied" in done.out
    assert "write_file .weft/authz/data.mdb: denied" in done.out
    shown = weft("show", "last", "--data", workspace / ".weft").out
    assert "cannot open directory '.weft': Permission denied\n    0\n" in shown
    assert "\n    ?? greeting.txt\n" in shown
    assert not (workspace / ".weft" / "mine").exists()


def test_auto_asks_the_models_of_the_settings(
    do: Any, serve: Any, weft: Any, workspace: Path, tmp_path: Path
) -> None:
    refused = do(options=("--auto",))
    assert refused.code == 2
    assert "auto = [" in refused.err
    weak, strong = serve(reply("Hello.")), serve(reply("Hello."))
    (tmp_path / "weft.toml").write_text(f'[agent]\nauto = ["{weak.url}", "{strong.url}"]\n')
    done = weft("run", "say hello", workspace, "--auto", "--plan")
    assert done.code == 0
    assert len(weak.requests) + len(strong.requests) == 1
    assert re.search(r"^  \w+: chat:http", done.out, re.MULTILINE)


def test_mcp_servers_come_from_a_file(do: Any, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"far": {"url": "https://mcp.example.org/mcp"}}}')
    done = do(reply("Yes."), options=("--mcp", file, "--steps", "1"))
    assert "the policy denied: connect mcp.example.org" in done.out
    file.write_text('{"mcpServers": {"gone": {"command": "no-such-program"}}}')
    left_out = do(reply("Yes."), options=("--mcp", file, "--steps", "1"))
    assert "  without the MCP server gone: " in left_out.out
    file.write_text('{"mcpServers": {"both": {"url": "https://a", "command": "b"}}}')
    assert "has not one way to reach it" in do(reply("Yes."), options=("--mcp", file)).err
    file.write_text("[]")
    assert "does not name MCP servers" in do(reply("Yes."), options=("--mcp", file)).err


@pytest.mark.parametrize(
    "option", [("--plan", "--plan-from", "last"), ("--steps", "0")], ids=["plans", "steps"]
)
def test_options_that_make_no_sense_are_refused(do: Any, option: tuple[str, ...]) -> None:
    assert do(reply("Yes."), options=option).code == 2
