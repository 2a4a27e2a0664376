"""The `weft` command: one module per noun; an error is one line on standard error and a non-zero exit."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

import weft
from weft.cli.lazy import Entry, lazy_group
from weft.cli.terminal import escaped
from weft.core.errors import WeftError

COMMANDS: Final = {
    "demo": Entry("weft.cli.demo.command:demo", "All three libraries on a real git repository."),
    "serve": Entry("weft.cli.serve:serve", "Serve permissions and graph over HTTP."),
    "agent": Entry("weft.cli.agent.app:app", "A coding agent: tasks, conversations, sessions, undo."),
    "sandbox": Entry("weft.cli.sandbox.app:app", "Sandboxes: run, shell, doctor, bench."),
    "authz": Entry("weft.cli.authz.app:app", "Permissions: schemas, tuples, questions, tests."),
    "kv": Entry("weft.cli.kv.app:app", "The two-level map underneath: items, namespaces, moves."),
    "graph": Entry("weft.cli.graph.app:app", "A live graph: types, jobs, traversals, queries, export."),
}

app = typer.Typer(
    name="weft",
    help=weft.__doc__,
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"weft {weft.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command line. As with grep, 0 and 1 are answers (allowed and denied, passed and failed), 2 is
    an error; 130 when interrupted."""
    try:
        app()
    except WeftError as error:
        print(f"weft: {escaped(str(error))}", file=sys.stderr)
        if excerpt := getattr(error, "excerpt", ""):
            print(*map(escaped, excerpt.split("\n")), sep="\n", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("weft: interrupted", file=sys.stderr)
        sys.exit(130)
