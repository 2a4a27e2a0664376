"""`weft authz import`: tuples from a file with one on each line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from weft.authz import Authz
from weft.authz.transfer import Imported
from weft.cli.authz.options import Data, open_authz
from weft.cli.inputs import STDIN, open_binary, read_lines, shown
from weft.cli.output import Json, emit, note
from weft.cli.progress import progress
from weft.core.errors import Invalid, WeftError

_LINES: Final = 20_000
"""Written together; a broken import goes on at the first line of such a group."""


def import_(
    file: Annotated[Path, typer.Argument(help="Plain, .gz or .zst; - is standard input.")] = STDIN,
    from_line: Annotated[int, typer.Option(min=1, help="Skip the lines before.")] = 1,
    data: Data = None,
    json: Json = False,
) -> None:
    """Touch the tuples of a file, one on each line. What broke off is told with the line to go on from.

    Example: weft authz import tuples.txt.zst
    """
    with open_authz(data) as authz, open_binary(file) as opened:
        lines = read_lines(file, opened)
        for _ in islice(lines, from_line - 1):
            pass
        _import(authz, file, opened, lines, from_line, json)


def _import(
    authz: Authz, file: Path, opened: BinaryIO, lines: Iterator[str], from_line: int, json: bool
) -> None:
    written, line = 0, from_line
    zookie = authz.read_schema().zookie
    try:
        with progress("import", _size(file), "tuples", quiet=json) as advance:
            while group := list(islice(lines, _LINES)):
                imported = _group(authz, file, group, line)
                written, line, zookie = written + imported.tuples, line + len(group), imported.zookie
                advance(_position(file, opened), written)
    except (WeftError, KeyboardInterrupt):
        if line > from_line:
            note(f"{written:,} tuples are written; to go on: --from-line {line}")
        raise
    emit(json, {"tuples": written, "zookie": zookie}, f"{written:,} tuples, zookie {zookie}")


def _group(authz: Authz, file: Path, lines: list[str], first: int) -> Imported:
    try:
        return authz.import_tuples(lines)
    except Invalid as error:
        within = error.fields.get("line")
        if not isinstance(within, int):
            raise
        message = error.message.removeprefix(f"line {within}: ")
        raise Invalid(f"{shown(file)}: line {first + within - 1}: {message}", hint=error.hint) from error


def _size(file: Path) -> int | None:
    return None if file == STDIN else file.stat().st_size or None


def _position(file: Path, opened: BinaryIO) -> int:
    return 0 if file == STDIN else opened.tell()
