"""A progress bar on standard error, where somebody is looking."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, int], None]
"""Takes how much of the total is done, and how many tuples that is."""
_EVERY_S = 0.1


@contextmanager
def progress(what: str, total: int | None, *, quiet: bool) -> Iterator[Advance]:
    """A bar with tuples, rate and time left; without a total it counts. Silent unless a terminal reads."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, tuples: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[tuples]:,} tuples, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=1 / _EVERY_S) as bar:
        task = bar.add_task(what, total=total, tuples=0, rate=0.0)

        def advance(done: int, tuples: int) -> None:
            elapsed_s = bar.tasks[0].elapsed or 0.0
            rate = tuples / elapsed_s if elapsed_s else 0.0
            bar.update(task, completed=done, tuples=tuples, rate=rate)

        yield advance
