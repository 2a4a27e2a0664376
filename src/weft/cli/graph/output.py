"""How nodes, edges and paths are printed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from weft.cli.output import emit, note, print_table
from weft.graph import Edge, Group, Node, NodeRef, Path

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def print_items(items: Sequence[Any], reason: str, json: bool) -> None:
    """Nodes, edges, paths or groups, and whether they are all."""
    if json:
        for item in items:
            emit(True, {"item": plain(item)}, "")
        emit(True, {"complete": not reason, "reason": reason}, "")
        return
    if items:
        columns, *rows = _table(items)
        print_table(columns, rows)
    if reason:
        note(f"not everything: {reason}")


def print_rows(columns: Sequence[str], rows: Sequence[dict[str, Any]], reason: str, json: bool) -> None:
    """The rows of a query, and whether they are all."""
    if json:
        for row in rows:
            emit(True, {"item": {name: plain(value) for name, value in row.items()}}, "")
        emit(True, {"complete": not reason, "reason": reason}, "")
        return
    print_table(columns, [[text(row[name]) for name in columns] for row in rows])
    if reason:
        note(f"not everything: {reason}")


def plain(value: Any) -> Any:
    """A value for JSON: structs and references as maps, bytes as base64."""
    if isinstance(value, Group) and isinstance(value.key, NodeRef):
        return {"key": value.key._asdict(), "count": value.count}
    return msgspec.to_builtins(value)


def text(value: Any) -> str:
    """A value for people, on one line."""
    match value:
        case str():
            return value
        case Node():
            return f"{value.type}:{value.id}" + (f" {_map(value.properties)}" if value.properties else "")
        case NodeRef():
            return f"{value.type}:{value.id}"
        case Edge():
            told = f" {_map(value.properties)}" if value.properties else ""
            return f"{value.source} -{value.type}-> {value.target}{told}"
        case Path():
            return _path(value)
        case None:
            return ""
        case bytes():
            return base64.b64encode(value).decode()
        case _:
            return msgspec.json.encode(value, enc_hook=str).decode()


def when(time_us: int | None) -> str:
    """An event time for people."""
    if time_us is None:
        return ""
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat().replace("+00:00", "Z")


def _table(items: Sequence[Any]) -> list[tuple[str, ...]]:
    first = items[0]
    if isinstance(first, Node):
        return [
            ("node", "when", "properties"),
            *((f"{one.type}:{one.id}", when(one.event_time_us), _map(one.properties)) for one in items),
        ]
    if isinstance(first, Edge):
        return [
            ("source", "edge", "target", "when", "properties"),
            *(
                (one.source, one.type, one.target, when(one.event_time_us), _map(one.properties))
                for one in items
            ),
        ]
    if isinstance(first, Group):
        return [("group", "count"), *((text(one.key), f"{one.count:,}") for one in items)]
    return [("path",), *((_path(one),) for one in items)]


def _path(path: Path) -> str:
    told = f"{path.nodes[0].type}:{path.nodes[0].id}"
    for at, edge in enumerate(path.edges):
        before, after = path.nodes[at], path.nodes[at + 1]
        arrow = f" -{edge.type}-> " if edge.source == before.id else f" <-{edge.type}- "
        told += f"{arrow}{after.type}:{after.id}"
    return told


def _map(properties: dict[str, Any]) -> str:
    return ", ".join(f"{name}={text(value)}" for name, value in properties.items())
