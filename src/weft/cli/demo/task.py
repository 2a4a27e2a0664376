"""Act 3: the agent makes a failing test pass in a sandboxed copy, within rights that it cannot widen."""

from __future__ import annotations

import csv
import getpass
import json
import shlex
import shutil
import sys
from importlib import resources
from pathlib import Path

from weft.agent import Agent, RunResult
from weft.agent.events import AnyEvent, ModelReplied, SessionStarted, ToolFinished, Verified
from weft.cli.demo.screen import Screen
from weft.cli.demo.stores import Stores
from weft.core.errors import Unavailable
from weft.graph import Graph
from weft.integrations.policy import AuthzPolicy
from weft.integrations.repository.tree import check_out

FOLDER = "weft_demo"
TEST = f"{FOLDER}/test_busiest.py"
_TASK = f"make the failing test pass: {FOLDER}/busiest.py must rank files as the graph does"


def play(
    screen: Screen, stores: Stores, repository: Path, busiest: list[tuple[str, int]], model: str | None
) -> RunResult:
    """Check the repository out, plant a bug and a test that fails over this repository's own figures, and let
    the agent find it. The person's repository is not touched."""
    workspace = stores.folder / "workspace"
    prepare(repository, workspace)
    plant(stores.graph, workspace / FOLDER, busiest)
    policy = AuthzPolicy(stores.authz, stores.folder.name)
    user = f"user:{getpass.getuser()}"
    policy.grant(user, "reader", "writer", "runner", "lander")
    policy.freeze(TEST)

    def on_event(event: AnyEvent) -> None:
        if isinstance(event, SessionStarted):
            policy.grant(f"session:{event.session}", "reader", "writer", "runner")
        _show(screen, event)

    with resources.as_file(resources.files(__package__) / "planted" / "session.json") as script:
        agent = Agent.open(
            workspace,
            model=model or f"scripted:{script}",
            policy=policy,
            session_store=stores.sessions,
            user=user,
            on_event=on_event,
            verify=f"{shlex.quote(sys.executable)} -P -m unittest discover -s {FOLDER}",
        )
        if agent.model.scripted:
            screen.say(
                "a script speaks for the model; tools, rights and sandbox are real",
                lead="offline",
                style="yellow",
            )
        result = agent.run(_TASK)
    screen.show_diff(result.diff)
    phases = [(phase, f"{seconds * 1_000:,.0f} ms") for phase, seconds in result.timings.items()]
    screen.table("time per phase", ("phase", "time"), phases)
    return result


def prepare(repository: Path, workspace: Path) -> None:
    """The files of HEAD in a fresh folder, whatever is uncommitted in the repository."""
    shutil.rmtree(workspace, ignore_errors=True)
    try:
        workspace.mkdir()
        check_out(repository, workspace, leave_out=FOLDER)
    except OSError as error:
        raise Unavailable(
            f"cannot check out `{repository}` into `{workspace}`: {error.strerror}",
            hint="make room there, or name another data folder",
        ) from error


def plant(graph: Graph, folder: Path, busiest: list[tuple[str, int]]) -> None:
    """The task: the changes of the busiest files, what the graph answered about them, code and test."""
    folder.mkdir()
    for name in ("busiest.py", "test_busiest.py"):
        source = resources.files(__package__) / "planted" / f"{name}.txt"
        (folder / name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    edges = graph.start("file", [file for file, _ in busiest]).in_("changed").edges()
    with (folder / "changes.csv").open("w", newline="", encoding="utf-8") as changes:
        csv.writer(changes).writerows((edge.source, edge.target) for edge in edges)
    (folder / "answered_by_graph.json").write_text(json.dumps(busiest), encoding="utf-8")


def _show(screen: Screen, event: AnyEvent) -> None:
    match event:
        case ModelReplied() if event.text:
            screen.say(event.text, lead="agent", style="cyan")
        case ToolFinished(outcome="denied"):
            screen.say(f"{event.tool}: {event.output.strip()}", lead="denied", style="red")
        case ToolFinished(command=command) if command is not None:
            denied = f"; the sandbox refused {command.denied[0]}" if command.denied else ""
            screen.say(f"{event.tool}, exit {command.exit_code}{denied}", lead="  ran")
        case ToolFinished():
            screen.say(f"{event.tool} {', '.join(use.path for use in event.files)}", lead="  did")
        case Verified():
            style = "green" if event.ok else "yellow"
            screen.say(f"`{event.command}` ended with {event.exit_code}", lead="verified", style=style)
