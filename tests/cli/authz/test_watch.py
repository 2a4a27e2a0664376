"""`weft authz watch` in a process of its own: every commit once, in order, and resumed at any event."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weft.authz import Authz

SCHEMA = "definition user {} definition doc { relation reader: user }"


@contextmanager
def watching(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "weft", "authz", "watch", "--data", str(folder), *options]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "COLUMNS": "80"}
    ) as p:
        try:
            yield p
        finally:
            p.kill()


def event(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    while True:
        found: dict[str, Any] = json.loads(process.stdout.readline())
        if not found["heartbeat"]:
            return found


def test_commits_of_another_process_are_followed_and_resumed(tmp_path: Path) -> None:
    with Authz.open(str(tmp_path / "s")) as authz:
        authz.write_schema(SCHEMA)
        authz.write(touch=["doc:1#reader@user:ann", "doc:2#reader@user:ann"])
        with watching(tmp_path / "s", "--from", "earliest", "--json") as process:
            assert event(process)["schema"] == {"text": SCHEMA, "language": "zed"}
            first = event(process)
            assert [change["tuple"] for change in first["changes"]] == [
                "doc:1#reader@user:ann",
                "doc:2#reader@user:ann",
            ]
            authz.write(delete=["doc:1#reader@user:ann"])
            change = {"operation": "delete", "tuple": "doc:1#reader@user:ann"}
            second = event(process)
            assert second["changes"] == [change]
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
            assert process.returncode == 130
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
        with watching(tmp_path / "s", "--from", first["zookie"], "--json") as process:
            assert event(process) == second


def test_people_see_lines_and_signs_of_life(tmp_path: Path) -> None:
    with Authz.open(str(tmp_path / "s")) as authz:
        authz.write_schema(SCHEMA)
        authz.write(touch=["doc:1#reader@user:ann"])
    with watching(tmp_path / "s", "--from", "earliest", "--heartbeat-s", "0.05") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "schema  zed\n"
        assert process.stdout.readline() == "touch   doc:1#reader@user:ann\n"
        assert process.stderr.readline().startswith("nothing new up to ")


def test_a_moment_that_is_none_is_refused(store: Any) -> None:
    done = store("watch --from yesterday")
    assert (done.code, "`'yesterday'` is not a zookie" in done.err) == (2, True)
