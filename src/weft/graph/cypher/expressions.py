"""Expressions, by recursive descent: one method per precedence, loosest first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from weft.graph.cypher.patterns import PatternParser
from weft.graph.cypher.syntax import (
    Arithmetic,
    Call,
    Comparison,
    Constant,
    Exists,
    Expression,
    HasType,
    IsNull,
    ListOf,
    Logic,
    Matches,
    Negative,
    Not,
    Parameter,
    Property,
    Variable,
)

_COMPARISONS: Final = ("=", "<>", "<=", ">=", "<", ">")
_WORDS: Final = {"TRUE": True, "FALSE": False, "NULL": None}
_PREDICATES: Final = ("ALL", "ANY", "NONE", "SINGLE", "REDUCE", "EXTRACT", "FILTER")


class ExpressionParser(PatternParser):
    def expression(self) -> Expression:
        """Any expression."""
        self.deeper()
        found = self._logic("OR", lambda: self._logic("XOR", lambda: self._logic("AND", self._not)))
        self.shallower()
        return found

    def _logic(self, word: str, operand: Callable[[], Expression]) -> Expression:
        at = self.token.at
        found = [operand()]
        while self.accept(word):
            found.append(operand())
        return found[0] if len(found) == 1 else Logic(word.lower(), tuple(found), at=at)

    def _not(self) -> Expression:
        at = self.token.at
        if not self.accept("NOT"):
            return self._comparison()
        self.deeper()
        found = Not(self._not(), at=at)
        self.shallower()
        return found

    def _comparison(self) -> Expression:
        at = self.token.at
        first = self._test()
        rest = []
        while sign := next((sign for sign in _COMPARISONS if self.at(sign)), None):
            self.advance()
            rest.append((sign, self._test()))
        return Comparison(first, tuple(rest), at=at) if rest else first

    def _test(self) -> Expression:
        at = self.token.at
        left = self._sum()
        if self.accept("IS", "NULL"):
            return IsNull(left, at=at)
        if self.accept("IS", "NOT", "NULL"):
            return Not(IsNull(left, at=at), at=at)
        for words in (("IN",), ("STARTS", "WITH"), ("ENDS", "WITH"), ("CONTAINS",)):
            if self.accept(*words):
                return Matches(" ".join(words).lower(), left, self._sum(), at=at)
        if self.at("=~"):
            hint = "use STARTS WITH, ENDS WITH or CONTAINS"
            raise self.error("regular expressions are not part of this language", hint, self.token)
        return left

    def _sum(self) -> Expression:
        return self._arithmetic(
            "+-", lambda: self._arithmetic("*/%", lambda: self._arithmetic("^", self._unary))
        )

    def _arithmetic(self, signs: str, operand: Callable[[], Expression]) -> Expression:
        at = self.token.at
        first = operand()
        rest = []
        while self.token.kind == "sign" and self.token.text in signs:
            rest.append((self.advance().text, operand()))
        return Arithmetic(first, tuple(rest), at=at) if rest else first

    def _unary(self) -> Expression:
        at = self.token.at
        if self.accept("+"):
            pass
        elif not self.accept("-"):
            return self._postfix()
        elif self.token.kind == "number":
            return Negative(self._postfix(), at=at)
        else:
            self.deeper()
            found = Negative(self._unary(), at=at)
            self.shallower()
            return found
        self.deeper()
        plus = self._unary()
        self.shallower()
        return plus

    def _postfix(self) -> Expression:
        found = self._atom()
        levels = 0
        while True:
            at = self.token.at
            if self.accept("."):
                self.deeper()
                levels += 1
                found = Property(found, self._property_name(), at=at + 1)
            elif self.at(":"):
                return self._leave(levels, HasType(found, self.types(), at=at))
            elif self.at("["):
                hint = "use head(...) or last(...), or index the result in Python"
                raise self.error("indexing is not part of this language", hint, self.token)
            else:
                return self._leave(levels, found)

    def _leave(self, levels: int, found: Expression) -> Expression:
        for _ in range(levels):
            self.shallower()
        return found

    def _atom(self) -> Expression:
        token = self.token
        if token.kind in ("number", "text"):
            self.advance()
            return Constant(token.value, type(token.value).__name__, at=token.at)
        if token.kind == "parameter":
            self.advance()
            return Parameter(str(token.value), at=token.at)
        if self.starts_pattern():
            return Exists(self.pattern(), at=token.at)
        if self.accept("("):
            found = self.expression()
            self.expect(")")
            return found
        if self.at("["):
            return self._list()
        if self.at("{"):
            hint = "return its values as columns, or pass it as a parameter"
            raise self.error("a map is not part of this language", hint, token)
        return self._word()

    def _word(self) -> Expression:
        token = self.token
        word = token.text.upper()
        if token.kind == "name" and word in _WORDS:
            self.advance()
            return Constant(_WORDS[word], type(_WORDS[word]).__name__, at=token.at)
        if token.kind in ("name", "quoted") and self.ahead(1).text == "(":
            return self._call()
        if token.kind == "name" and word in ("EXISTS", "COUNT", "COLLECT") and self.ahead(1).text == "{":
            hint = "write the pattern itself as the condition, or MATCH and aggregate"
            raise self.error(f"the subquery `{word} {{` is not part of this language", hint, token)
        return Variable(self.name("an expression"), at=token.at)

    def _call(self) -> Expression:
        token = self.advance()
        word = token.text.upper()
        if word in _PREDICATES:
            hint = "match the elements as nodes, or choose in Python"
            raise self.error(f"`{token.text}(...)` is not part of this language", hint, token)
        self.expect("(")
        if word == "EXISTS":
            return self._exists(token.at)
        if word == "COUNT" and self.accept("*"):
            self.expect(")")
            return Call("count", (), at=token.at)
        distinct = self.accept("DISTINCT")
        arguments = self._expressions(")")
        return Call(str(token.value).lower(), arguments, distinct, at=token.at)

    def _exists(self, at: int) -> Expression:
        """`exists((a)-->(b))`, or `exists(n.name)`."""
        if self.starts_pattern():
            found: Expression = Exists(self.pattern(), at=at)
        else:
            found = Not(IsNull(self.expression(), at=at), at=at)
        self.expect(")")
        return found

    def _list(self) -> Expression:
        at = self.advance().at
        items = self._expressions("]")
        return ListOf(items, at=at)

    def _expressions(self, end: str) -> tuple[Expression, ...]:
        found: list[Expression] = []
        while not self.at(end):
            found.append(self.expression())
            if self.at("|"):
                hint = "match the elements as nodes, or build the list in Python"
                raise self.error("a list comprehension is not part of this language", hint, self.token)
            if not self.accept(","):
                break
        self.expect(end)
        return tuple(found)
