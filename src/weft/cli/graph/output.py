"""How nodes, edges and paths are printed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from weft.cli.output import emit, note, print_table, say
from weft.graph import Edge, EdgeRef, Group, Node, NodeRef, Path, Result
from weft.graph.cypher.query import Rows
from weft.graph.traverse.explain import Profile, StepPlan
from weft.graph.traverse.result import Summary

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def print_items(found: Result[Any], json: bool) -> None:
    """Nodes, edges, paths or groups, and whether they are all."""
    if json:
        for item in found:
            emit(True, {"item": plain(item)}, "")
        emit(True, {"complete": found.complete, "reason": found.reason, "next": found.next}, "")
        return
    if found:
        columns, *rows = _table(found.items)
        print_table(columns, rows)
    if not found.complete:
        note(f"not everything: {found.reason}")
    if found.next is not None:
        note(f"to go on from here: --after {found.next}")


def print_rows(rows: Rows, json: bool) -> None:
    """The rows of a query, and whether they are all."""
    if json:
        for row in rows:
            emit(True, {"item": {name: plain(value) for name, value in row.items()}}, "")
        emit(True, {"complete": rows.complete, "reason": rows.reason}, "")
        return
    print_table(rows.columns, [[text(row[name]) for name in rows.columns] for row in rows])
    if not rows.complete:
        note(f"not everything: {rows.reason}")


def print_summary(summary: Summary, json: bool) -> None:
    """What a property's values are like."""
    told = [(name, text(getattr(summary, name))) for name in ("count", "min", "max", "sum", "avg")]
    if json:
        emit(True, plain(summary), "")
        return
    print_table(("of the property", ""), told)
    if not summary.complete:
        note(f"not everything: {summary.reason}")


def print_plan(steps: Sequence[StepPlan], json: bool) -> None:
    """What each step is going to read."""
    if json:
        emit(True, {"steps": plain(steps)}, "")
        return
    rows = [(step.step, ", ".join(step.reads), f"{step.at_most:,}") for step in steps]
    print_table(("step", "reads", "at most"), rows)


def print_profile(profile: Profile, json: bool) -> None:
    """What each step read, and how long it took."""
    if json:
        emit(True, plain(profile), "")
        return
    rows = [
        (step.step, f"{step.reads:,}", f"{step.items:,}", f"{step.bytes:,}", f"{step.seconds * 1e3:,.3f}")
        for step in profile.steps
    ]
    print_table(("step", "reads", "items", "bytes", "ms"), rows)
    say(f"{profile.nodes:,} nodes in {profile.seconds * 1e3:,.3f} ms")
    if not profile.complete:
        note(f"not everything: {profile.reason}")


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
        case EdgeRef():
            return f"{value.source} -{value.type}-> {value.target}"
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
