"""`weft agent export`: sessions as data to learn from."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weft.agent.trajectories import export as exported
from weft.cli.agent.options import Data, open_sessions, session_id, settings_for
from weft.cli.inputs import STDIN as STDOUT
from weft.cli.output import Json, emit
from weft.core.errors import Denied


class Format(StrEnum):
    """The forms of `weft.agent.trajectories`."""

    CHAT = "chat"
    ATIF = "atif"
    TRIPLES = "triples"
    STEPS = "steps"


def export(
    session: Annotated[
        list[str] | None, typer.Argument(metavar="[SESSION...]", help="Their ids, or `last`; all without.")
    ] = None,
    format: Annotated[Format, typer.Option("--format", help="What a line holds.")] = Format.CHAT,  # noqa: A002
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="- is standard output.")
    ] = STDOUT,
    only_ok: Annotated[bool, typer.Option("--only-ok", help="Leave out what did not end well.")] = False,
    repeat_search_replace: Annotated[
        int, typer.Option(min=1, metavar="N", help="Show edits by search and replace so often.")
    ] = 1,
    data: Data = None,
    json: Json = False,
) -> None:
    """Write sessions as JSON lines: chats for fine-tuning, ATIF, edits, or steps with rewards.

    Secrets that weft recognises are taken out. A file appears once it is whole.

    Example: weft agent export --format triples --only-ok -o edits.jsonl
    """
    with open_sessions(settings_for(data)) as store:
        own = [one for one in store.sessions() if "." not in one]
        chosen = [session_id(store, one) for one in session] if session else own
        lines = exported(
            store,
            chosen,
            format.value,
            only_ok=only_ok,
            repeat_search_replace=repeat_search_replace,
        )
        if output == STDOUT:
            for line in lines:
                sys.stdout.write(line.decode())
            return
        count = _write(output, lines)
    fields = {"file": str(output), "sessions": len(chosen), "lines": count}
    emit(json, fields, f"{count:,} lines from {len(chosen):,} sessions")


def _write(file: Path, lines: Iterable[bytes]) -> int:
    unfinished, count = Path(f"{file}.part"), 0
    try:
        with unfinished.open("wb") as opened:
            for line in lines:
                opened.write(line)
                count += 1
            opened.flush()
            os.fsync(opened.fileno())
        unfinished.replace(file)
    except OSError as error:
        raise Denied(f"cannot write `{file}`: {error.strerror}", hint="name another file") from error
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return count
