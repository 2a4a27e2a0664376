"""Commands are loaded when they are run: help stays quick, and every command is really there."""

import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from weft.cli import main
from weft.cli.agent import app as agent
from weft.cli.authz import app as authz
from weft.cli.graph import app as graph
from weft.cli.lazy import Entry, lazy_group
from weft.cli.sandbox import app as sandbox

COMMANDS = [(name,) for name in main.COMMANDS] + [("authz", name) for name in authz.COMMANDS]
COMMANDS += [("graph", name) for name in graph.COMMANDS] + [("agent", name) for name in agent.COMMANDS]
COMMANDS += [("sandbox", name) for name in sandbox.COMMANDS]
NESTED = [("authz", "schema", name) for name in ("write", "read", "diff", "check")]
NESTED += [("graph", "dead-letters", name) for name in ("list", "show", "replay")]
GROUPS = ("agent", "authz", "graph", "sandbox", "schema", "dead-letters")


@pytest.mark.parametrize(
    "words",
    [["--help"], ["authz", "--help"], ["graph", "--help"], ["agent", "--help"], ["--version"]],
    ids=" ".join,
)
def test_help_loads_no_library(words: list[str]) -> None:
    probe = (
        "import sys; from weft.cli.main import main\n"
        f"sys.argv = ['weft', *{words!r}]\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert (
        not {"weft.authz", "weft.graph", "weft.agent", "weft.core.settings", "fastapi", "yaml", "lmdb"}
        & loaded
    )
    assert "weft.cli.main" in loaded


@pytest.mark.parametrize("command", [*COMMANDS, *NESTED], ids=" ".join)
def test_every_command_in_the_list_can_be_run(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main.app, [*command, "-h"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    assert f"Usage: root {' '.join(command)}" in done.output or f"weft {' '.join(command)}" in done.output


@pytest.mark.parametrize(
    "command",
    [c for c in [*COMMANDS, *NESTED] if c[0] in GROUPS and c[-1] not in GROUPS],
    ids=" ".join,
)
def test_every_command_of_a_noun_has_an_example_and_stays_short(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main.app, [*command, "-h"], env={"COLUMNS": "200"})
    assert f"Example: weft {' '.join(command)}" in done.output
    assert len(done.output.splitlines()) < 40


@pytest.mark.parametrize("command", [*COMMANDS, *NESTED], ids=" ".join)
def test_help_shows_brackets_as_they_are_written(command: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main.app, [*command, "-h"], env={"COLUMNS": "200"})
    assert "\\" not in done.output
    if command == ("graph", "init"):
        assert "Tables [node.NAME] and [edge.NAME]." in done.output


def test_a_mistyped_command_is_told_the_nearest() -> None:
    done = CliRunner().invoke(main.app, ["authz", "chekc"])
    assert done.exit_code == 2
    assert "check" in done.output


def test_only_the_command_that_is_run_is_imported() -> None:
    entries = {
        "there": Entry("weft.cli.authz.stats:stats", "Is there."),
        "gone": Entry("weft.no_such_module:command", "Is not."),
    }
    app = typer.Typer(cls=lazy_group(entries))
    app.callback()(lambda: None)
    listed = CliRunner().invoke(app, ["--help"])
    assert "Is not." in listed.output
    assert CliRunner().invoke(app, ["there", "--help"]).exit_code == 0
    assert isinstance(CliRunner().invoke(app, ["gone", "--help"]).exception, ModuleNotFoundError)
