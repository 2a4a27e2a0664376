"""What commands print: lines and tables for people, JSON lines for machines."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from json import dumps
from typing import Annotated, Any, Final

import typer

from weft.cli.terminal import escaped

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object on each line.")]
_UNBOUNDED: Final = 10_000


def emit(json: bool, fields: Mapping[str, Any], text: str) -> None:
    """One answer: the fields as a JSON line, or the text, line by line; at once, for whoever reads along."""
    if json:
        print(dumps(fields, ensure_ascii=False), flush=True)
    else:
        say(text)


def say(text: str) -> None:
    """Print lines without obeying what is in them."""
    for line in text.split("\n"):
        print(escaped(line), flush=True)


def note(text: str) -> None:
    """Tell a person something beside the answer, on standard error."""
    print(escaped(text), file=sys.stderr, flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = True) -> None:
    """A table that fits the terminal; elsewhere no line is folded."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD if header else None, show_header=header, show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(escaped(cell)) for cell in row))
    width = None if sys.stdout.isatty() else _UNBOUNDED
    console = Console(width=width, highlight=False)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        print(line.rstrip())
