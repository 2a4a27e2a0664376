"""Values of a running query, and what can be asked of them: three-valued comparison, order, arithmetic.

Every operation is total: what has no value is null (division by zero, an integer past 64 bits, a function of
the wrong kind of value). So it does not matter where in a plan a condition is asked.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from weft.core.errors import LimitExceeded
from weft.core.limits import MAX_QUERY_VALUE_ITEMS
from weft.graph import layout
from weft.graph.model import Edge, id_text
from weft.kv.model import Item


class NodeKey(NamedTuple):
    """A node in a row: its identity as the store has it."""

    type: str
    id: bytes


class EdgeValue:
    """An edge in a row; its identity is its type and ends, its properties are decoded when asked for. Where
    they lie apart, somebody has to have put them into `item` before."""

    __slots__ = ("_edge", "identity", "item", "source", "target", "type")

    def __init__(self, type: str, source: NodeKey, target: NodeKey, item: Item) -> None:  # noqa: A002
        self.type = type
        self.source = source
        self.target = target
        self.item = item
        self.identity = (type, source.id, target.id)
        self._edge: Edge | None = None

    @property
    def edge(self) -> Edge:
        if self._edge is None:
            self._edge = layout.edge_from(self.type, self.source.id, self.target.id, self.item)
        return self._edge

    def other(self, here: NodeKey) -> NodeKey:
        """The node at the other end."""
        return self.target if here == self.source else self.source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EdgeValue) and self.identity == other.identity

    def __hash__(self) -> int:
        return hash(self.identity)


class PathValue(NamedTuple):
    nodes: tuple[NodeKey, ...]
    edges: tuple[EdgeValue, ...]


_MAX_INT: Final = 1 << 63


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(left: Any, right: Any) -> bool | None:
    """`=`: None when either is null, or when nulls inside lists or maps leave it open."""
    if left is None or right is None:
        return None
    if is_number(left) and is_number(right):
        return bool(left == right)
    if type(left) is not type(right):
        return False
    if isinstance(left, list):
        if len(left) != len(right):
            return False
        return _all(equal(one, other) for one, other in zip(left, right, strict=True))
    if isinstance(left, dict):
        if left.keys() != right.keys():
            return False
        return _all(equal(value, right[name]) for name, value in left.items())
    return bool(left == right)


def less(left: Any, right: Any) -> bool | None:
    """`<`: None unless both are numbers, strings, booleans or bytes."""
    if is_number(left) and is_number(right):
        return None if left != left or right != right else bool(left < right)
    if type(left) is type(right) and isinstance(left, str | bool | bytes):
        return bool(left < right)
    return None


def _negated(value: bool | None) -> bool | None:
    return None if value is None else not value


def _at_most(left: Any, right: Any) -> bool | None:
    return _negated(less(right, left))


COMPARISONS: Final[dict[str, Callable[[Any, Any], bool | None]]] = {
    "=": equal,
    "<>": lambda left, right: _negated(equal(left, right)),
    "<": less,
    ">": lambda left, right: less(right, left),
    "<=": _at_most,
    ">=": lambda left, right: _at_most(right, left),
}


class Membership:
    """`IN`. A list that is asked about row after row is hashed once."""

    def __init__(self) -> None:
        self._choices: list[Any] = []
        self._keys: set[tuple[Any, ...]] = set()

    def __call__(self, value: Any, choices: Any) -> bool | None:
        if not isinstance(choices, list):
            return None
        if value is None or isinstance(value, list | dict) or value != value:
            return _negated(_all(_negated(equal(value, choice)) for choice in choices))
        if self._choices is not choices:
            self._choices, self._keys = choices, {order_key(one) for one in choices}
        if order_key(value) in self._keys:
            return True
        return None if order_key(None) in self._keys else False


def _on_text(test: Callable[[str, str], bool]) -> Callable[[Any, Any], bool | None]:
    return lambda left, right: test(left, right) if isinstance(left, str) and isinstance(right, str) else None


MATCHES: Final[dict[str, Callable[[Any, Any], bool | None]]] = {
    "starts with": _on_text(str.startswith),
    "ends with": _on_text(str.endswith),
    "contains": _on_text(operator.contains),
}


def _all(found: Iterator[bool | None]) -> bool | None:
    """Three-valued AND."""
    open_ = False
    for one in found:
        if one is False:
            return False
        open_ = open_ or one is not True
    return None if open_ else True


def all_of(values: Iterator[Any]) -> bool | None:
    return _all(values)


def any_of(values: Iterator[Any]) -> bool | None:
    """Three-valued OR."""
    open_ = False
    for one in values:
        if one is True:
            return True
        open_ = open_ or one is not False
    return None if open_ else False


def odd_of(values: Iterator[Any]) -> bool | None:
    """Three-valued XOR."""
    found = False
    for one in values:
        if not isinstance(one, bool):
            return None
        found ^= one
    return found


def arithmetic(sign: str, left: Any, right: Any) -> Any:
    """Numbers as in Java's 64 bits, `+` also on strings and lists; None where there is no value."""
    if left is None or right is None:
        return None
    if is_number(left) and is_number(right):
        try:
            return number(_ARITHMETIC[sign](left, right))
        except (ZeroDivisionError, OverflowError):
            return None
    if sign != "+":
        return None
    if isinstance(left, str) and isinstance(right, str):
        return _bounded(left + right)
    if isinstance(left, list):
        return _bounded([*left, *right] if isinstance(right, list) else [*left, right])
    return _bounded([left, *right]) if isinstance(right, list) else None


def number(value: Any) -> int | float | None:
    """The number, None when it is not one of 64 bits."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, int) and -_MAX_INT <= value < _MAX_INT else None


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, float) or isinstance(right, float):
        return left / right
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


def _remainder(left: Any, right: Any) -> Any:
    if isinstance(left, float) or isinstance(right, float):
        return math.fmod(left, right) if right else None
    return left - _divide(left, right) * right


def _power(left: Any, right: Any) -> Any:
    found = float(left) ** float(right)
    return found if isinstance(found, float) else None


_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "%": _remainder,
    "^": _power,
}


def _bounded(value: Any) -> Any:
    if len(value) > MAX_QUERY_VALUE_ITEMS:
        raise _too_large()
    return value


def check_size(value: Any) -> None:
    """`LimitExceeded` when a list holds too much, lists within lists included."""
    count = 0
    pending = [value]
    while pending:
        one = pending.pop()
        if isinstance(one, list):
            count += len(one)
            if count > MAX_QUERY_VALUE_ITEMS:
                raise _too_large()
            pending += one


def _too_large() -> LimitExceeded:
    return LimitExceeded(
        f"the query builds a value of more than {MAX_QUERY_VALUE_ITEMS:,} items",
        hint="collect less, or return rows",
        limit=MAX_QUERY_VALUE_ITEMS,
    )


def order_key(value: Any) -> tuple[Any, ...]:
    """Sorts any values as openCypher orders them: maps, nodes, edges, lists, paths, (bytes,) strings,
    booleans, numbers, not-a-number, null. Equal keys are one value to DISTINCT and to grouping."""
    match value:
        case None:
            return (9,)
        case bool():
            return 6, value
        case int() | float():
            return (8,) if value != value else (7, value)
        case str():
            return 5, value
        case bytes():
            return 4, value
        case NodeKey():
            return 1, id_text(value.id), value.type
        case EdgeValue():
            return 2, value.identity
        case PathValue():
            return 3.5, tuple(map(order_key, (*value.nodes, *value.edges)))
        case list():
            return 3, tuple(map(order_key, value))
        case dict():
            return 0, tuple(sorted((str(name), order_key(one)) for name, one in value.items()))
    return 10, repr(value)
