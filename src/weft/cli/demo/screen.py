"""What the demo shows: headings, progress with a rate, tables; nothing at all when JSON is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from weft.cli.terminal import escaped

Advance = Callable[[int, int], None]
"""Takes how many events are done, and how many there are."""


class _RateColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} events/s" if speed else "", style="progress.data.speed")


class Screen:
    r"""Prints for people; silent when `quiet`. Nothing in a text is markup, and a repository's file names and
    messages cannot command the terminal: control characters are shown as `\x1b`."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = Console(quiet=quiet, highlight=False)

    def act(self, number: int, title: str) -> None:
        self._console.print(Text(f"\n{number}. {title}", style="bold"))

    def say(self, text: str, *, lead: str = "", style: str = "") -> None:
        """One line; `lead` is a word in colour before it."""
        self._console.print(
            Text.assemble((f"{lead:<9}" if lead else "", style), "\n".join(map(escaped, text.split("\n")))),
            soft_wrap=True,
        )

    def show_diff(self, text: str) -> None:
        styles = {"+": "green", "-": "red", "@": "cyan"}
        for line in text.split("\n"):
            self._console.print(Text(f"  {escaped(line)}", style=styles.get(line[:1], "")), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for place, column in enumerate(columns):
            numeric = bool(rows) and all(isinstance(row[place], int | float) for row in rows)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*map(_cell, row))
        self._console.print(Text(f"\n{escaped(title)}", style="italic"), soft_wrap=True)
        self._console.print(table)

    @contextmanager
    def progress(self, what: str) -> Iterator[Advance]:
        """A bar with count, rate and remaining time."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            task = progress.add_task(what, total=None)
            yield lambda done, total: progress.update(task, completed=done, total=total)


def _cell(value: object) -> Text:
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    return Text(f"{value:,}" if isinstance(value, int) else escaped(str(value)))
