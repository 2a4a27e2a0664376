"""A query from text to rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from weft.core.errors import Invalid, LimitExceeded
from weft.core.limits import MAX_EXPRESSION_DEPTH, MAX_PATHS
from weft.graph.cypher.compile import Compiler, Row, Scope
from weft.graph.cypher.match import Matcher, edges_in, nodes_in
from weft.graph.cypher.parser import parse
from weft.graph.cypher.plan import MatchPlan, plan_match
from weft.graph.cypher.project import Project, plan_projection, project
from weft.graph.cypher.syntax import Match
from weft.graph.cypher.values import EdgeValue, NodeKey, PathValue, number
from weft.graph.model import Node, Path, id_text
from weft.graph.schema import Schema
from weft.graph.traverse.reads import Asking, Reader
from weft.graph.traverse.result import Result
from weft.graph.traverse.traversal import drive
from weft.graph.traverse.visibility import Visibility
from weft.kv.store import KeyValueStore

_PLAIN: Final = (str, bool, bytes, type(None))


class Rows(Result[dict[str, Any]]):
    """Rows by column name; like `Result`, they say whether they are the whole answer."""

    __slots__ = ("columns",)

    def __init__(self, columns: tuple[str, ...], items: list[dict[str, Any]], reason: str = "") -> None:
        super().__init__(items, reason)
        self.columns = columns


def run(
    text: str,
    parameters: Mapping[str, Any],
    schema: Schema,
    store: KeyValueStore,
    visibility: Visibility | None = None,
) -> Rows:
    """The answer to a query; `QueryError` before any read when it does not parse or fit the graph."""
    if not isinstance(text, str):
        raise Invalid(f"a query is a string, not `{text!r:.80}`")
    reader = Reader(guarded=visibility is not None)
    checked = {name: _checked(name, value) for name, value in parameters.items()}
    compiler = Compiler(text, schema, checked, reader.nodes)
    plans: list[MatchPlan | Project] = []
    scope = Scope({}, 1)
    for clause in parse(text):
        plan: MatchPlan | Project
        if isinstance(clause, Match):
            plan, scope = plan_match(clause, scope, compiler)
        else:
            plan, scope = plan_projection(clause, scope, compiler)
        plans.append(plan)
    matcher = Matcher(reader, schema)
    rows = drive(_run(plans, matcher), store, visibility)
    columns = tuple(scope.names)
    values = [[_value(value, reader) for value in row[1:]] for row in rows]
    return Rows(columns, [dict(zip(columns, row, strict=True)) for row in values], matcher.reason)


def _run(plans: list[MatchPlan | Project], matcher: Matcher) -> Asking[list[Row]]:
    rows: list[Row] = [(0,)]
    for plan in plans:
        if isinstance(plan, MatchPlan):
            rows = yield from matcher.match(plan, rows)
        else:
            rows = yield from project(matcher, plan, rows)
    if len(rows) > MAX_PATHS:
        matcher.cut(f"there are more than {MAX_PATHS:,} rows")
        del rows[MAX_PATHS:]
    shown = [value for row in rows for value in row[1:] if not isinstance(value, EdgeValue)]
    yield from matcher.load_nodes(nodes_in(shown))
    yield from matcher.load_edges(edge for row in rows for value in row[1:] for edge in edges_in(value))
    return rows


def _value(value: Any, reader: Reader) -> Any:
    """A value of a row as callers see it."""
    if isinstance(value, NodeKey):
        return reader.nodes[value] or Node(value.type, id_text(value.id))
    if isinstance(value, EdgeValue):
        return value.edge
    if isinstance(value, PathValue):
        return Path([_value(node, reader) for node in value.nodes], [edge.edge for edge in value.edges])
    if isinstance(value, list):
        return [_value(one, reader) for one in value]
    return value


def _checked(name: str, value: Any, depth: int = 0) -> Any:
    """A parameter as the language's values; `Invalid` when it is none."""
    if depth > MAX_EXPRESSION_DEPTH:
        raise LimitExceeded(f"the parameter `{name}` nests more than {MAX_EXPRESSION_DEPTH} levels deep")
    if isinstance(value, _PLAIN) or (isinstance(value, int | float) and number(value) is not None):
        return value
    if isinstance(value, list | tuple):
        return [_checked(name, one, depth + 1) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _checked(name, one, depth + 1) for key, one in value.items()}
    raise Invalid(
        f"the parameter `{name}` is `{value!r:.80}`",
        hint="pass strings, finite numbers of 64 bits, booleans, bytes, None, lists or maps of these",
    )
