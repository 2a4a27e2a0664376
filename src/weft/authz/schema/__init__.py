"""Schemas: three languages compile to one model and print back from it."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Final, Literal, get_args

from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.model import Schema
from weft.core.errors import Invalid

Language = Literal["zed", "fga", "fga-json", "zanzibar"]
_MODULES: Final = {"zed": "zed", "fga": "fga", "fga-json": "fga_json", "zanzibar": "textproto"}


def parse_schema(text: str, language: Language = "zed") -> Schema:
    """The checked model of a schema's text; `SchemaError` with place, caret and remedy."""
    from weft.authz.schema.validate import check_schema

    schema: Schema = _module(language).parse(text)
    return check_schema(schema, text)


def print_schema(schema: Schema, language: Language = "zed") -> str:
    """A schema's text, which parses back to an equal model; `Invalid` names what the language cannot say."""
    from weft.authz.schema.validate import check_schema

    text: str = _module(language).render(check_schema(schema))
    return text


def _module(language: str) -> ModuleType:
    if language not in _MODULES:
        known = ", ".join(f"`{name}`" for name in get_args(Language))
        raise Invalid(f"`{language}` is not a schema language", hint=f"known are {known}")
    return importlib.import_module(f"weft.authz.schema.{_MODULES[language]}")


__all__ = ["Language", "Problem", "Schema", "SchemaError", "parse_schema", "print_schema"]
