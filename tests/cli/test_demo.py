"""`weft demo` as people run it: on a real repository, killed, rerun, and given what it cannot use."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from weft import kv
from weft.authz import Authz
from weft.cli.demo.stores import Stores
from weft.graph import Graph
from weft.integrations.repository.types import TYPES
from weft.testing.git import Repository

pytestmark = pytest.mark.sandbox


def weft(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weft", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False, **options)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Repository(tmp_path_factory.mktemp("demo") / "repo")
    rng = random.Random(7)
    for number in range(30):
        name = f"{rng.choice('abc')}/{rng.choice('xyz')}.py"
        who = rng.choice(["ann", "bob", "eve"])
        made.commit({name: f"def f{number}():\n    return f{rng.randrange(number + 1)}()\n"}, who=who)
    made.many_commits(3_000)
    return made.folder


def content(folder: Path) -> tuple[list[Any], list[str]]:
    """Everything that history and code left in graph and authz, whatever the order of its arrival."""
    with Graph.open(str(folder / "graph")) as graph, Authz.open(str(folder / "authz")) as authz:
        items = [row for kind in TYPES for row in rows(graph, kind.name)]
        tuples = sorted(
            str(found)
            for name in ("file", "folder")
            for found in authz.read(object=name, limit=100_000).items
        )
    return items, tuples


def rows(graph: Graph, kind: str) -> Iterator[Any]:
    if kind in graph.schema.nodes:
        yield from sorted(
            (node.type, node.id, sorted(node.properties.items()), node.event_time_us)
            for node in graph.start(kind).nodes()
        )
    else:
        yield from sorted(
            (edge.type, edge.source, edge.target, sorted(edge.properties.items()), edge.event_time_us)
            for edge in graph.start(graph.schema.edge(kind).source).out(kind).edges()
        )


@pytest.fixture(scope="module")
def undisturbed(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    data = tmp_path_factory.mktemp("undisturbed")
    done = weft("demo", repository, "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary, Path(summary["data"])


def test_the_summary_tells_what_happened(undisturbed: tuple[dict[str, Any], Path]) -> None:
    summary, folder = undisturbed
    assert summary["commits_in_graph"] == summary["commits_read"] == 3_030
    assert summary["agent_verified"] is True
    assert summary["accesses_denied"] == 1
    assert summary["guest_sees_files"] > summary["guest_sees_files_once_revoked"] == 0
    with kv.open(str(folder / "sessions"), readonly=True) as log:
        assert log.scan_records("agent.events").records


def test_a_rerun_reads_nothing_twice_and_ends_the_same(
    repository: Path, undisturbed: tuple[dict[str, Any], Path]
) -> None:
    _, folder = undisturbed
    before = content(folder)
    done = weft("demo", repository, "--data", folder.parent.parent)
    assert done.returncode == 0, done.stderr
    assert "3,030 commits were there from an earlier run" in done.stdout
    assert "mends a failing test" in done.stdout
    assert content(folder) == before


@pytest.mark.slow
def test_killed_at_any_instant_and_run_again_it_ends_with_the_same_graph(
    repository: Path, undisturbed: tuple[dict[str, Any], Path], tmp_path: Path
) -> None:
    rng = random.Random(11)
    seconds, kills = undisturbed[0]["seconds"], 0
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-m", "weft", "demo", str(repository), "--data", str(tmp_path), "--json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not list(tmp_path.glob("demo/*")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.05, 0.6) * seconds)
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert kills, "no run lasted until it was killed"
    done = weft("demo", repository, "--data", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert content(Path(json.loads(done.stdout)["data"])) == content(undisturbed[1])


def test_the_repository_itself_is_not_touched(
    repository: Path, undisturbed: tuple[dict[str, Any], Path]
) -> None:
    status = subprocess.run(
        ["git", "-C", str(repository), "status", "--porcelain"], capture_output=True, text=True, check=True
    )
    assert status.stdout == ""
    assert not (repository / ".weft").exists()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.mkdir(), "is not a git repository"),
        (lambda path: None, "there is no directory"),
        (lambda path: path.write_text("x"), "is not a git repository"),
        (lambda path: subprocess.run(["git", "init", "-q", str(path)], check=True), "has no commits"),
    ],
    ids=["no-repository", "absent", "a-file", "empty"],
)
def test_what_is_no_repository_gets_one_line(make: Any, says: str, tmp_path: Path) -> None:
    make(tmp_path / "x")
    done = weft("demo", tmp_path / "x", "--data", tmp_path / "data")
    assert_refused(done, says)
    assert not (tmp_path / "data").exists(), "nothing is half-made"


def test_a_history_without_files_is_refused(tmp_path: Path) -> None:
    made = Repository(tmp_path / "x")
    made.git("commit", "--quiet", "--allow-empty", "--message", "nothing")
    assert_refused(weft("demo", tmp_path / "x", "--data", tmp_path / "d", "--json"), "changes a file")


def test_a_hostile_repository_is_shown_and_harmless(tmp_path: Path) -> None:
    """Links that lead away, filters, names that command a terminal, modules and a folder named like ours."""
    made, ran = Repository(tmp_path / "x"), tmp_path / "ran"
    made.git("config", "filter.x.smudge", f"touch '{ran}'; cat")
    (made.folder / "link").symlink_to("/etc/passwd")
    made.commit({"esc\x1b[31m.py": "1", ".gitattributes": "* filter=x", "unittest.py": "raise SystemExit(3)"})
    made.commit({"esc\x1b[31m.py": "2", "weft_demo/busiest.py": "raise SystemExit(4)"}, message="\x1b[2J")
    done = weft("demo", made.folder, "--data", tmp_path / "data")
    assert done.returncode == 0, done.stderr
    assert "esc\\x1b[31m.py" in done.stdout
    assert "\x1b" not in done.stdout
    assert not ran.exists()


def test_a_second_demo_in_the_same_folder_is_refused(repository: Path, tmp_path: Path) -> None:
    with Stores.open(tmp_path, repository).opened:
        assert_refused(weft("demo", repository, "--data", tmp_path, "--json"), "another demo is at work")


def test_a_data_folder_that_cannot_be_written_gets_one_line(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(weft("demo", repository, "--data", tmp_path / "file" / "data"), "cannot write to")
    with Stores.open(tmp_path, repository).opened:
        (lock,) = tmp_path.glob("demo/*/lock")
    lock.unlink()
    lock.mkdir()
    assert_refused(weft("demo", repository, "--data", tmp_path, "--json"), "cannot write to")


def test_a_host_without_user_namespaces_gets_one_line(repository: Path, tmp_path: Path) -> None:
    script = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    command = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh", sys.executable, "-m", "weft"]
    done = subprocess.run(
        [*command, "demo", str(repository), "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        },
    )
    assert_refused(done, "max_user_namespaces")
    assert not (tmp_path / "data").exists()


def assert_refused(done: subprocess.CompletedProcess[str], says: str) -> None:
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    assert done.stderr.startswith("weft: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
