"""`weft authz read` and the lists: pages that say whether more follows, or everything as a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

import typer

from weft.authz.results import Page
from weft.authz.tuples import RelationTuple
from weft.cli.authz.options import (
    At,
    Context,
    Contextual,
    Data,
    Exact,
    Latest,
    ObjectName,
    RelationName,
    UserName,
    circumstances,
    moment,
    open_authz,
)
from weft.cli.authz.output import decision_fields, tuple_fields, verdict
from weft.cli.output import Json, emit, note, print_table

T = TypeVar("T")
Limit = Annotated[int, typer.Option(help="Items on a page.")]
Cursor = Annotated[str | None, typer.Option(help="Go on behind an earlier page.")]
All = Annotated[bool, typer.Option("--all", help="All pages, as they come.")]


def read(
    object_: Annotated[
        str | None, typer.Argument(metavar="[OBJECT]", help="An object, doc:1, or a namespace, doc.")
    ] = None,
    relation: Annotated[str | None, typer.Option(help="The tuples' relation.")] = None,
    user: Annotated[str | None, typer.Option(help="A user, user:ann, or a namespace, user.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    all_: All = False,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """List stored tuples by object, relation or user.

    Example: weft authz read doc:1 --relation viewer
    """
    when = moment(at, exact, latest)
    header = True

    def show(page: Page[RelationTuple]) -> None:
        nonlocal header
        if json:
            for item in page.items:
                emit(True, tuple_fields(item), "")
        elif page.items:
            columns = ("object", "relation", "user", "condition", "expires")
            print_table(columns, list(map(_row, page.items)), header=header)
            header = False

    with open_authz(data) as authz:
        _pages(
            lambda after: authz.read(object_, relation, user, limit=limit, cursor=after, at=when),
            show,
            cursor,
            all_,
            json,
        )


def list_objects(
    namespace: Annotated[str, typer.Argument(help="Of the objects, like doc.", show_default=False)],
    relation: RelationName,
    user: UserName,
    limit: Limit = 100,
    cursor: Cursor = None,
    all_: All = False,
    context: Context = None,
    contextual: Contextual = None,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the objects of a namespace that a user is in a relation with, ordered by id.

    Example: weft authz list-objects doc view user:ann --all
    """
    asked = circumstances(at, exact, latest, context, contextual)
    with open_authz(data) as authz:
        _pages(
            lambda after: authz.list_objects(namespace, relation, user, limit=limit, cursor=after, **asked),
            lambda page: _show_items("object", page, json),
            cursor,
            all_,
            json,
        )


def list_subjects(
    object_: ObjectName,
    relation: RelationName,
    kind: Annotated[str, typer.Argument(help="Of users: user, or group#member.", show_default=False)],
    limit: Limit = 100,
    cursor: Cursor = None,
    all_: All = False,
    context: Context = None,
    contextual: Contextual = None,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the users of a kind that are in a relation on an object, ordered by id.

    Example: weft authz list-subjects doc:1 view user
    """
    asked = circumstances(at, exact, latest, context, contextual)
    with open_authz(data) as authz:
        _pages(
            lambda after: authz.list_subjects(object_, relation, kind, limit=limit, cursor=after, **asked),
            lambda page: _show_items("user", page, json),
            cursor,
            all_,
            json,
        )


def list_permissions(
    object_: ObjectName,
    user: UserName,
    context: Context = None,
    contextual: Contextual = None,
    at: At = None,
    exact: Exact = False,
    latest: Latest = False,
    data: Data = None,
    json: Json = False,
) -> None:
    """List the relations and permissions that a user has, or may have, on an object.

    Example: weft authz list-permissions doc:1 user:ann
    """
    asked = circumstances(at, exact, latest, context, contextual)
    with open_authz(data) as authz:
        found = authz.list_permissions(object_, user, **asked)
    for name, decision in ((item.name, item.decision) for item in found):
        shown = name if decision.allowed else f"{name}  ({verdict(decision)})"
        emit(json, {"name": name, **decision_fields(decision)}, shown)


def _pages(
    ask: Callable[[str | None], Page[T]],
    show: Callable[[Page[T]], None],
    cursor: str | None,
    everything: bool,
    json: bool,
) -> None:
    """Show one page, or each as it comes; the end says whether the list is complete, else how to go on."""
    page = ask(cursor)
    show(page)
    while everything and page.cursor is not None:
        page = ask(page.cursor)
        show(page)
    if json:
        emit(True, {"complete": page.complete, "cursor": page.cursor, "zookie": page.zookie}, "")
    elif page.cursor is not None:
        note(f"more follow; go on with --cursor {page.cursor}, or ask for --all")


def _show_items(what: str, page: Page[str], json: bool) -> None:
    for item in page.items:
        fields: dict[str, Any] = {what: item, "conditional": False, "missing": []}
        but = ""
        if item.endswith(":*"):
            fields["excluded"] = page.excluded
            but = f"  (but {', '.join(page.excluded)})" if page.excluded else ""
        emit(json, fields, item + but)
    for unsure in page.conditional:
        missing = ", ".join(f"`{name}`" for name in unsure.missing)
        fields = {what: unsure.item, "conditional": True, "missing": unsure.missing}
        emit(json, fields, f"{unsure.item}  (conditional on {missing})")


def _row(item: RelationTuple) -> Sequence[str]:
    fields = tuple_fields(item)
    condition = str(item.condition) if item.condition else ""
    return str(item.object), item.relation, str(item.user), condition, fields["expires_at"] or ""
