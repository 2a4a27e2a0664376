"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft import kv
from weft.core.errors import Invalid, NotFound
from weft.core.lmdb_files import DATA_FILE

Data = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="The store.", show_default="graph in the data folder"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object on each line.")]
Hex = Annotated[bool, typer.Option("--hex", help="Take and show all bytes as hexadecimal.")]
NamespaceName = Annotated[str, typer.Argument(metavar="NAMESPACE", show_default=False)]
RecordName = Annotated[str, typer.Argument(metavar="RECORD", help="Text, or hex:00ff.", show_default=False)]
Limit = Annotated[int, typer.Option(min=1, help="Items on a page.")]
Cursor = Annotated[str | None, typer.Option(help="Go on behind an earlier page.")]
All = Annotated[bool, typer.Option("--all", help="All pages, as they come.")]


def data_path(data: str | None) -> str:
    """The store that `--data` names, else `graph` in the data folder; `NotFound` unless it is there."""
    if data is None:
        from weft.core.settings import load

        data = str(load().data / "graph")
    if ":" in data:
        raise Invalid(f"`{data}` is not a folder", hint="name the folder of a store")
    if not (Path(data) / DATA_FILE).is_file():
        raise NotFound(f"there is no store in `{data}`", hint="name one with --data")
    return data


def open_store(data: str | None, *, readonly: bool = True) -> kv.KeyValueStore:
    """That store, for reading unless a command writes."""
    return kv.open(data_path(data), readonly=readonly)


def parse_cursor(cursor: str | None) -> bytes | None:
    try:
        return None if cursor is None else bytes.fromhex(cursor)
    except ValueError:
        raise Invalid(f"`{cursor}` is no cursor", hint="copy it from the page before") from None
