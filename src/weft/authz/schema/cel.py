"""The syntax of CEL expressions, as far as conditions use it: text to tree.

Source: the language definition of the Common Expression Language. Messages are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from weft.core.limits import MAX_CONDITION_BYTES, MAX_EXPRESSION_DEPTH

MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})
_RESERVED: Final = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"}
    | {"namespace", "return", "var", "void", "while", "true", "false", "null", "in"}
)
_TOKENS: Final = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[bB]?[rR](?:'''.*?'''|\"{3}.*?\"{3}|'[^'\r\n]*'|"[^"\r\n]*")
      |[bB]?(?:'''(?:\\.|[^\\])*?'''|\"{3}(?:\\.|[^\\])*?\"{3}|'(?:\\.|[^\\'\r\n])*'|"(?:\\.|[^\\"\r\n])*"))
    |(?P<double>(?:\d+\.\d+|\.\d+)(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+)
    |(?P<int>(?:0x[0-9a-fA-F]+|\d+)[uU]?)
    |(?P<name>[_a-zA-Z][_a-zA-Z0-9]*)
    |(?P<sign>\|\||&&|[=!<>]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.DOTALL | re.VERBOSE,
)
_ESCAPES: Final = re.compile(
    r"""(?:[^\\]|\\(?:[abfnrtv\\?"'`]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-3][0-7]{2}))*""",
    re.DOTALL,
)


class CelError(Exception):
    """An expression is wrong between two offsets of its text."""

    def __init__(self, message: str, hint: str, start: int, end: int) -> None:
        super().__init__(message)
        self.message, self.hint, self.start, self.end = message, hint, start, end


@dataclass(frozen=True, eq=False)
class Node:
    """A part of an expression; nodes compare by identity."""

    start: int
    end: int

    @property
    def parts(self) -> tuple[Node, ...]:
        return ()


@dataclass(frozen=True, eq=False)
class Literal(Node):
    """A literal: its type (int, uint, double, string, bytes, bool, null) and its text."""

    type: str
    text: str


@dataclass(frozen=True, eq=False)
class Ident(Node):
    name: str


@dataclass(frozen=True, eq=False)
class Select(Node):
    """`operand.name`, or `has(operand.name)` with `test`."""

    operand: Node
    name: str
    test: bool = False

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.operand,)


@dataclass(frozen=True, eq=False)
class Call(Node):
    """A function, a method (its target is the first argument) or an operator, which is called by its sign.

    `&&` and `||` have two or more arguments, unary minus is `neg`, `a[b]` is `[]`, `a ? b : c` is `?:`.
    """

    function: str
    arguments: tuple[Node, ...]
    method: bool = False

    @property
    def parts(self) -> tuple[Node, ...]:
        return self.arguments


@dataclass(frozen=True, eq=False)
class ListOf(Node):
    items: tuple[Node, ...]

    @property
    def parts(self) -> tuple[Node, ...]:
        return self.items


@dataclass(frozen=True, eq=False)
class MapOf(Node):
    entries: tuple[tuple[Node, Node], ...]

    @property
    def parts(self) -> tuple[Node, ...]:
        return tuple(part for entry in self.entries for part in entry)


@dataclass(frozen=True, eq=False)
class Comprehension(Node):
    """`range.macro(variable, body)`; `map` may have a filter before its body."""

    macro: str
    range: Node
    variable: str
    body: Node
    filter: Node | None = field(default=None)

    @property
    def parts(self) -> tuple[Node, ...]:
        return (self.range, self.body) if self.filter is None else (self.range, self.filter, self.body)


def walk(node: Node) -> Iterator[Node]:
    """The node and all its parts."""
    yield node
    for part in node.parts:
        yield from walk(part)


def is_name(text: str) -> bool:
    """Whether a parameter may be called this; `weft_` is for the functions that the library lacks."""
    return re.fullmatch(r"(?!weft_)[_a-zA-Z][_a-zA-Z0-9]*", text) is not None and text not in _RESERVED


def parse(text: str) -> Node:
    """The tree of an expression, or `CelError`."""
    if len(text) > MAX_CONDITION_BYTES or len(text.encode(errors="replace")) > MAX_CONDITION_BYTES:
        hint = "move data into parameters, or split the condition"
        raise CelError(f"the expression is longer than {MAX_CONDITION_BYTES:,} bytes", hint, 0, 1)
    return _Parser(text).whole()


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            hint = "close the string" if text[at] in "'\"" else "remove it"
            raise CelError(f"unexpected `{text[at]}` in the expression", hint, at, at + 1)
        if match.lastgroup != "space":
            yield _Token(match.lastgroup or "", match[0], at, match.end())
        at = match.end()
    yield _Token("end", "end of the expression", at, at)


class _Parser:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0
        self.depth = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def next(self) -> _Token:
        token = self.token
        self.at += token.kind != "end"
        return token

    def accept(self, *signs: str) -> _Token | None:
        return self.next() if self.token.kind in ("sign", "name") and self.token.text in signs else None

    def expect(self, sign: str, hint: str) -> _Token:
        return self.accept(sign) or self.fail(f"`{sign}`", hint)

    def fail(self, wanted: str, hint: str = "") -> _Token:
        token = self.token
        found = token.text if token.kind == "end" else f"`{token.text}`"
        raise CelError(f"expected {wanted}, found {found}", hint, token.start, token.end)

    def whole(self) -> Node:
        node = self.expression()
        if self.token.kind != "end":
            self.fail("an operator or the end of the expression", "join two tests by `&&` or `||`")
        level = [node]
        for _ in range(MAX_EXPRESSION_DEPTH):
            level = [part for parent in level for part in parent.parts]
        if level:
            raise self.too_deep(level[0].start, level[0].end)
        return node

    def expression(self) -> Node:
        self.deeper(1)
        node = self.many("||", lambda: self.many("&&", self.relation))
        if self.accept("?"):
            then = self.many("||", lambda: self.many("&&", self.relation))
            self.expect(":", "write `test ? this : that`")
            node = self.call("?:", node, then, self.expression())
        self.deeper(-1)
        return node

    def many(self, sign: str, operand: Callable[[], Node]) -> Node:
        parts = [operand()]
        while self.accept(sign):
            parts.append(operand())
        return self.call(sign, *parts) if len(parts) > 1 else parts[0]

    def left(self, signs: tuple[str, ...], operand: Callable[[], Node]) -> Node:
        node = operand()
        while sign := self.accept(*signs):
            node = self.call(sign.text, node, operand())
        return node

    def relation(self) -> Node:
        return self.left(("<", "<=", ">=", ">", "==", "!=", "in"), self.addition)

    def addition(self) -> Node:
        return self.left(("+", "-"), lambda: self.left(("*", "/", "%"), self.unary))

    def unary(self) -> Node:
        signs = []
        while sign := self.accept("!", "-"):
            signs.append(sign)
        if signs and signs[-1].text == "-" and self.token.kind in ("int", "double"):
            number = self.next()
            minus = signs.pop()
            node: Node = self.member(Literal(minus.start, number.end, _number(number), "-" + number.text))
        else:
            node = self.member(self.primary())
        for sign in reversed(signs):
            name = "!" if sign.text == "!" else "neg"
            node = Call(sign.start, node.end, name, (node,))
        return node

    def member(self, node: Node) -> Node:
        while True:
            if self.accept("."):
                node = self.field(node)
            elif self.accept("["):
                index = self.expression()
                end = self.expect("]", "close the index with `]`").end
                node = Call(node.start, end, "[]", (node, index))
            else:
                return node

    def field(self, node: Node) -> Node:
        name = self.name("a field or method after `.`")
        if not self.accept("("):
            return Select(node.start, name.end, node, name.text)
        arguments = self.arguments(")")
        end = self.tokens[self.at - 1].end
        if name.text in MACROS and len(arguments) in (2, 3):
            return self.macro(node, name, arguments, end)
        return Call(node.start, end, name.text, (node, *arguments), method=True)

    def macro(self, node: Node, name: _Token, arguments: tuple[Node, ...], end: int) -> Node:
        variable = arguments[0]
        if not isinstance(variable, Ident):
            hint = f"write `list.{name.text}(item, …)`"
            raise CelError(f"`{name.text}` needs a variable first", hint, variable.start, variable.end)
        if len(arguments) == 3 and name.text != "map":
            raise CelError(f"`{name.text}` has two arguments", "remove the third", node.start, end)
        filter_ = arguments[1] if len(arguments) == 3 else None
        return Comprehension(node.start, end, name.text, node, variable.name, arguments[-1], filter_)

    def primary(self) -> Node:
        token = self.token
        if token.kind in ("int", "double"):
            self.next()
            return Literal(token.start, token.end, _number(token), token.text)
        if token.kind == "string":
            self.next()
            return Literal(token.start, token.end, _string_type(token), token.text)
        if self.accept("true", "false"):
            return Literal(token.start, token.end, "bool", token.text)
        if self.accept("null"):
            return Literal(token.start, token.end, "null", token.text)
        if self.accept("("):
            node = self.expression()
            self.expect(")", "close it with `)`")
            return node
        if self.accept("["):
            items = self.arguments("]")
            return ListOf(token.start, self.tokens[self.at - 1].end, items)
        if self.accept("{"):
            return self.map(token)
        name = self.name("a value")
        if self.accept("("):
            return self.function(name)
        return Ident(name.start, name.end, name.text)

    def function(self, name: _Token) -> Node:
        arguments = self.arguments(")")
        end = self.tokens[self.at - 1].end
        if name.text != "has":
            return Call(name.start, end, name.text, arguments)
        if len(arguments) == 1 and isinstance(field_ := arguments[0], Select) and not field_.test:
            return Select(name.start, end, field_.operand, field_.name, test=True)
        raise CelError("`has` asks for one field", "write `has(map.key)`", name.start, end)

    def arguments(self, close: str) -> tuple[Node, ...]:
        items: list[Node] = []
        while not self.accept(close):
            if items:
                self.expect(",", "separate by `,`")
                if close == "]" and self.accept(close):
                    break
            items.append(self.expression())
        return tuple(items)

    def map(self, opening: _Token) -> Node:
        entries: list[tuple[Node, Node]] = []
        while not self.accept("}"):
            if entries:
                self.expect(",", "separate entries by `,`")
                if self.accept("}"):
                    break
            key = self.expression()
            self.expect(":", "write `{'key': value}`")
            entries.append((key, self.expression()))
        return MapOf(opening.start, self.tokens[self.at - 1].end, tuple(entries))

    def name(self, what: str) -> _Token:
        token = self.token
        if token.kind != "name" or token.text in _RESERVED:
            self.fail(what)
        return self.next()

    def call(self, function: str, *arguments: Node) -> Call:
        return Call(arguments[0].start, arguments[-1].end, function, arguments)

    def deeper(self, by: int) -> None:
        self.depth += by
        if self.depth > MAX_EXPRESSION_DEPTH:
            raise self.too_deep(self.token.start, self.token.end)

    def too_deep(self, start: int, end: int) -> CelError:
        message = f"the expression nests more than {MAX_EXPRESSION_DEPTH} levels deep"
        return CelError(message, "split the condition into smaller parts", start, end)


def _number(token: _Token) -> str:
    if token.kind == "double":
        return "double"
    return "uint" if token.text[-1] in "uU" else "int"


def _string_type(token: _Token) -> str:
    prefix = token.text[: len(token.text) - len(token.text.lstrip("rRbB"))].lower()
    if "r" not in prefix and _ESCAPES.fullmatch(token.text[len(prefix) :]) is None:
        hint = "write a backslash twice, or a raw string: r'…'"
        raise CelError("a string has an unknown escape", hint, token.start, token.end)
    return "bytes" if "b" in prefix else "string"
