"""Clauses: `MATCH ... WHERE ... WITH ... RETURN ... ORDER BY ... SKIP ... LIMIT`."""

from __future__ import annotations

from weft.core.limits import MAX_STEPS, within
from weft.graph.cypher.expressions import ExpressionParser
from weft.graph.cypher.syntax import Clause, Expression, Item, Match, Projection, Sort, Variable


def parse(text: str) -> tuple[Clause, ...]:
    """The clauses of a query, the last of which returns; `QueryError` names the place that does not fit."""
    return _Parser(text).query()


class _Parser(ExpressionParser):
    def query(self) -> tuple[Clause, ...]:
        clauses: list[Clause] = []
        while True:
            clause = self._clause()
            clauses.append(clause)
            if isinstance(clause, Projection) and clause.returns:
                break
        self.accept(";")
        if self.token.kind != "end":
            raise self.unexpected("the end of the query")
        within("the query", len(clauses), MAX_STEPS, "clauses")
        return tuple(clauses)

    def _clause(self) -> Clause:
        at = self.token.at
        if self.accept("OPTIONAL"):
            self.expect("MATCH")
            return Match(self.patterns(), self._where(), optional=True, at=at)
        if self.accept("MATCH"):
            return Match(self.patterns(), self._where(), optional=False, at=at)
        if self.accept("WITH"):
            return self._projection(at, returns=False)
        if self.accept("RETURN"):
            return self._projection(at, returns=True)
        raise self.unexpected("MATCH, WITH or RETURN")

    def _where(self) -> Expression | None:
        return self.expression() if self.accept("WHERE") else None

    def _projection(self, at: int, *, returns: bool) -> Projection:
        distinct = self.accept("DISTINCT")
        star = self.accept("*")
        items = []
        if not star or self.accept(","):
            items.append(self._item(returns))
            while self.accept(","):
                items.append(self._item(returns))
        return Projection(
            returns=returns,
            distinct=distinct,
            star=star,
            items=tuple(items),
            order=self._order(),
            skip=self.expression() if self.accept("SKIP") else None,
            limit=self.expression() if self.accept("LIMIT") else None,
            where=None if returns else self._where(),
            at=at,
        )

    def _item(self, returns: bool) -> Item:
        token = self.token
        expression = self.expression()
        if self.accept("AS"):
            return Item(expression, self.name("the name of a column"), at=token.at)
        if isinstance(expression, Variable):
            return Item(expression, expression.name, at=token.at)
        if not returns:
            raise self.error("this column has no name", "add `AS name`", token)
        last = self.tokens[self.place - 1]
        return Item(expression, self.text[token.at : last.at + len(last.text)], at=token.at)

    def _order(self) -> tuple[Sort, ...]:
        if not self.accept("ORDER"):
            return ()
        self.expect("BY")
        found = [self._sort()]
        while self.accept(","):
            found.append(self._sort())
        return tuple(found)

    def _sort(self) -> Sort:
        at = self.token.at
        expression = self.expression()
        descending = self.accept("DESC") or self.accept("DESCENDING")
        if not descending and not self.accept("ASC"):
            self.accept("ASCENDING")
        return Sort(expression, descending, at=at)
