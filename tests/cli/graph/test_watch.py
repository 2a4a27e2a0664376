"""`weft graph watch` in a process of its own: what others write, and resumed at any event."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from weft.graph import Edge, EdgeType, Graph, Node, NodeRef, NodeType

TYPES = [
    NodeType("account", properties={"name": str, "raw": bytes}),
    NodeType("title"),
    EdgeType("watched", "account", "title", properties={"device": str}),
]


@contextmanager
def watching(folder: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "weft", "graph", "watch", "--data", str(folder), *options]
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
    found: dict[str, Any] = json.loads(process.stdout.readline())
    return found


def news(process: subprocess.Popen[str]) -> dict[str, Any]:
    while (found := event(process))["heartbeat"]:
        pass
    return found


def test_writes_of_another_process_are_followed_and_resumed(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "g", TYPES) as graph:
        with watching(tmp_path / "g", "--json") as process:
            begin = event(process)
            assert begin["heartbeat"]
            graph.put([Node("account", "ann", {"raw": b"\xff"})], [Edge("watched", "ann", "Dune")])
            found = [news(process), news(process)]
            assert [one["now"]["type"] for one in found] == ["account", "watched"]
            assert found[0]["now"]["properties"] == {"raw": "/w=="}
            graph.delete([NodeRef("account", "ann")])
            assert news(process)["removed"] == {"type": "account", "id": "ann"}
            process.send_signal(signal.SIGINT)
            process.wait(timeout=20)
            assert process.returncode == 130
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()
        with watching(tmp_path / "g", "--after", begin["cursor"], "--type", "watched", "--json") as process:
            assert news(process)["removed"] == {"type": "watched", "source": "ann", "target": "Dune"}


def test_people_see_lines_and_signs_of_life(tmp_path: Path) -> None:
    graph = Graph.open(tmp_path / "g", TYPES)
    with graph, watching(tmp_path / "g", "--heartbeat-s", "0.05") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        begin = process.stderr.readline()
        assert begin.startswith("nothing new up to ")
        graph.put([Node("account", "ann", {"name": "A\x1b[2Jnn"})], [Edge("watched", "ann", "Dune")])
        assert process.stdout.readline() == "now      account:ann name=A\\x1b[2Jnn\n"
        assert process.stdout.readline() == "now      ann -watched-> Dune\n"
        graph.delete([NodeRef("account", "ann")])
        assert process.stdout.readline() == "removed  account:ann\n"
        assert process.stdout.readline() == "removed  ann -watched-> Dune\n"
        process.send_signal(signal.SIGINT)
        process.wait(timeout=20)
        assert "to go on from here: --after " in process.stderr.read()


def test_mistakes_say_what_to_do(graph: Any) -> None:
    done = graph("watch --after yesterday")
    assert (done.code, "`yesterday` is no cursor of a watch" in done.err) == (2, True)
    done = graph("watch --type likes")
    assert (done.code, "name some of account, title, watched" in done.err) == (2, True)
    assert graph("watch --data nowhere").code == 2
