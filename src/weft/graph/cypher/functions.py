"""The functions of the language, and the aggregates."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from weft.graph.cypher.values import EdgeValue, NodeKey, PathValue, arithmetic, is_number, number, order_key
from weft.graph.model import id_text


class Function(NamedTuple):
    """Null, or no value, for arguments of the wrong kind."""

    fewest: int
    most: int
    call: Callable[..., Any]


def _when(kind: Any, call: Callable[[Any], Any]) -> Function:
    return Function(1, 1, lambda value: call(value) if isinstance(value, kind) else None)


def _coalesce(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


FUNCTIONS: Final = {
    "abs": Function(1, 1, lambda value: number(abs(value)) if is_number(value) else None),
    "coalesce": Function(1, 100, _coalesce),
    "endnode": _when(EdgeValue, lambda edge: edge.target),
    "head": _when(list, lambda items: items[0] if items else None),
    "id": _when(NodeKey, lambda node: id_text(node.id)),
    "labels": _when(NodeKey, lambda node: [node.type]),
    "last": _when(list, lambda items: items[-1] if items else None),
    "length": _when(PathValue, lambda path: len(path.edges)),
    "nodes": _when(PathValue, lambda path: list(path.nodes)),
    "relationships": _when(PathValue, lambda path: list(path.edges)),
    "size": _when(str | list, len),
    "startnode": _when(EdgeValue, lambda edge: edge.source),
    "tolower": _when(str, str.lower),
    "toupper": _when(str, str.upper),
    "type": _when(EdgeValue, lambda edge: edge.type),
}

INSTEAD: Final[dict[tuple[str, str | None], str]] = {
    ("id", "edge"): "an edge is named by its type and ends: type(r), startNode(r), endNode(r)",
    ("labels", "edge"): "use type(r)",
    ("length", "edges"): "use size(r)",
    ("length", "value"): "use size(...) for strings and lists",
    ("type", "edges"): "name a path and use relationships(p)",
    ("type", "node"): "use labels(n)",
}
"""What to use when a function does not take a kind of variable."""


def _sum(values: list[Any]) -> Any:
    total: Any = 0
    for value in values:
        total = arithmetic("+", total, value) if is_number(value) else None
        if total is None:
            return None
    return total


def _average(values: list[Any]) -> Any:
    total = _sum(values)
    return total / len(values) if values and total is not None else None


AGGREGATES: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "avg": _average,
    "collect": list,
    "count": len,
    "max": lambda values: max(values, key=order_key, default=None),
    "min": lambda values: min(values, key=order_key, default=None),
    "sum": _sum,
}
"""Each over the values of a group that are not null."""
