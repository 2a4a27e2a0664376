"""Tokens on demand, with positions and comments: what the hand-written schema parsers share."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import Final, NamedTuple

from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.model import Span
from weft.core.limits import MAX_EXPRESSION_DEPTH, MAX_SCHEMA_BYTES, within

END: Final = "end of text"
_CEL_PIECE: Final = re.compile(
    r"""//[^\n]*|[rR]?(?:'''(?:\\.|[^\\])*?'''|\"{3}(?:\\.|[^\\])*?\"{3}|'(?:\\.|[^\\'\n])*'|"(?:\\.|[^\\"\n])*")|[{}]""",
    re.DOTALL,
)
_RAW_PIECE: Final = re.compile(r"""[rR](?:'''.*?'''|\"{3}.*?\"{3}|'[^'\n]*'|"[^"\n]*")""", re.DOTALL)


class Token(NamedTuple):
    """A word or sign of a schema's text; its text is `END` after the last one."""

    kind: str
    """The name of the group of the grammar's pattern that matched: `name`, `sign`, `text` or `end`."""
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + (0 if self.kind == "end" else len(self.text))


class Scanner:
    """Reads one text left to right by a pattern whose named groups are the kinds of token; the groups `space`
    and `comment` are passed over."""

    def __init__(self, source: str, pattern: re.Pattern[str], max_depth: int = MAX_EXPRESSION_DEPTH) -> None:
        if len(source) * 4 > MAX_SCHEMA_BYTES:
            within("the schema", len(source.encode(errors="replace")), MAX_SCHEMA_BYTES)
        self.source = source
        self.doc = ""
        """The comments that stand on lines of their own right before the next token."""
        self._pattern = pattern
        self._lines = [0, *(match.end() for match in re.finditer("\n", source))]
        self._depth, self._max_depth = 0, max_depth
        self.token = Token("sign", "", 0)
        self.last = self.token
        """The token before the current one."""
        self.advance()

    def advance(self) -> Token:
        """Step to the next token and return the one stepped over."""
        self.last = self.token
        at = self.last.end
        comments: list[str] = []
        while at < len(self.source):
            match = self._pattern.match(self.source, at)
            if match is None:
                span = self.span(at, at + 1)
                raise self.error(f"unexpected `{self.source[at]}`", "remove it, or put it in a comment", span)
            if match.lastgroup == "comment":
                if not self._lines_with(self.last, at):
                    comments.append(_comment_text(match[0]))
            elif match.lastgroup != "space":
                break
            at = match.end()
        else:
            match = None
        self.doc = "\n".join(comments)
        self.token = Token(match.lastgroup or "", match[0], at) if match else Token("end", END, at)
        return self.last

    def at(self, *texts: str) -> bool:
        """Whether the current token is one of these."""
        return self.token.text in texts and self.token.kind != "end"

    def accept(self, text: str) -> bool:
        """Step over the current token if it is this one."""
        if self.at(text):
            self.advance()
            return True
        return False

    def expect(self, text: str, hint: str) -> Token:
        """Step over this token, or raise `SchemaError`."""
        if not self.at(text):
            raise self.unexpected(f"`{text}`", hint)
        return self.advance()

    def expect_name(self, what: str, hint: str) -> Token:
        """Step over a name, or raise `SchemaError`."""
        if self.token.kind != "name":
            raise self.unexpected(what, hint)
        return self.advance()

    def unexpected(self, wanted: str, hint: str) -> SchemaError:
        """The error that the current token is not what the grammar wants."""
        found = self.token.text if self.token.kind == "end" else f"`{self.token.text}`"
        return self.error(f"expected {wanted}, found {found}", hint)

    def error(self, message: str, hint: str, span: Span | None = None) -> SchemaError:
        """An error at the current token, or at the span."""
        return SchemaError([Problem(message, hint, span or self.span_of(self.token))], self.source)

    def span_of(self, token: Token) -> Span:
        return self.span(token.start, token.end)

    def span(self, start: int, end: int) -> Span:
        """The line and column of an offset; a span that runs over a line ends with it."""
        line = bisect_right(self._lines, start)
        line_end = self._lines[line] - 1 if line < len(self._lines) else len(self.source)
        return Span(line, start - self._lines[line - 1] + 1, max(1, min(end, line_end) - start))

    def deeper(self) -> None:
        """Count one more open parenthesis; too many are an error, or recursion would have no bound."""
        self._depth += 1
        if self._depth > self._max_depth:
            hint = "name a part of it as a relation of its own"
            raise self.error(f"the text nests more than {self._max_depth} levels deep", hint)

    def shallower(self) -> None:
        self._depth -= 1

    def cel_block(self, hint: str) -> tuple[str, Span]:
        """The CEL text between the current `{` and the `}` that closes it, and where it stands."""
        if not self.at("{"):
            raise self.unexpected("`{`", hint)
        opening = self.token
        depth, at = 0, opening.start
        while piece := _next_piece(self.source, at):
            depth += {"{": 1, "}": -1}.get(piece[0], 0)
            at = piece.end()
            if depth == 0:
                break
        else:
            raise self.error("this `{` is never closed", "end the expression with `}`", self.span_of(opening))
        inner = self.source[opening.end : at - 1]
        text = inner.strip()
        start = opening.end + len(inner) - len(inner.lstrip())
        self.token = Token("sign", "}", at - 1)
        self.advance()
        return text, self.span(start, start + len(text))

    def _lines_with(self, token: Token, at: int) -> bool:
        """Whether an offset is on the line where the token ends."""
        return token.text != "" and "\n" not in self.source[token.end : at]


def _next_piece(source: str, at: int) -> re.Match[str] | None:
    """The next brace, string or comment of CEL text."""
    found = _CEL_PIECE.search(source, at)
    raw = found and found[0][0] in "rR" and _RAW_PIECE.match(source, found.start())
    return raw or found


def _comment_text(comment: str) -> str:
    """The text of a comment without its marks."""
    if comment.startswith("/*"):
        lines = comment[2:-2].lstrip("*").split("\n")
        return "\n".join(re.sub(r"^\s*\*? ?", "", line).rstrip() for line in lines).strip("\n")
    return comment.lstrip("/#").removeprefix(" ").rstrip()
