"""What sessions do not show: growing sources, permissions that jobs emit, bars, and many edges."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from weft.authz import Authz
from weft.cli.graph import ingest as ingesting
from weft.graph import Edge, Graph, Node

PLAY = '{{"at": "2026-01-02T{hour:02}:00:00Z", "account": "eve", "title": "{title}", "device": "tv"}}\n'


def until(condition: Any, timeout_s: float = 20) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_run_follows_its_sources_until_interrupted_and_goes_on(graph: Any, tmp_path: Path) -> None:
    jobs = (tmp_path / "jobs.py").read_text()
    (tmp_path / "both.py").write_text(jobs + jobs.replace("def plays", "def more"))
    plays, more = tmp_path / "plays.ndjson", tmp_path / "more.ndjson"
    more.write_text(PLAY.format(hour=1, title="Heat"))
    command = "-m weft graph run both.py plays=plays.ndjson more=more.ndjson --time at --every 0.01 --json"

    def watched(title: str) -> bool:
        with Graph.open(tmp_path / ".weft/graph") as opened:
            return "eve" in [one.id for one in opened.start("title", title).in_("watched").nodes()]

    for round_ in (1, 2):
        process = subprocess.Popen(
            [sys.executable, *command.split()],
            cwd=tmp_path,
            env={**os.environ, "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            try:
                until(lambda: watched("Heat"))
                for file, title in ((plays, f"Up {round_}"), (more, f"It {round_}")):
                    with file.open("a") as opened:
                        opened.write(PLAY.format(hour=1 + round_, title=title))
                    until(lambda title=title: watched(title))
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
            finally:
                process.kill()
        assert (process.returncode, err) == (130, "")
        reports = [json.loads(line) for line in out.splitlines()]
        assert [report["stream"].partition("/")[0] for report in reports] == ["plays", "more"]
        assert [report["events"] for report in reports] == ([1, 2] if round_ == 1 else [1, 1])


def test_a_job_that_fails_ends_the_run_and_keeps_what_was_read(graph: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.json.gz").write_bytes(b"\x1f\x8b not gzip")
    done = graph("run jobs.py plays=plays.ndjson plays=bad.json.gz --time at --every 0.01")
    assert done.code == 2
    assert "does not decompress" in done.err
    assert "plays.ndjson: 0 events" in done.out


def test_relation_tuples_of_a_job_go_to_the_permissions_beside_the_graph(files: Any, tmp_path: Path) -> None:
    (tmp_path / "rights.py").write_text(
        "from weft.graph import RelationWrite, job\n"
        "@job\n"
        "def rights(event):\n"
        "    yield RelationWrite(f\"title:{event.value['title']}#viewer@user:{event.value['account']}\")\n"
    )
    (tmp_path / "plays.ndjson").write_text(PLAY.format(hour=1, title="Heat"))
    assert files("init types.toml").code == 0
    for _ in range(2):
        refused = files("ingest rights.py plays.ndjson --time at")
        assert (refused.code, "emits relation tuples" in refused.err) == (2, True)
        Authz.open(str(tmp_path / ".weft/authz")).close()
    assert files("ingest jobs.py plays.ndjson --time at").code == 0
    refused = files("ingest rights.py plays.ndjson --time at --authz .weft/authz")
    assert (refused.code, "has no schema yet" in refused.err) == (2, True)
    for folder in (".weft/authz", "elsewhere"):
        with Authz.open(str(tmp_path / folder)) as authz:
            authz.write_schema("definition user {} definition title { relation viewer: user }")
    for option, folder in (("", ".weft/authz"), (" --authz elsewhere --data .weft/other", "elsewhere")):
        files("init types.toml --data .weft/other")
        done = files(f"ingest rights.py plays.ndjson --time at{option}")
        assert (done.code, done.err) == (0, "")
        with Authz.open(str(tmp_path / folder)) as authz:
            assert authz.check("title:Heat", "viewer", "user:eve")


@pytest.mark.parametrize("command", ["ingest jobs.py", "backfill jobs.py --rate 1000000"])
def test_progress_tells_what_is_read_and_what_is_to_come(
    files: Any, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[Any] = []

    class Bar:
        def __call__(self, what: str, total: None, unit: str, *, quiet: bool) -> "Bar":
            assert (what, unit, quiet) == ("plays", "events", False)
            return self

        def __enter__(self) -> Any:
            return lambda done, count, lag: told.append((done, count, lag))

        def __exit__(self, *exc_info: object) -> None: ...

    monkeypatch.setattr(ingesting, "progress", Bar())
    files("init types.toml")
    files(f"{command} plays.ndjson --time at")
    assert told[-1] == (4, 4, None)


def test_a_node_with_many_edges_shows_the_first(graph: Any, tmp_path: Path) -> None:
    with Graph.open(tmp_path / ".weft/graph") as opened:
        opened.put(
            [Node("account", "ann", {"age": 4})], [Edge("watched", "ann", f"t{at:02}") for at in range(30)]
        )
    done = graph("show account:ann")
    assert done.err == "the first 20 of each are shown; there are more of watched (out)\n"
    assert "  age = 4\n" in done.out
    assert done.out.count("watched") == 20
    told = json.loads(graph("show account:ann --json").out)
    assert (len(told["edges"]), told["complete"]) == (20, False)


def test_a_node_that_only_edges_know_of_is_shown(graph: Any, tmp_path: Path) -> None:
    with Graph.open(tmp_path / ".weft/graph") as opened:
        opened.put([], [Edge("watched", "kim", "Dune")])
    assert graph("show account:kim").out.splitlines()[0] == "account:kim"


def test_bytes_and_structures_are_shown(files: Any, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text('[node.file]\nproperties = { raw = "bytes", tags = "list" }\n')
    files("init t.toml")
    with Graph.open(tmp_path / ".weft/graph") as opened:
        opened.put([Node("file", "f", {"raw": b"\xff", "tags": ["a", 1]}, 0)])
    assert (
        files("traverse file").out.splitlines()[-1].endswith('1970-01-01T00:00:00Z   raw=/w==, tags=["a",1]')
    )
    assert json.loads(files("show file:f --json").out)["node"]["properties"] == {
        "raw": "/w==",
        "tags": ["a", 1],
    }
    asked = files("query 'MATCH (f:file) RETURN f.raw AS raw, f.tags AS tags, f.x'")
    assert asked.code == 2
    rows = files("query 'MATCH (f:file) RETURN f.raw AS raw, f.tags AS tags'")
    assert rows.out.splitlines()[-1].split() == ["/w==", '["a",1]']


def test_the_jobs_file_may_import_what_lies_beside_it_and_its_mistakes_have_a_line(
    files: Any, tmp_path: Path
) -> None:
    (tmp_path / "shared_names_of_this_test.py").write_text("NAME = 'plays'\n")
    text = (tmp_path / "jobs.py").read_text().replace("@job", "@job(NAME)")
    (tmp_path / "deep").mkdir()
    (tmp_path / "jobs.py").write_text("from shared_names_of_this_test import NAME\n" + text)
    files("init types.toml")
    before = list(sys.path)
    assert files("ingest jobs.py plays.ndjson --time at").code == 0
    assert sys.path == before
    (tmp_path / "deep/jobs.py").write_text("\n\nprint(1 / 0)\n")
    once = text.replace("NAME", "'a'")
    double = once + once.replace("def plays", "def more")
    (tmp_path / "none.py").write_text("x = 1\n")
    (tmp_path / "twice.py").write_text(double)
    for file, message in (
        ("deep/jobs.py", "`deep/jobs.py` does not run at line 3: ZeroDivisionError: division by zero"),
        ("none.py", "`none.py` defines no job; put @job from weft.graph above a function"),
        ("twice.py", "`twice.py` has two jobs named `a`"),
    ):
        done = files(f"ingest {file} plays.ndjson --time at")
        assert (done.code, message in done.err) == (2, True), done.err


def test_pages_go_on_with_their_token(graph: Any) -> None:
    walk = ("traverse", "account", "out:watched", "--page", "1", "--json")
    found, after = [], []
    for _ in range(3):
        *items, end = map(json.loads, graph(*walk, *after).out.splitlines())
        found += [item["item"]["id"] for item in items]
        after = ["--after", end["next"]]
        if end["next"] is None:
            break
    whole = graph("traverse account out:watched --json").out.splitlines()[:-1]
    assert found == [json.loads(line)["item"]["id"] for line in whole]
    assert len(found) == 2


def test_bench_times_a_traversal_from_drawn_nodes(graph: Any) -> None:
    done = graph("bench account out:watched --starts 20 --json")
    told = json.loads(done.out)
    assert told["traversals"] == 20
    assert 1.0 < told["nodes"] < 2.0, "ann watched one title, bob two"
    assert 0 < told["p50_us"] <= told["p95_us"] <= told["p99_us"]
    assert "p95" in graph("bench title in:watched --starts 3").out
    for words, message in (
        ("account:ann", "starts from one node"),
        ("account out:played", "no edge type `played`"),
    ):
        refused = graph(f"bench {words}")
        assert (refused.code, message in refused.err) == (2, True), refused.err


def test_bench_needs_nodes(files: Any) -> None:
    files("init types.toml")
    assert "the graph has no account" in files("bench account").err


def test_an_interrupted_ingest_says_that_it_goes_on(
    graph: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Graph, "ingest", interrupted)
        done = graph("ingest jobs.py plays.ndjson --time at")
    assert (done.code, done.out) == (130, "")
    assert done.err == "interrupted; what was read is written, and the same command goes on from there\n"


def test_letters_without_a_time_are_replayed_with_the_field_that_has_it(graph: Any, tmp_path: Path) -> None:
    (tmp_path / "more.ndjson").write_text(PLAY.format(hour=1, title="Heat") + "no JSON\n")
    done = graph("ingest jobs.py more.ndjson --time when")
    assert (done.code, "2 dead letters" in done.out) == (2, True)
    assert "none of the 2 events of `plays/" in done.err
    assert "see `weft graph dead-letters list plays` for the reasons" in done.err
    assert graph("dead-letters replay fixed.py").out == "1 passed, 2 are left\n"
    done = graph("dead-letters replay fixed.py --time at")
    assert (done.code, done.out) == (1, "1 passed, 1 are left\n")
    assert "it has no event time" not in graph("dead-letters list plays").out
    assert "2026-01-02T01:00:00Z" in graph("show account:eve").out
