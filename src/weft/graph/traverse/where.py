"""Conditions on properties: `{"device": "tv", "n": {">": 3, "<=": 9}, "name": {"in": ["a", "b"]}}`.

All conditions must hold. A missing property satisfies none, and values that do not compare (a string with a
number, under a type that keeps unknown properties) do not match. `event_time_us` may be asked like a
property, and of a node also `id`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from weft.core.errors import Invalid
from weft.graph.types import EdgeType, NodeType, a_kind

Where = Mapping[str, Any]
Predicate = Callable[[Mapping[str, Any]], bool]

VALID_FROM: Final = "valid_from_us"
VALID_TO: Final = "valid_to_us"
_VALIDITY: Final = (VALID_FROM, VALID_TO)
_ABSENT: Final = object()


def _starts_with(value: Any, prefix: Any) -> bool:
    return isinstance(value, str) and value.startswith(prefix)


def _is_in(value: Any, choices: Any) -> bool:
    return value in choices


_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": _is_in,
    "starts_with": _starts_with,
}


def compile_where(where: Where | None, kind: NodeType | EdgeType) -> Predicate | None:
    """A test on properties, or None when there is nothing to test; `Invalid` names what cannot be asked."""
    if not where:
        return None
    if not isinstance(where, Mapping):
        raise Invalid(f"`where` is a mapping from property to value, not `{where!r:.80}`")
    tests = [test for name, wanted in where.items() for test in _tests(name, wanted, kind)]
    return lambda properties: all(
        (value := properties.get(name, _ABSENT)) is not _ABSENT and _holds(compare, value, operand)
        for name, compare, operand in tests
    )


def has_validity(kind: EdgeType) -> bool:
    """Whether edges of the type say when they are valid, as int `valid_from_us` or `valid_to_us`."""
    return any(kind.kinds.get(name) is int for name in _VALIDITY)


def valid_at(as_of_us: int, kind: EdgeType) -> Predicate | None:
    """A test of `valid_from_us <= as_of_us < valid_to_us`, where an absent end is open; None for a type
    without validity, whose edges are valid always."""
    if not has_validity(kind):
        return None
    starts, ends = (kind.kinds.get(name) is int for name in _VALIDITY)

    def test(properties: Mapping[str, Any]) -> bool:
        start = properties.get(VALID_FROM) if starts else None
        end = properties.get(VALID_TO) if ends else None
        return (start is None or start <= as_of_us) and (end is None or as_of_us < end)

    return test


def _tests(
    name: str, wanted: Any, kind: NodeType | EdgeType
) -> list[tuple[str, Callable[[Any, Any], bool], Any]]:
    expected = property_kind(name, kind)
    conditions = wanted if isinstance(wanted, Mapping) and expected is not dict else {"=": wanted}
    tests = []
    for symbol, operand in conditions.items():
        if symbol not in _OPERATORS:
            raise Invalid(f"`{symbol}` is not a comparison", hint=f"use one of {' '.join(_OPERATORS)}")
        _check_operand(name, symbol, operand, expected)
        tests.append((name, _OPERATORS[symbol], operand))
    return tests


def property_kind(name: str, kind: NodeType | EdgeType) -> type | None:
    """The Python type of a property, None when it may hold anything; `Invalid` when the type has no such."""
    if name == "event_time_us":
        return int
    if name == "id" and isinstance(kind, NodeType):
        return str
    if name not in kind.kinds and kind.unknown == "refuse":
        known = ", ".join(f"`{known}`" for known in kind.kinds) or "none"
        raise Invalid(f"{kind.label} has no property `{name}`", hint=f"declared are {known}")
    return kind.kinds.get(name)


def _check_operand(name: str, symbol: str, operand: Any, expected: type | None) -> None:
    if symbol == "in" and not isinstance(operand, list | tuple):
        raise Invalid(f"`in` on `{name}` takes a list, not `{operand!r:.80}`")
    if symbol == "starts_with" and not isinstance(operand, str):
        raise Invalid(f"`starts_with` on `{name}` takes a string, not `{operand!r:.80}`")
    for one in operand if symbol == "in" else [operand]:
        numbers = expected in (int, float) and type(one) in (int, float)
        if expected is not None and type(one) is not expected and not numbers:
            raise Invalid(f"`{name}` is {a_kind(expected)}, it cannot be compared with `{one!r:.80}`")


def _holds(compare: Callable[[Any, Any], bool], value: Any, operand: Any) -> bool:
    try:
        return compare(value, operand)
    except TypeError:
        return False


def sort_key(value: Any) -> tuple[int, Any]:
    """A key that orders any two property values: numbers, text, bytes, the rest, absent."""
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, str):
        return 1, value
    if isinstance(value, bytes):
        return 2, value
    return (4, "") if value is None else (3, repr(value))
