"""The `weft` command: one module per noun; an error is one line on standard error and a non-zero exit."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import weft
from weft.cli.demo.command import demo
from weft.cli.serve import serve
from weft.core.errors import Invalid, WeftError

app = typer.Typer(
    name="weft",
    help=weft.__doc__,
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


app.command()(demo)
app.command()(serve)


def main() -> None:
    """Run the command line; exit 2 for a request to correct, 1 for any other error, 130 when interrupted."""
    try:
        app()
    except WeftError as error:
        print(f"weft: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, Invalid) else 1)
    except KeyboardInterrupt:
        print("weft: interrupted", file=sys.stderr)
        sys.exit(130)
