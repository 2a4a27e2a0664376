"""Which language a schema is in, told from the name of its file and from its first words."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, get_args

import typer

from weft.authz.schema import Language, Schema, SchemaError, parse_schema
from weft.cli.inputs import read_text, shown
from weft.core.errors import Invalid

LanguageName = Annotated[
    Language | None,
    typer.Option(help="Of the schema.", show_default="told from the file"),
]

_SUFFIXES: Final[dict[str, Language]] = {
    ".zed": "zed",
    ".fga": "fga",
    ".json": "fga-json",
    ".textproto": "zanzibar",
    ".txtpb": "zanzibar",
    ".pbtxt": "zanzibar",
}
_COMMENT: Final = re.compile(r"/\*.*?\*/|//[^\n]*|^\s*#[^\n]*", re.DOTALL | re.MULTILINE)
_BEGINNINGS: Final[tuple[tuple[Language, re.Pattern[str]], ...]] = (
    ("fga-json", re.compile(r"\{")),
    ("fga", re.compile(r"(model|module|type|extend|condition\s+\w+\s*\()(?!\w)")),
    ("zanzibar", re.compile(r"(name\s*:|(relation|condition)\s*\{)")),
    ("zed", re.compile(r"(definition|caveat|use)\b")),
)


def guess_language(text: str, file: Path) -> Language:
    """The language by the file's suffix, else by how the text begins; `Invalid` where neither tells."""
    if known := _SUFFIXES.get(file.suffix):
        return known
    begins = _COMMENT.sub("", text).lstrip()
    for language, beginning in _BEGINNINGS:
        if beginning.match(begins):
            return language
    raise Invalid(
        f"cannot tell which language the schema in `{shown(file)}` is in",
        hint=f"name it with --language: {', '.join(get_args(Language))}",
    )


def read_schema_file(file: Path, language: Language | None) -> tuple[str, Language, Schema]:
    """The text, the language and the checked model of a schema file; `SchemaError` names the file."""
    text = read_text(file)
    chosen = language or guess_language(text, file)
    try:
        return text, chosen, parse_schema(text, chosen)
    except SchemaError as error:
        error.message = f"{shown(file)}: {error.message}"
        raise
