"""A query as data. Offsets into the text (`at`) take no part in equality: equal syntax means the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["out", "in", "both"]


@dataclass(frozen=True, kw_only=True)
class _Placed:
    at: int = field(default=0, compare=False, repr=False)


@dataclass(frozen=True)
class Constant(_Placed):
    """A literal; its kind keeps `1`, `1.0` and `true` apart."""

    value: Any
    kind: str


@dataclass(frozen=True)
class Parameter(_Placed):
    name: str


@dataclass(frozen=True)
class Variable(_Placed):
    name: str


@dataclass(frozen=True)
class Property(_Placed):
    of: Expression
    name: str


@dataclass(frozen=True)
class ListOf(_Placed):
    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Call(_Placed):
    """A function, its name in lower case; `count(*)` has no arguments."""

    name: str
    arguments: tuple[Expression, ...]
    distinct: bool = False


@dataclass(frozen=True)
class Not(_Placed):
    of: Expression


@dataclass(frozen=True)
class Negative(_Placed):
    of: Expression


@dataclass(frozen=True)
class Arithmetic(_Placed):
    """Operators of one precedence, applied from left to right."""

    first: Expression
    rest: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Comparison(_Placed):
    """`a < b <= c` holds when each neighbouring pair compares."""

    first: Expression
    rest: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Logic(_Placed):
    """`and`, `or` or `xor` of two or more."""

    operator: str
    of: tuple[Expression, ...]


@dataclass(frozen=True)
class Matches(_Placed):
    """`in`, `starts with`, `ends with` or `contains`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class IsNull(_Placed):
    of: Expression


@dataclass(frozen=True)
class HasType(_Placed):
    """`n:account|title`, `r:watched`."""

    of: Expression
    types: tuple[str, ...]


@dataclass(frozen=True)
class Exists(_Placed):
    """A pattern as a condition."""

    pattern: Pattern


Expression = (
    Constant
    | Parameter
    | Variable
    | Property
    | ListOf
    | Call
    | Not
    | Negative
    | Arithmetic
    | Comparison
    | Logic
    | Matches
    | IsNull
    | HasType
    | Exists
)


@dataclass(frozen=True)
class NodePattern(_Placed):
    name: str | None
    types: tuple[str, ...]
    properties: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class EdgePattern(_Placed):
    """`hops` is (fewest, most) for a variable length, None for a single edge."""

    name: str | None
    types: tuple[str, ...]
    direction: Direction
    hops: tuple[int, int] | None
    properties: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True)
class Pattern(_Placed):
    """`edges[i]` is between `nodes[i]` and `nodes[i + 1]`."""

    name: str | None
    nodes: tuple[NodePattern, ...]
    edges: tuple[EdgePattern, ...]


@dataclass(frozen=True)
class Match(_Placed):
    patterns: tuple[Pattern, ...]
    where: Expression | None
    optional: bool


@dataclass(frozen=True)
class Item(_Placed):
    expression: Expression
    name: str


@dataclass(frozen=True)
class Sort(_Placed):
    expression: Expression
    descending: bool


@dataclass(frozen=True)
class Projection(_Placed):
    """`WITH`, or the `RETURN` that ends a query; `star` stands for every name before `items`."""

    returns: bool
    distinct: bool
    star: bool
    items: tuple[Item, ...]
    order: tuple[Sort, ...]
    skip: Expression | None
    limit: Expression | None
    where: Expression | None


Clause = Match | Projection


def parts(expression: Expression) -> tuple[Expression, ...]:
    """The expressions right inside this one; those of an `Exists` are its pattern's business."""
    match expression:
        case Property(of) | Not(of) | Negative(of) | IsNull(of) | HasType(of, _):
            return (of,)
        case ListOf(items) | Logic(_, items):
            return items
        case Call(_, arguments):
            return arguments
        case Arithmetic(first, rest) | Comparison(first, rest):
            return (first, *(operand for _, operand in rest))
        case Matches(_, left, right):
            return (left, right)
        case _:
            return ()


def within(expression: Expression) -> Iterator[Expression]:
    """The expression and all inside it."""
    yield expression
    for part in parts(expression):
        yield from within(part)


def names_in(expression: Expression) -> set[str]:
    """The variables that an expression needs."""
    found = set()
    for part in within(expression):
        if isinstance(part, Variable):
            found.add(part.name)
        elif isinstance(part, Exists):
            found |= pattern_names(part.pattern)
    return found


def pattern_names(pattern: Pattern) -> set[str]:
    elements: tuple[NodePattern | EdgePattern, ...] = (*pattern.nodes, *pattern.edges)
    names = {one.name for one in elements if one.name is not None}
    return names.union(*(names_in(value) for one in elements for _, value in one.properties))


def conjuncts(expression: Expression | None) -> tuple[Expression, ...]:
    """What must all hold."""
    if isinstance(expression, Logic) and expression.operator == "and":
        return tuple(one for part in expression.of for one in conjuncts(part))
    return () if expression is None else (expression,)
