"""The columns of a node or edge type: its identity, its event time, its properties."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from weft.core.errors import Invalid
from weft.graph.model import Edge, Node
from weft.graph.types import EdgeType, NodeType

Things = Sequence[Node] | Sequence[Edge]


class Column(NamedTuple):
    """`values` takes a page and gives one value per row, None where there is none. Values are of `kind`:
    `str`, `int`, `float`, `bool` or `bytes`; with `json` they are texts in JSON."""

    name: str
    kind: type
    values: Callable[[Things], list[Any]]
    json: bool = False


def columns(kind: NodeType | EdgeType, taken: Iterable[str] = ()) -> list[Column]:
    """`id`, or `source` and `target`; `event_time_us`; the declared properties; and for a type that keeps
    unknown properties `other`, a map of those in JSON.

    Lists and maps are texts in JSON. A property with the name of another column, or one in `taken`, has a `_`
    behind its name.
    """
    ends = ("source", "target") if isinstance(kind, EdgeType) else ("id",)
    fixed = [Column(name, str, _attribute(name)) for name in ends]
    fixed.append(Column("event_time_us", int, _attribute("event_time_us")))
    used = {*taken, *(column.name for column in fixed)}
    found = list(fixed)
    for name, python in kind.kinds.items():
        json = python in (list, dict)
        values = _json(_property(name)) if json else _property(name)
        found.append(Column(_free(name, used), str if json else python, values, json))
    if kind.unknown == "keep":
        found.append(Column(_free("other", used), str, _json(_others(frozenset(kind.kinds))), json=True))
    return found


def _free(name: str, used: set[str]) -> str:
    while name in used:
        name += "_"
    used.add(name)
    return name


def _attribute(name: str) -> Callable[[Things], list[Any]]:
    return lambda page: [getattr(thing, name) for thing in page]


def _property(name: str) -> Callable[[Things], list[Any]]:
    return lambda page: [thing.properties.get(name) for thing in page]


def _others(declared: frozenset[str]) -> Callable[[Things], list[Any]]:
    def values(page: Things) -> list[Any]:
        rest = ({k: v for k, v in one.properties.items() if k not in declared} for one in page)
        return [other or None for other in rest]

    return values


def _json(values: Callable[[Things], list[Any]]) -> Callable[[Things], list[Any]]:
    return lambda page: [None if value is None else _text(value) for value in values(page)]


def _text(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Invalid(f"`{value!r:.80}` has no form in JSON: {error}") from error
