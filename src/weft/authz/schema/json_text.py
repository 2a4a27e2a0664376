"""JSON with positions, so that an error in a model's JSON can show the place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.model import Span, did_you_mean
from weft.authz.schema.scanner import Scanner
from weft.core.limits import MAX_EXPRESSION_DEPTH

# Each level of a rewrite takes up to four levels of JSON.
_MAX_DEPTH: Final = 4 * MAX_EXPRESSION_DEPTH + 16
_TOKENS: Final = re.compile(
    r'(?P<space>[ \t\r\n]+)|(?P<string>"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")'
    r"|(?P<number>-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<word>true|false|null)|(?P<sign>[{}\[\]:,])"
)


@dataclass(frozen=True)
class Json:
    """A value and its place: a dict of member name to value, a list, a string, or another scalar."""

    value: dict[str, Json] | list[Json] | str | float | bool | None
    at: Span
    source: str

    def error(self, message: str, hint: str) -> SchemaError:
        return SchemaError([Problem(message, hint, self.at)], self.source)

    def object(self, what: str) -> dict[str, Json]:
        if isinstance(self.value, dict):
            return self.value
        raise self.error(f"{what} is not an object", "write `{…}`")

    def list(self, what: str) -> list[Json]:
        if isinstance(self.value, list):
            return self.value
        raise self.error(f"{what} is not a list", "write `[…]`")

    def string(self, what: str) -> str:
        if isinstance(self.value, str):
            return self.value
        raise self.error(f"{what} is not a string", 'write `"…"`')

    def get(self, name: str, what: str) -> Json | None:
        """A member by its snake_case name, or the same in camelCase; None where it is absent or null."""
        members = self.object(what)
        found = members.get(name) or members.get(camel(name))
        return found if found and found.value is not None else None

    def need(self, name: str, what: str) -> Json:
        """A member that must be there."""
        if (found := self.get(name, what)) is not None:
            return found
        near = did_you_mean(name, self.object(what)) if self.object(what) else ""
        raise self.error(f"{what} has no `{name}`", f'add `"{name}": …`' + (f"; {near}" if near else ""))


def camel(name: str) -> str:
    """`computed_userset` as `computedUserset`."""
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def parse_json(source: str) -> Json:
    """One JSON value with all places in it, or `SchemaError`."""
    scanner = Scanner(source, _TOKENS, _MAX_DEPTH)
    value = _value(scanner)
    if scanner.token.kind != "end":
        raise scanner.unexpected("the end of the text", "keep one JSON value")
    return value


def _value(scanner: Scanner) -> Json:
    token, at = scanner.token, scanner.span_of(scanner.token)
    if scanner.at("{"):
        return Json(_members(scanner), at, scanner.source)
    if scanner.at("["):
        return Json(_items(scanner), at, scanner.source)
    if token.kind not in ("string", "number", "word"):
        raise scanner.unexpected("a JSON value", 'write `"…"`, `{…}` or `[…]`')
    scanner.advance()
    return Json(float(token.text) if token.kind == "number" else json.loads(token.text), at, scanner.source)


def _members(scanner: Scanner) -> dict[str, Json]:
    scanner.advance()
    scanner.deeper()
    members: dict[str, Json] = {}
    while not scanner.accept("}"):
        if members:
            scanner.expect(",", "separate members by `,`")
        if scanner.token.kind != "string":
            raise scanner.unexpected("the name of a member", 'write `"name": value`, and no `,` at the end')
        name, span = json.loads(scanner.token.text), scanner.span_of(scanner.token)
        if name in members:
            raise scanner.error(f"`{name}` stands twice", "remove one", span)
        scanner.advance()
        scanner.expect(":", f'write `"{name}": value`')
        found = _value(scanner)
        named = isinstance(found.value, dict | list)
        members[name] = Json(found.value, span if named else found.at, scanner.source)
    scanner.shallower()
    return members


def _items(scanner: Scanner) -> list[Json]:
    scanner.advance()
    scanner.deeper()
    items: list[Json] = []
    while not scanner.accept("]"):
        if items:
            scanner.expect(",", "separate items by `,`")
        items.append(_value(scanner))
    scanner.shallower()
    return items
