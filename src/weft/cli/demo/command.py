"""`weft demo`: all three libraries on one real git repository, in four acts."""

from __future__ import annotations

import tempfile
import time
from json import dumps
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from weft.agent.sandbox import Sandbox
from weft.cli.demo import history, record, rights, task
from weft.cli.demo.screen import Screen
from weft.cli.demo.stores import Stores
from weft.core.errors import Invalid, WeftError
from weft.core.settings import load
from weft.graph.ingest.sources.git import GitSource
from weft.integrations.repository.tree import find_root


class Failed(WeftError):
    """The agent's task was not verified."""

    code = "demo_failed"


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one run; each was counted or timed in it."""

    repository: str
    commits_in_graph: int
    commits_read: int
    commits_per_s: int
    symbols: int
    relation_tuples_emitted: int
    guest_sees_files: int
    guest_sees_files_once_revoked: int
    agent_model: str
    agent_verified: bool
    agent_steps: int
    tool_calls: int
    accesses_denied: int
    seconds: float
    data: str


def demo(
    repository: Annotated[Path, typer.Argument(help="A git repository.")] = Path("."),
    data: Annotated[Path | None, typer.Option(help="Where to keep the data of the demo.")] = None,
    model: Annotated[str | None, typer.Option(help="The agent's model; without one a script speaks.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print nothing but the summary, as JSON.")] = False,
) -> None:
    """Take a git repository through graph, permissions and agent; a rerun goes on behind what was read."""
    settings = load(flags={"data": data, "agent": {"model": model}})
    root = _checked(repository)
    screen = Screen(quiet=json)
    summary = _play(screen, root, settings.data.resolve(), settings.agent.model)
    if json:
        print(dumps(msgspec.structs.asdict(summary)))
    figures = [(name.replace("_", " "), value) for name, value in msgspec.structs.asdict(summary).items()]
    screen.table("summary", ("what", "figure"), figures)
    screen.say("Next: README.md has three ten-line sessions; ARCHITECTURE.md tells how it works.")
    if not summary.agent_verified:
        raise Failed("the agent did not make the test pass", hint="its session is in the data folder")


def _checked(repository: Path) -> Path:
    """The repository's root. What is wrong with it, or with this host, is said before any work is done."""
    GitSource(repository).pending({})
    with tempfile.TemporaryDirectory() as empty:
        Sandbox.open(empty).close()
    return find_root(repository)


def _play(screen: Screen, root: Path, data: Path, model: str | None) -> Summary:
    began_s = time.monotonic()
    stores = Stores.open(data, root)
    with stores.opened:
        screen.act(1, "history and code become a live graph")
        first = history.play(screen, stores, root)
        if not first.busiest:
            raise Invalid(f"no commit of `{root}` changes a file", hint="name a repository with a history")
        screen.act(2, "permissions follow from the history")
        second = rights.play(screen, stores, first.busiest[0][0])
        screen.act(3, "the agent mends a failing test in a sandbox")
        third = task.play(screen, stores, root, first.busiest, model)
        screen.act(4, "the graph is asked what the agent did")
        fourth = record.play(screen, stores, third)
    return Summary(
        repository=str(root),
        commits_in_graph=first.commits,
        commits_read=first.history.events,
        commits_per_s=round(first.history.rate_per_s),
        symbols=first.symbols,
        relation_tuples_emitted=first.history.relations,
        guest_sees_files=second.seen_before,
        guest_sees_files_once_revoked=second.seen_after,
        agent_model=third.model,
        agent_verified=third.ok,
        agent_steps=third.steps,
        tool_calls=fourth.tool_calls,
        accesses_denied=fourth.denied,
        seconds=round(time.monotonic() - began_s, 1),
        data=str(stores.folder),
    )
