"""What SpiceDB's and OpenFGA's languages write alike: names that are no keywords, and declared conditions."""

from __future__ import annotations

from collections.abc import Set

from weft.authz.schema.model import Condition, Parameter, ValueType
from weft.authz.schema.scanner import Scanner, Token


class DeclarationParser:
    """The shared half of the two parsers. A parameter is `name type`, or `name: type` with `colon`."""

    def __init__(self, scanner: Scanner, keywords: Set[str], *, colon: bool) -> None:
        self.scanner = scanner
        self._keywords = keywords
        self._colon = colon

    def name(self, what: str, hint: str) -> Token:
        """The next token, a name and no keyword."""
        token = self.scanner.token
        if token.kind == "name" and token.text in self._keywords:
            raise self.scanner.error(f"expected {what}, found the keyword `{token.text}`", hint)
        return self.scanner.expect_name(what, hint)

    def condition(self, word: str, hint: str) -> Condition:
        """`word name(parameters) { expression }`, standing at the word."""
        scanner = self.scanner
        doc = scanner.doc
        scanner.advance()
        name = self.name(f"a name of a {word}", hint)
        scanner.expect("(", hint)
        parameters: list[Parameter] = []
        while not scanner.accept(")"):
            if parameters:
                scanner.expect(",", "separate parameters by `,`")
            parameters.append(self._parameter(hint))
        text, at = scanner.cel_block(hint)
        return Condition(
            name.text, tuple(parameters), text, doc=doc, at=scanner.span_of(name), expression_at=at
        )

    def _parameter(self, hint: str) -> Parameter:
        scanner = self.scanner
        name = self.name("a name of a parameter", hint)
        if self._colon:
            scanner.expect(":", f"write `{name.text}: string`")
        elif scanner.at(":"):
            raise scanner.error("`:` before the type of a parameter", f"write `{name.text} type`")
        return Parameter(name.text, self._value_type(), at=scanner.span_of(name))

    def _value_type(self) -> ValueType:
        self.scanner.deeper()
        name = self.name("a type of a parameter", "known are int, string, list<string> and others")
        of = None
        if self.scanner.accept("<"):
            of = self._value_type()
            self.scanner.expect(">", f"write `{name.text}<string>`")
        self.scanner.shallower()
        return ValueType(name.text, of)
