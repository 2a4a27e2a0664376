"""The language of a schema is told from its name or its first words, and never guessed wrong."""

from pathlib import Path

import pytest
from hypothesis import given

from weft.authz.schema import Language, Schema, print_schema
from weft.cli.authz.language import guess_language
from weft.core.errors import Invalid
from weft.testing.authz_schemas import schemas

LANGUAGES: tuple[Language, ...] = ("zed", "fga", "fga-json", "zanzibar")
UNNAMED = Path("-")


@given(schemas())
def test_what_a_language_prints_is_told_without_a_name(schema: Schema) -> None:
    for language in LANGUAGES:
        try:
            text = print_schema(schema, language)
        except Invalid:
            continue
        if text.strip():
            assert guess_language(text, UNNAMED) == language, text


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("// model\n/* name: */\n\n  use expiration\ndefinition user {}", "zed"),
        ("caveat only(a int) { a > 1 }", "zed"),
        ("# a comment: name\nmodel\n  schema 1.2\n", "fga"),
        ("module core\ntype user\n", "fga"),
        ("extend type user\n", "fga"),
        ('\n{"schema_version": "1.1"}', "fga-json"),
        ('# definition\nname: "doc" relation { name: "viewer" }', "zanzibar"),
        ("name : 'doc'", "zanzibar"),
    ],
)
def test_comments_and_blanks_do_not_count(text: str, language: str) -> None:
    assert guess_language(text, UNNAMED) == language


@pytest.mark.parametrize("text", ["", "// nothing", "namespace doc", "definitions", "modelling", "names: 1"])
def test_what_cannot_be_told_is_asked_for(text: str) -> None:
    with pytest.raises(Invalid, match="--language: zed, fga, fga-json, zanzibar"):
        guess_language(text, UNNAMED)


@pytest.mark.parametrize(
    ("name", "language"),
    [("a.zed", "zed"), ("a.fga", "fga"), ("a.json", "fga-json"), ("a.textproto", "zanzibar")],
)
def test_the_suffix_decides(name: str, language: str) -> None:
    assert guess_language("anything", Path(name)) == language
