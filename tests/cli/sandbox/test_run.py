"""`weft sandbox run`: output, exit codes, what changed and whether it stays."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.sandbox, pytest.mark.usefixtures("workspace")]
CHANGING = "echo three >> a.txt; rm b.txt; echo c > c.txt; echo done; exit 7"


def test_output_exit_code_and_changes_are_told_and_thrown_away(weft: Any, workspace: Path) -> None:
    done = weft("run", "--", "sh", "-c", CHANGING)
    assert (done.code, done.out) == (7, "done\n")
    assert done.err.splitlines() == [
        "  modified a.txt +1 -0",
        "  deleted b.txt +0 -1",
        "  added c.txt +1 -0",
        "3 files changed: thrown away; --keep writes them",
    ]
    assert (workspace / "a.txt").read_text() == "one\ntwo\n"
    assert sorted(path.name for path in workspace.iterdir()) == ["a.txt", "b.txt"]


def test_kept_changes_are_in_the_workspace(weft: Any, workspace: Path) -> None:
    done = weft("run", "--keep", "--", "sh", "-c", CHANGING)
    assert done.code == 7
    assert done.err.splitlines()[-1] == "3 files changed: kept"
    assert (workspace / "a.txt").read_text() == "one\ntwo\nthree\n"
    assert sorted(path.name for path in workspace.iterdir()) == ["a.txt", "c.txt"]


def test_what_was_half_done_at_the_timeout_is_not_kept(weft: Any, workspace: Path) -> None:
    done = weft("run", "--keep", "--timeout", "0.2", "--", "sh", "-c", "echo half > a.txt; sleep 60")
    assert done.code == 124
    assert done.err.startswith("the time of 0.2 s was over\n")
    assert (workspace / "a.txt").read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    ("command", "code"), [("true", 0), ("false", 1), ("kill -9 $$", 137), ("exit 126", 126), ("nowhere", 127)]
)
def test_the_exit_code_is_the_commands(weft: Any, command: str, code: int) -> None:
    assert weft("run", "--", "sh", "-c", command).code == code


def test_a_refused_access_is_told(weft: Any) -> None:
    done = weft("run", "--", "cat", "/etc/shadow")
    assert done.code == 1
    assert done.err.startswith(
        "the sandbox seems to have refused path: cat: /etc/shadow: Permission denied; "
        "write in the workspace or in /tmp, or run with --provider unconfined\n"
    )
    assert weft("run --provider unconfined -- true").code == 0


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            "cat /srv/nowhere/x",
            "the sandbox does not show `/srv/nowhere/x`; copy it into the workspace, or run with",
        ),
        (
            "echo 'curl: (6) Could not resolve host: a.b'; exit 6",
            "Could not resolve host: a.b; fetch it beforehand",
        ),
        ("unshare -r true", "the sandbox seems to have refused call: unshare"),
    ],
)
def test_what_a_command_lacked_is_told_with_a_way_to_it(weft: Any, command: str, said: str) -> None:
    assert said in weft("run", "--", "sh", "-c", command).err
    told = json.loads(weft("run", "--json", "--", "sh", "-c", command).out)
    assert [denied["kind"] for denied in told["denied"]] in (["place"], ["network"], ["call"])
    assert said not in weft("run", "--provider", "unconfined", "--", "sh", "-c", command).err


def test_json_is_one_line_with_everything(weft: Any) -> None:
    done = weft("run", "--json", "--", "sh", "-c", CHANGING)
    told = json.loads(done.out)
    assert done.code == told["exit_code"] == 7
    assert (told["output"], told["omitted_bytes"], told["timed_out"]) == ("done\n", 0, False)
    assert told["changes"][0] == {"path": "a.txt", "kind": "modified", "added": 1, "removed": 0}
    assert told["kept"] is False
    assert done.err == ""


def test_long_output_is_cut_in_the_middle_and_characters_stay_whole(weft: Any) -> None:
    code = "import sys; sys.stdout.write('é' * 200_000 + 'x' * 1_000_000 + 'end')"
    done = weft("run", "--", sys.executable, "-c", code)
    assert done.out.startswith("é" * 200_000 + "x")
    assert "�" not in done.out
    assert re.search(r"\n\[\.\.\. \d+ bytes omitted \.\.\.\]\n", done.out)
    assert done.out.endswith("xend")


def test_memory_is_bounded(weft: Any) -> None:
    code = "bytearray(300 << 20)"
    assert weft("run", "--", sys.executable, "-c", code).code == 0
    done = weft("run", "--memory", "128M", "--", sys.executable, "-c", code)
    assert done.code == 1
    assert "MemoryError" in done.out


@pytest.mark.parametrize("size", ["", "0", "-1", "2T", "1.5G", "M"])
def test_a_size_that_is_none_is_refused(weft: Any, size: str) -> None:
    done = weft("run", f"--memory={size}", "--", "true")
    assert done.code == 2
    assert done.err.startswith(f"weft: `{size}` is no size; ")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "1e9"])
def test_a_time_that_is_none_is_refused(weft: Any, seconds: str) -> None:
    done = weft("run", f"--timeout={seconds}", "--", "true")
    assert done.code == 2
    assert done.err.startswith("weft: the timeout `")


def test_there_is_no_workspace(weft: Any) -> None:
    assert weft("run --workspace nowhere -- true").err.startswith("weft: there is no folder `nowhere`; ")


def test_a_workspace_that_changed_meanwhile_is_a_conflict(weft: Any, workspace: Path) -> None:
    done = weft(
        "run",
        "--provider",
        "unconfined",
        "--keep",
        "--",
        "sh",
        "-c",
        f"echo 1 > a.txt; echo 2 > {workspace}/a.txt",
    )
    assert (done.code, done.out) == (2, "")
    assert "was changed outside" in done.err
    assert (workspace / "a.txt").read_text() == "2\n"
