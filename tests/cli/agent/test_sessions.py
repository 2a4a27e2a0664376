"""`weft agent sessions`, `show`, `fork` and `export` over sessions that were really run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from weft.testing.model_server import reply


def test_sessions_are_listed_newest_first_with_filters(do: Any, weft: Any, workspace: Path) -> None:
    do()
    do(reply("No."), options=("--steps", "1"), task="something else")
    rows = weft("sessions").out.splitlines()[2:]
    assert [re.split(r"  +", row.strip())[2:5] for row in rows] == [
        ["something else", "failed", "1"],
        ["mend the greeting", "ok", "3"],
    ]
    listed = [json.loads(line) for line in weft("sessions --json").out.splitlines()]
    assert [one["status"] for one in listed] == ["failed", "ok"]
    assert len(weft("sessions --state ok --json").out.splitlines()) == 1
    assert len(weft("sessions --task SOMETHING --json").out.splitlines()) == 1
    assert len(weft("sessions", "--workspace", workspace, "--json").out.splitlines()) == 2
    assert weft("sessions --workspace / --json").out == ""
    limited = weft("sessions --limit 1")
    assert len(limited.out.splitlines()) == 3
    assert limited.err == "there are more; --limit 2 shows them\n"


def test_show_tells_replies_calls_decisions_and_diffs(do: Any, weft: Any) -> None:
    do()
    lines = weft("show last").out.splitlines()
    assert "I mend it." in lines
    assert "  the policy allowed: write greeting.txt (inside the workspace)" in lines
    assert "    +hello" in lines
    assert lines[-2:] == ["-helo", "+hello"]


def test_a_fork_goes_on_by_itself(do: Any, weft: Any, serve: Any, mending: Any, workspace: Path) -> None:
    do()
    forked = json.loads(weft("fork last --at 3 --json").out)
    done = weft("resume", forked["session"], "--model", serve(*mending[1:]).url, "--land", "yes")
    assert done.code == 0
    assert (workspace / "greeting.txt").read_text() == "hello\n"
    states = [json.loads(line) for line in weft("sessions --json").out.splitlines()]
    assert [(one["because"], one["landed"]) for one in states] == [("fork", True), (None, False)]
    assert weft("fork last --at 999").code == 2


@pytest.mark.parametrize(("form", "lines"), [("chat", 1), ("atif", 1), ("triples", 1), ("steps", 3)])
def test_sessions_are_exported_in_four_formats(
    do: Any, weft: Any, tmp_path: Path, form: str, lines: int
) -> None:
    do()
    done = weft("export", "last", "--format", form)
    assert [type(json.loads(line)) for line in done.out.splitlines()] == [dict] * lines
    told = weft("export", "--format", form, "-o", "out.jsonl")
    assert told.out == f"{lines} lines from 1 sessions\n"
    assert (tmp_path / "out.jsonl").read_text() == done.out


def test_an_export_that_fails_leaves_no_file(do: Any, weft: Any, tmp_path: Path) -> None:
    do()
    assert weft("export last nonsense -o out.jsonl").code == 2
    assert weft("export last -o nowhere/out.jsonl").err.startswith("weft: cannot write `nowhere/out.jsonl`")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("command", ["sessions", "show last", "undo last", "resume last", "export"])
def test_looking_makes_no_data_folder(weft: Any, tmp_path: Path, command: str) -> None:
    assert weft(command).err == "weft: there are no sessions in `.weft`; name the data folder with --data\n"
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_told(do: Any, weft: Any) -> None:
    do()
    assert weft("show 01m827d8h4cvfjpbrah61y6fwc").err.startswith("weft: there is no session")
    assert weft("undo last --to 9").err.startswith("weft: there is no step after 9 to undo")
    assert weft("sessions --state asleep").err.startswith("weft: `asleep` is no state of a session")
