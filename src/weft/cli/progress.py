"""A progress bar on standard error, where somebody is looking."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_EVERY_S = 0.1


class Advance(Protocol):
    """Takes how much of the total is done, how many things that is, and how many are known to come."""

    def __call__(self, done: int, count: int, lag: int | None = None) -> None: ...


@contextmanager
def progress(what: str, total: int | None, unit: str, *, quiet: bool) -> Iterator[Advance]:
    """A bar with how many of `unit`, their rate, what is to come, and the time left; without a total it
    counts. Silent unless a terminal reads."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, count, lag=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=1 / _EVERY_S) as bar:
        task = bar.add_task(what, total=total, told="")

        def advance(done: int, count: int, lag: int | None = None) -> None:
            elapsed_s = bar.tasks[0].elapsed or 0.0
            rate = count / elapsed_s if elapsed_s else 0.0
            behind = "" if lag is None else f", {lag:,} to come"
            bar.update(
                task,
                completed=done,
                total=total if lag is None else done + lag,
                told=f"{count:,} {unit}, {rate:,.0f}/s{behind}",
            )

        yield advance
