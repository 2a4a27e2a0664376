"""`weft kv move`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from weft import kv
from weft.cli.kv.options import Data, Json, NamespaceName, data_path
from weft.cli.output import emit
from weft.cli.progress import Advance, progress
from weft.core.errors import Invalid
from weft.kv.lmdb import LmdbStore
from weft.kv.move import Moving, Progress


def move(
    namespace: NamespaceName,
    to: Annotated[str, typer.Option(metavar="DIR", help="The store that it moves to.")],
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
        _progress(namespace, quiet=json) as show,
    ):
        moving = Moving(source, target, namespace, location=str(place), progress=show)
        if abort:
            moving.abort()
        else:
            moving.run()
    done = "aborted" if abort else "moved"
    text = f"the move of {namespace} is undone" if abort else f"{namespace} has moved to {place}"
    emit(json, {"namespace": namespace, "location": str(home if abort else place), "outcome": done}, text)


@contextmanager
def _progress(namespace: str, *, quiet: bool) -> Iterator[Progress]:
    """A bar for each step of the move."""
    with ExitStack() as stack:
        bars: dict[str, Advance] = {}

        def show(step: str, done: int) -> None:
            if step not in bars:
                stack.close()
                bars[step] = stack.enter_context(progress(f"{step} {namespace}", None, "items", quiet=quiet))
            bars[step](done, done)

        yield show
