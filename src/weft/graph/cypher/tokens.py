"""Tokens of a query, and the cursor that both parsers share."""

from __future__ import annotations

import re
import sys
from typing import Any, Final, NamedTuple

from weft.core.errors import LimitExceeded
from weft.core.limits import MAX_EXPRESSION_DEPTH, MAX_QUERY_BYTES, within
from weft.graph.cypher.errors import QueryError, shown

_TOKEN: Final = re.compile(
    r"""
    (?P<space>\s+ | //[^\n]* | /\*.*?\*/)
  | (?P<number>0[xX][0-9a-fA-F]+ | (?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<name>[^\W\d]\w*)
  | (?P<quoted>`(?:[^`]|``)+`)
  | (?P<parameter>\$(?:\w+|`(?:[^`]|``)+`))
  | (?P<text>'(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*")
  | (?P<sign><=|>=|<>|=~|\.\.|\+=|[-+*/%^=<>()\[\]{}.,:;|!&])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(r"\\(u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}
_UNCLOSED: Final = {"'": "string", '"': "string", "`": "name", "/": "comment"}

_MAX_INT: Final = (1 << 63) - 1
_MAX_FLOAT: Final = sys.float_info.max

RESERVED: Final = frozenset(
    """MATCH OPTIONAL WHERE WITH RETURN ORDER BY SKIP LIMIT AS DISTINCT AND OR XOR NOT IN STARTS ENDS CONTAINS
    IS NULL TRUE FALSE ASC DESC CASE WHEN THEN ELSE END EXISTS UNION CREATE MERGE DELETE DETACH SET REMOVE
    CALL YIELD UNWIND FOREACH""".split()  # noqa: SIM905
)
_READ_ONLY: Final = "queries only read; write with Graph.put, Graph.delete or a job"
_OUTSIDE: Final = {
    **dict.fromkeys(["CREATE", "MERGE", "DELETE", "DETACH", "SET", "REMOVE", "FOREACH"], _READ_ONLY),
    **dict.fromkeys(["LOAD", "START"], _READ_ONLY),
    "CALL": "there are no procedures or subqueries; run a second query with what the first one found",
    "YIELD": "there are no procedures; use MATCH",
    "UNWIND": "pass the list as a parameter and ask `n.id IN $ids`",
    "UNION": "run both queries, or write `[:a|b]` or OR",
    "CASE": "return the parts, and choose in Python",
    "USE": "open the graph that you mean with Graph.open",
    "USING": "the start is chosen by what the query gives; name an id",
    "EXPLAIN": "run the query",
    "PROFILE": "run the query",
}


class Token(NamedTuple):
    kind: str
    """The group of the pattern: `name`, `quoted`, `number`, `parameter`, `text`, `sign`; or `end`."""
    text: str
    at: int
    value: Any = None


def tokenize(text: str) -> list[Token]:
    """All tokens, an `end` last; `QueryError` where none fits."""
    if len(text) * 4 > MAX_QUERY_BYTES:
        within("the query", len(text.encode(errors="replace")), MAX_QUERY_BYTES)
    tokens = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None or (match[0] == "/" and text.startswith("/*", at)):
            unclosed = _UNCLOSED.get(text[at])
            if unclosed:
                raise QueryError(f"this {unclosed} never ends", "close it", text, at)
            raise QueryError(f"unexpected `{shown(text[at])}`", "remove it, or quote it", text, at)
        if match.lastgroup != "space":
            kind = str(match.lastgroup)
            if kind in ("quoted", "parameter") and not match[0].isprintable():
                raise QueryError("a name is printable", "use another name", text, at, len(match[0]))
            tokens.append(Token(kind, match[0], at, _value(kind, match[0], text, at)))
        at = match.end()
    return [*tokens, Token("end", "", len(text))]


def _value(kind: str, token: str, text: str, at: int) -> Any:
    match kind:
        case "quoted":
            return token[1:-1].replace("``", "`")
        case "parameter":
            return token[2:-1].replace("``", "`") if token[1] == "`" else token[1:]
        case "text":
            return _ESCAPE.sub(lambda match: _escape(match, text, at + 1), token[1:-1])
        case "number":
            return _number(token, text, at)
        case _:
            return token


def _escape(match: re.Match[str], text: str, start: int) -> str:
    code = match[1]
    if code in _ESCAPES:
        return _ESCAPES[code]
    if code in "\\'\"`":
        return code
    number = int(code[1:], 16) if len(code) > 1 else -1
    if 0 <= number < 0xD800 or 0xDFFF < number <= 0x10FFFF:
        return chr(number)
    raise QueryError(
        f"`{shown(match[0])}` is not an escape",
        r"use \\ \' \" \n \r \t \b \f or \uXXXX",
        text,
        start + match.start(),
        len(match[0]),
    )


def _number(token: str, text: str, at: int) -> int | float:
    number: int | float
    if token[:2] in ("0x", "0X"):
        number = int(token, 16)
    elif token.isdecimal():
        # Python refuses to convert thousands of digits; twenty are past 64 bits.
        number = int(token.lstrip("0")[:20] or "0")
    else:
        number = float(token)
    if number > (_MAX_INT if isinstance(number, int) else _MAX_FLOAT):
        raise QueryError(
            f"`{shown(token)}` does not fit into 64 bits", "use a smaller number", text, at, len(token)
        )
    return number


class Cursor:
    """A place among the tokens, and how deep the parser is."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = tokenize(text)
        self.place = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def ahead(self, count: int) -> Token:
        return self.tokens[min(self.place + count, len(self.tokens) - 1)]

    def advance(self) -> Token:
        """Step over the current token and return it."""
        token = self.token
        self.place = min(self.place + 1, len(self.tokens) - 1)
        return token

    def at(self, *texts: str) -> bool:
        """Whether these signs or keywords come next."""
        return all(_is(self.ahead(count), text) for count, text in enumerate(texts))

    def accept(self, *texts: str) -> bool:
        """Step over these signs or keywords if they all come next."""
        if not self.at(*texts):
            return False
        self.place += len(texts)
        return True

    def expect(self, text: str) -> Token:
        """Step over this sign or keyword, or raise `QueryError`."""
        if not self.at(text):
            raise self.unexpected(f"`{text}`")
        return self.advance()

    def name(self, what: str) -> str:
        """Step over a name and return it."""
        token = self.token
        if token.kind == "quoted" or (token.kind == "name" and token.text.upper() not in RESERVED):
            return str(self.advance().value)
        raise self.unexpected(what)

    def unexpected(self, wanted: str) -> QueryError:
        """The error that the current token is not what the grammar wants; it names what is outside the
        language when that is the reason."""
        token = self.token
        word = token.text.upper()
        if token.kind == "name" and word in _OUTSIDE:
            return self.error(f"`{word}` is not part of this language", _OUTSIDE[word], token)
        found = "the end" if token.kind == "end" else f"`{shown(token.text)}`"
        reserved = token.kind == "name" and word in RESERVED and "name" in wanted
        hint = f"put `{token.text}` in backticks to use it as a name" if reserved else ""
        return self.error(f"expected {wanted}, found {found}", hint, token)

    def error(self, message: str, hint: str, token: Token) -> QueryError:
        return QueryError(message, hint, self.text, token.at, max(1, len(token.text)))

    def deeper(self) -> None:
        """Count one more level; recursion must have a bound."""
        self._depth += 1
        if self._depth > MAX_EXPRESSION_DEPTH:
            raise LimitExceeded(
                f"the query nests more than {MAX_EXPRESSION_DEPTH} levels deep",
                hint="name a part of it in a WITH",
            )

    def shallower(self) -> None:
        self._depth -= 1


def _is(token: Token, text: str) -> bool:
    return token.kind in ("sign", "name") and token.text.upper() == text
