"""`weft kv move`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from weft import kv
from weft.cli.kv.options import Data, Json, NamespaceName, data_path
from weft.cli.output import emit
from weft.core.errors import Invalid
from weft.kv.lmdb import LmdbStore
from weft.kv.move import Moving
from weft.kv.move import Progress as Show


def move(
    namespace: NamespaceName,
    to: Annotated[str, typer.Option(metavar="DIR_OR_URL", help="The store that it moves to.")],
    abort: Annotated[bool, typer.Option("--abort", help="Undo a move that has not switched.")] = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Move a namespace to another store: copy, tail, verify, switch. Others may go on reading and writing.

    Run again after a break, it goes on where it stopped.

    Example: weft kv move edges --to /big/disk/store
    """
    home = Path(data_path(data)).resolve()
    if ":" in to:
        raise Invalid(f"cannot move to `{to}`", hint="name a folder")
    place = Path(to).resolve()
    if place == home:
        raise Invalid(f"`{namespace}` is in `{place}` already", hint="name another folder")
    with (
        LmdbStore.open(home) as source,
        kv.open(place) as target,
        _progress(namespace, quiet=json) as progress,
    ):
        moving = Moving(source, target, namespace, location=str(place), progress=progress)
        if abort:
            moving.abort()
        else:
            moving.run()
    done = "aborted" if abort else "moved"
    text = f"the move of {namespace} is undone" if abort else f"{namespace} has moved to {place}"
    emit(json, {"namespace": namespace, "location": str(home if abort else place), "outcome": done}, text)


@contextmanager
def _progress(namespace: str, *, quiet: bool) -> Iterator[Show]:
    """A line with the step, the count and the rate on standard error, where somebody is looking."""
    if quiet or not sys.stderr.isatty():
        yield lambda step, done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn(f"{namespace}: {{task.description}}"),
        BarColumn(),
        TextColumn("{task.completed:,}, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def show(step: str, done: int) -> None:
            if step not in tasks:
                tasks[step] = bar.add_task(step, total=None, rate=0.0)
            elapsed_s = bar.tasks[bar.task_ids.index(tasks[step])].elapsed or 0.0
            bar.update(tasks[step], completed=done, rate=done / elapsed_s if elapsed_s else 0.0)

        yield show
