"""`weft authz write`: change tuples, all or nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from weft.authz.tuples import RelationTuple, parse_tuple
from weft.cli.authz.options import Data, open_authz
from weft.cli.inputs import STDIN, read_text, shown
from weft.cli.output import Json, emit
from weft.core.errors import Invalid, LimitExceeded

_OPERATIONS: Final = ("touch", "create", "delete")
Changes = dict[str, list[RelationTuple]]


def write(
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[touch|create|delete] TUPLE", help="Each in quotes.", show_default=False),
    ] = None,
    file: Annotated[
        list[Path] | None, typer.Option("--file", "-f", help="A file of such lines; - is standard input.")
    ] = None,
    must_exist: Annotated[
        list[str] | None, typer.Option(metavar="TUPLE", help="Else nothing is written; repeatable.")
    ] = None,
    must_not_exist: Annotated[
        list[str] | None, typer.Option(metavar="TUPLE", help="Else nothing is written; repeatable.")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Repeating the write under it does nothing.")
    ] = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Touch (the default), create or delete tuples, all or nothing; print the zookie from which they hold.

    Example: weft authz write 'doc:1#viewer@user:ann' 'delete doc:1#viewer@user:bob'
    """
    wanted: Changes = {operation: [] for operation in _OPERATIONS}
    for where, line in _lines(changes or [], file or []):
        operation, item = _parsed(where, line)
        wanted[operation].append(item)
    with open_authz(data) as authz:
        zookie = authz.write(
            **wanted,
            must_exist=must_exist or [],
            must_not_exist=must_not_exist or [],
            idempotency_key=idempotency_key,
        )
    emit(json, {"zookie": zookie}, zookie)


def _lines(changes: list[str], files: list[Path]) -> Iterator[tuple[str, str]]:
    if not changes and not files:
        if sys.stdin.isatty():
            raise Invalid("nothing to write", hint="give tuples as arguments, with --file, or through a pipe")
        files = [STDIN]
    yield from (("", change) for change in changes)
    for file in files:
        for number, line in enumerate(read_text(file).split("\n"), 1):
            if text := line.rstrip("\r"):
                yield f"{shown(file)}: line {number}: ", text


def _parsed(where: str, line: str) -> tuple[str, RelationTuple]:
    operation, _, text = line.partition(" ")
    if operation not in _OPERATIONS:
        if text and ":" not in operation:
            raise Invalid(f"{where}`{operation[:40]}` is no operation", hint="write touch, create or delete")
        operation, text = "touch", line
    try:
        return operation, parse_tuple(text)
    except (Invalid, LimitExceeded) as error:
        raise Invalid(f"{where}{error.message}", hint=error.hint) from error
