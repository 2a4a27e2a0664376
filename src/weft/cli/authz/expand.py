"""`weft authz expand`: the tree of usersets behind a relation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from weft.authz.expand import Tree
from weft.cli.authz.options import (
    At,
    Contextual,
    Data,
    Exact,
    Latest,
    ObjectName,
    RelationName,
    moment,
    open_authz,
)
from weft.cli.output import Json, emit
from weft.core.limits import MAX_DEPTH


def expand(
    object_: ObjectName,
    relation: RelationName,
    depth: Annotated[int, typer.Option(min=0, help="How many tuples deep.")] = MAX_DEPTH,
    contextual: Contextual = None,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """Show the tree of usersets behind a relation.

    Example: weft authz expand doc:1 view --depth 1
    """
    with open_authz(data) as authz:
        tree = authz.expand(
            object_,
            relation,
            depth=depth,
            at=moment(at, exact, latest),
            contextual_tuples=contextual or [],
        )
    emit(json, _fields(tree), "\n".join(_lines(tree, "")))


def _lines(tree: Tree, indent: str) -> Iterator[str]:
    more = " (shown elsewhere, or deeper than asked for)" if tree.open else ""
    condition = f" if {tree.condition}" if tree.condition else ""
    if tree.operation == "userset":
        yield f"{indent}{tree.userset}{condition}{more}"
    elif tree.operation != "users":
        yield f"{indent}{tree.operation}"
    elif not tree.tuples:
        yield f"{indent}no tuples of {tree.userset}"
    for item in tree.tuples:
        yield f"{indent}{item}"
    for child in tree.children:
        yield from _lines(child, indent + "  ")


def _fields(tree: Tree) -> dict[str, Any]:
    return {
        "operation": tree.operation,
        "userset": tree.userset,
        "tuples": [str(item) for item in tree.tuples],
        "condition": tree.condition,
        "open": tree.open,
        "children": [_fields(child) for child in tree.children],
    }
