"""Patterns: `(a:account {id: $id})-[w:watched*1..3]->(t)`."""

from __future__ import annotations

from weft.core.limits import MAX_STEPS, within
from weft.graph.cypher.syntax import Direction, EdgePattern, Expression, NodePattern, Pattern
from weft.graph.cypher.tokens import Cursor


class PatternParser(Cursor):
    """Parses patterns; what parses expressions adds `expression`."""

    def expression(self) -> Expression:
        raise NotImplementedError

    def patterns(self) -> tuple[Pattern, ...]:
        found = [self.pattern()]
        while self.accept(","):
            found.append(self.pattern())
        within("MATCH", sum(len(one.nodes) for one in found), MAX_STEPS, "nodes")
        return tuple(found)

    def pattern(self) -> Pattern:
        """One path, perhaps with a name."""
        at = self.token.at
        name = None
        if self.ahead(1).text == "=":
            name = self.name("the name of a path")
            self.advance()
        nodes, edges = [self._node()], []
        while self.at("-") or self.at("<"):
            edges.append(self._edge())
            nodes.append(self._node())
        return Pattern(name, tuple(nodes), tuple(edges), at=at)

    def starts_pattern(self) -> bool:
        """Whether `(` opens a node that an edge follows, rather than an expression in parentheses."""
        if not self.at("("):
            return False
        inside = 2 if self.ahead(1).kind in ("name", "quoted") else 1
        if self.ahead(inside).text not in (")", ":", "{"):
            return False
        depth, count = 1, 1
        while depth and self.ahead(count).kind != "end":
            depth += {"(": 1, ")": -1}.get(self.ahead(count).text, 0)
            count += 1
        first, second, third = (self.ahead(count + more).text for more in range(3))
        if first == "<":
            first, second = second, third
        return first == "-" and second in ("[", "-")

    def types(self) -> tuple[str, ...]:
        """`:a|b`, if there."""
        if not self.accept(":"):
            return ()
        found = [self.name("the name of a type")]
        while self.accept("|"):
            self.accept(":")
            found.append(self.name("the name of a type"))
        if self.at(":") or self.at("&") or self.at("!"):
            raise self.error("a node or edge has one type", "write alternatives as `:a|b`", self.token)
        return tuple(found)

    def _node(self) -> NodePattern:
        at = self.token.at
        if not self.accept("("):
            if self.ahead(1).text == "(" and self.token.text.lower() in ("shortestpath", "allshortestpaths"):
                hint = "bound the length, as in `p = (a)-[*1..3]->(b)`, and order by length(p)"
                raise self.error(f"`{self.token.text}` is not part of this language", hint, self.token)
            raise self.unexpected("a node, as in `(n)`")
        name = None
        if self.token.kind in ("name", "quoted"):
            name = self.name("the name of a node")
        node = NodePattern(name, self.types(), self._properties(), at=at)
        if self.at("WHERE"):
            raise self.error("a condition inside a node", "put it after the pattern, in WHERE", self.token)
        self.expect(")")
        return node

    def _edge(self) -> EdgePattern:
        at = self.token.at
        backward = self.accept("<")
        self.expect("-")
        name, hops = None, None
        types: tuple[str, ...] = ()
        properties: tuple[tuple[str, Expression], ...] = ()
        if self.accept("["):
            if self.token.kind in ("name", "quoted"):
                name = self.name("the name of an edge")
            types = self.types()
            hops = self._hops()
            properties = self._properties()
            self.expect("]")
        self.expect("-")
        forward = self.accept(">")
        direction: Direction = "both" if backward == forward else "out" if forward else "in"
        return EdgePattern(name, types, direction, hops, properties, at=at)

    def _hops(self) -> tuple[int, int] | None:
        star = self.token
        if not self.accept("*"):
            return None
        fewest = self._count() if self.token.kind == "number" else None
        ranged = self.accept("..")
        most = self._count() if ranged and self.token.kind == "number" else fewest if not ranged else None
        if most is None:
            raise self.error("a variable length has an upper bound", "write `*1..3`", star)
        low = 1 if fewest is None else fewest
        if low < 1:
            raise self.error("a variable length starts at 1", "write a second query for no hops at all", star)
        if not low <= most <= MAX_STEPS:
            raise self.error(
                f"the variable length `{low}..{most}` cannot be", f"use 1 to at most {MAX_STEPS}", star
            )
        return low, most

    def _count(self) -> int:
        if not isinstance(self.token.value, int):
            raise self.unexpected("a whole number")
        return int(self.advance().value)

    def _properties(self) -> tuple[tuple[str, Expression], ...]:
        if self.token.kind == "parameter":
            hint = "name each property, as in `{id: $id}`"
            raise self.error("a parameter cannot be all properties", hint, self.token)
        if not self.accept("{"):
            return ()
        found = []
        while not self.at("}"):
            name = self._property_name()
            self.expect(":")
            found.append((name, self.expression()))
            if not self.accept(","):
                break
        self.expect("}")
        return tuple(found)

    def _property_name(self) -> str:
        # After `{` and `.` no keyword can stand: any word is a name.
        if self.token.kind in ("name", "quoted"):
            return str(self.advance().value)
        raise self.unexpected("the name of a property")
