"""What a caller asks to write, read from text and held against the schema before any store sees it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from weft.authz.plan import Plan
from weft.authz.schema.model import AllowedSubject
from weft.authz.store import Write
from weft.authz.tuples import RelationTuple, TupleFilter, check_tuple, parse_tuple
from weft.core.errors import Invalid
from weft.core.limits import within

T = TypeVar("T")
TupleText = str | RelationTuple
"""A relation tuple, or its text."""


def listed(name: str, items: Iterable[T]) -> tuple[T, ...]:
    """The items; `Invalid` for a text, which would be taken for a list of letters."""
    if isinstance(items, str):
        raise Invalid(f"`{name}` takes a list, not the text `{items}`", hint=f"write {name}=[...]")
    return tuple(items)


def read_tuple(item: TupleText) -> RelationTuple:
    """The well-formed tuple."""
    return parse_tuple(item) if isinstance(item, str) else check_tuple(item)


def require_admitted(plan: Plan, item: RelationTuple) -> None:
    """`Invalid` or `NotFound` unless the schema admits the tuple and its condition takes the context."""
    relation = plan.schema.relation(item.object.namespace, item.relation)
    if not plan.admits(item):
        if relation.is_permission:
            hint = "write to the relations that it is computed from"
        else:
            hint = "it takes " + ", ".join(f"`{_shown(kind)}`" for kind in relation.allowed or ())
        where = f"{item.object.namespace}#{item.relation}"
        raise Invalid(f"tuple `{item}` is not one that `{where}` takes", hint=hint)
    if item.condition is not None:
        plan.conditions.check_stored(item.condition)


def build_write(
    plan: Plan,
    *,
    create: Iterable[TupleText],
    touch: Iterable[TupleText],
    delete: Iterable[TupleText],
    must_exist: Iterable[TupleText | TupleFilter],
    must_not_exist: Iterable[TupleText | TupleFilter],
    idempotency_key: str | None,
    limit: int,
) -> Write:
    """The write, with every tuple well-formed, admitted by the plan's schema and named once."""
    write = Write(
        create=tuple(map(read_tuple, create)),
        touch=tuple(map(read_tuple, touch)),
        delete=tuple(map(read_tuple, delete)),
        must_exist=tuple(map(_filter, must_exist)),
        must_not_exist=tuple(map(_filter, must_not_exist)),
        idempotency_key=idempotency_key,
        schema_revision=plan.revision,
    )
    changes = [*write.create, *write.touch, *write.delete]
    within("a write", len(changes) + len(write.must_exist) + len(write.must_not_exist), limit, "tuples")
    for item in (*write.create, *write.touch):
        require_admitted(plan, item)
    _require_distinct(changes)
    return write


def _filter(item: TupleText | TupleFilter) -> TupleFilter:
    if isinstance(item, TupleFilter):
        return item
    object_, relation, user = (found := read_tuple(item)).object, found.relation, found.user
    return TupleFilter(
        namespace=object_.namespace,
        object_id=object_.id,
        relation=relation,
        user_namespace=user.namespace,
        user_id=user.id,
        user_relation=user.relation,
    )


def _require_distinct(items: Sequence[RelationTuple]) -> None:
    seen = set()
    for item in items:
        if item.key in seen:
            raise Invalid(f"tuple `{item}` stands twice in one write", hint="keep one of them")
        seen.add(item.key)


def _shown(kind: AllowedSubject) -> str:
    text = f"{kind.namespace}:*" if kind.wildcard else kind.namespace
    text += f"#{kind.relation}" if kind.relation else ""
    text += f" with {kind.condition}" if kind.condition else ""
    return text + (" with an expiration" if kind.expiration else "")
