"""`weft authz schema`: write, read, compare and check schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.authz.schema import Language, Schema, SchemaError, parse_schema, print_schema
from weft.authz.schema.errors import excerpt
from weft.cli.authz.language import LanguageName, guess_language, read_schema_file
from weft.cli.authz.options import At, Data, Exact, Latest, moment, open_authz
from weft.cli.inputs import STDIN, read_text, shown
from weft.cli.output import Json, emit, say

app = typer.Typer(
    help="Write, read, compare and check schemas, in the languages zed, fga, fga-json and zanzibar.",
    no_args_is_help=True,
    add_completion=False,
)
File = Annotated[Path, typer.Argument(help="A schema; - is standard input.", show_default=False)]


@app.command()
def write(file: File = STDIN, language: LanguageName = None, data: Data = None, json: Json = False) -> None:
    """Put a schema in force, and print the zookie of that moment. It is refused where it orphans tuples.

    Example: weft authz schema write schema.zed
    """
    text, chosen, _ = read_schema_file(file, language)
    with open_authz(data, create=True) as authz:
        zookie = authz.write_schema(text, chosen)
    emit(json, {"zookie": zookie}, zookie)


@app.command()
def read(
    language: Annotated[
        Language | None, typer.Option(help="Print it in this language.", show_default="as it was written")
    ] = None,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Print the schema in force as it was written, or in another language.

    Example: weft authz schema read --language fga
    """
    with open_authz(data) as authz:
        found = authz.read_schema(moment(at, exact, latest))
    text, written_in = found.text, found.language
    if language is not None and language != written_in:
        text = print_schema(parse_schema(text, written_in), language)  # type: ignore[arg-type]
        written_in = language
    if json:
        emit(True, {"text": text, "language": written_in, "zookie": found.zookie}, "")
    else:
        typer.echo(text, nl=not text.endswith("\n"))


@app.command()
def diff(file: File = STDIN, language: LanguageName = None, data: Data = None, json: Json = False) -> None:
    """Say what writing a schema would change. Exits with 1 where it would be refused for orphaned tuples.

    Example: weft authz schema diff schema.zed
    """
    text, chosen, _ = read_schema_file(file, language)
    with open_authz(data) as authz:
        found = authz.diff_schema(text, chosen)
    lines = list(found.changes) or ["no change"]
    lines += [f"would orphan {item}" for item in found.orphans]
    emit(json, {"changes": found.changes, "orphans": found.orphans}, "\n".join(lines))
    if found.orphans:
        raise typer.Exit(1)


@app.command()
def check(
    files: Annotated[list[Path] | None, typer.Argument(help="Schemas.", show_default="-")] = None,
    language: LanguageName = None,
    json: Json = False,
) -> None:
    """Validate schemas and write nothing. Prints every problem with its place; then exits with 1.

    Example: weft authz schema check schema.zed model.fga
    """
    sound = [_checked(file, language, json) for file in files or [STDIN]]
    if not all(sound):
        raise typer.Exit(1)


def _checked(file: Path, language: LanguageName, json: bool) -> bool:
    text = read_text(file)
    try:
        schema = parse_schema(text, language or guess_language(text, file))
    except SchemaError as error:
        _show_problems(shown(file), text, error, json)
        return False
    emit(json, {"file": shown(file), "ok": True, **_figures(schema)}, f"{shown(file)}: {_summary(schema)}")
    return True


def _show_problems(name: str, text: str, error: SchemaError, json: bool) -> None:
    if json:
        problems = [
            {"line": p.at and p.at.line, "column": p.at and p.at.column, "message": p.message, "hint": p.hint}
            for p in error.problems
        ]
        emit(True, {"file": name, "ok": False, "problems": problems}, "")
        return
    for message, hint, at in error.problems:
        place = f"{name}:{at.line}:{at.column}" if at else name
        say(f"{place}: {message}" + (f"; {hint}" if hint else ""))
        if at:
            say(excerpt(text, at))


def _figures(schema: Schema) -> dict[str, Any]:
    return {
        "namespaces": len(schema.namespaces),
        "relations": sum(len(namespace.relations) for namespace in schema.namespaces),
        "conditions": len(schema.conditions),
    }


def _summary(schema: Schema) -> str:
    return "sound; " + ", ".join(f"{what}: {count}" for what, count in _figures(schema).items())
