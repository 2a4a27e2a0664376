"""What a command lacked is asked about in a conversation, and told where nobody is there."""

import getpass
import json
from pathlib import Path
from typing import Any

import pytest

from weft.agent.models.scripted import ScriptedCall
from weft.agent.policy import Access, Ask, Deny, Question, Resource, RulePolicy
from weft.authz import Authz
from weft.cli.agent.permissions import Apart
from weft.integrations.policy import SCHEMA, AuthzPolicy
from weft.testing.model_server import reply

pytestmark = pytest.mark.sandbox

DONE = reply("Done.")


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    """A file that no sandbox shows."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "figures.csv").write_text("a,1\n")
    return tmp_path / "data" / "figures.csv"


@pytest.fixture
def chat(weft: Any, workspace: Path, serve: Any, figures: Path) -> Any:
    """Says these lines while the model looks at the figures so many times."""

    def talk(*lines: str, times: int = 1) -> Any:
        look = reply("", ScriptedCall("run_command", {"command": f"cat {figures}"}))
        again = reply("", ScriptedCall("run_command", {"command": f"cat  {figures} | head -1"}))
        url = serve(*[look, again][:times], DONE).url
        return weft(
            "chat", workspace, "--model", url, "--verify", "true", stdin="".join(f"{x}\n" for x in lines)
        )

    return talk


@pytest.mark.parametrize(
    ("answers", "times", "asked", "read"),
    [
        (["n"], 1, 1, 0),
        (["y", "n"], 2, 2, 1),
        (["s"], 2, 1, 2),
        (["o", "n"], 2, 2, 1),
        (["what?", "", "s"], 1, 3, 1),
        ([], 1, 1, 0),
    ],
    ids=["skip", "once", "session", "outside", "unclear", "end of input"],
)
def test_each_answer_has_its_effect(
    chat: Any, weft: Any, answers: list[str], times: int, asked: int, read: int
) -> None:
    done = chat("look at the figures", *answers, times=times)
    assert done.code == 0
    assert done.out.count("May it see `") == asked
    assert "[y] once, [s] for the session, [o] run it outside the sandbox, [n] refuse:" in done.out
    assert weft("show last --full").out.count("    a,1\n") == read


def test_what_runs_outside_for_the_session_is_told_what_that_means(
    weft: Any, workspace: Path, serve: Any
) -> None:
    reach = reply("", ScriptedCall("run_command", {"command": "curl http://127.0.0.1:9/x"}))
    url = serve(reach, DONE).url
    done = weft("chat", workspace, "--model", url, "--verify", "true", stdin="fetch it\nn\n")
    assert "May it run `curl http://127.0.0.1:9/x` outside the sandbox, with your rights" in done.out
    assert (
        "it lacked the network (127.0.0.1)? [y] once, [s] for the session, whatever its files then say,"
        in done.out
    )
    assert "  a person denied: run outside curl http://127.0.0.1:9/x" in done.out


def test_where_nobody_is_there_it_is_an_event_and_the_exit_status_is_the_tasks(
    do: Any, mending: Any, figures: Path, workspace: Path
) -> None:
    look = reply("", ScriptedCall("run_command", {"command": f"cat {figures}"}))
    told = do(look, *mending)
    assert told.code == 0
    assert "nobody was there to be asked: at a terminal you are" in told.out
    assert f"  the policy denied: see {figures} (needs a person's consent" in told.out
    done = do(look, DONE, options=("--json", "--steps", "2"))
    assert done.code == 1
    events = [json.loads(line) for line in done.out.splitlines()]
    denied = [event for event in events if event["type"] == "decided" and event["effect"] == "deny"]
    assert denied[0]["access"] == {"action": "see", "resource": {"kind": "place", "name": str(figures)}}
    assert (denied[0]["asked"], denied[0]["answer"]) == (True, None)


def test_a_person_is_asked_only_for_what_is_theirs_to_give(chat: Any, tmp_path: Path, figures: Path) -> None:
    me = f"user:{getpass.getuser()}"
    with Authz.open(str(tmp_path / ".weft" / "authz")) as authz:
        authz.write_schema(SCHEMA)
        AuthzPolicy(authz, "greeter").grant(me, "reader", "writer", "runner")
    assert "May it" not in chat("look").out
    with Authz.open(str(tmp_path / ".weft" / "authz")) as authz:
        authz.write(touch=[f"place:{figures.parent}#viewer@{me}"])
    asked = chat("look", "s").out
    assert "May it see `" in asked
    assert "[o]" not in asked


def test_a_schema_that_knows_less_than_the_agents_own_still_decides(do: Any, tmp_path: Path) -> None:
    older = SCHEMA[: SCHEMA.index("definition host")].replace("  relation outsider: user\n", "")
    with Authz.open(str(tmp_path / ".weft" / "authz")) as authz:
        authz.write_schema(older.replace("  permission run_outside = outsider & run\n", ""))
    done = do(options=("--steps", "2"))
    assert done.code == 1
    assert "may not read `greeting.txt`" in done.out


@pytest.mark.parametrize("name", ["elsewhere", "elsewhere/agent/x", "elsewhere/authz", "", "/"])
def test_wefts_own_data_is_never_seen(tmp_path: Path, name: str) -> None:
    own = Apart(RulePolicy(), tmp_path / "elsewhere", tmp_path / "work")
    access = Access("see", Resource("place", str(tmp_path / name)))
    assert isinstance(own.decide(Question("s", "ann", "run_command", access)), Deny)
    beside = Access("see", Resource("place", str(tmp_path / "elsewhere-not")))
    assert isinstance(own.decide(Question("s", "ann", "run_command", beside)), Ask)
    assert own.hidden("s", "ann") == []
