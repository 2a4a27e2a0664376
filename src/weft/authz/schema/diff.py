"""What a schema change does: the changes, readable, and the stored tuples that it would orphan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from weft.authz.conditions import Conditions
from weft.authz.schema.model import (
    AllowedSubject,
    ComputedUserset,
    Condition,
    Exclusion,
    Intersection,
    NamespaceConfig,
    Nil,
    Relation,
    Rewrite,
    Schema,
    Self,
    This,
    TupleToUserset,
    Union,
)
from weft.authz.schema.validate import describe
from weft.authz.tuples import WILDCARD, RelationTuple, TupleFilter
from weft.core.errors import Invalid, LimitExceeded, NotFound

Kind = Literal["added", "removed", "changed"]


class Change(NamedTuple):
    """One difference between two schemas."""

    kind: Kind
    what: Literal["namespace", "relation", "type", "rewrite", "condition"]
    name: str
    """`doc`, `doc#viewer`, or the name of a condition."""
    detail: str = ""

    def __str__(self) -> str:
        thing = "" if self.what in ("type", "rewrite") else f"{self.what} "
        return f"{self.kind} {thing}`{self.name}`" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class OrphanQuery:
    """Tuples that a change may orphan: read those that the filter selects, and ask `matches` of each."""

    change: Change
    filter: TupleFilter
    condition: str
    """Only tuples with this condition; empty where any will do."""
    _admitted: _Admission

    def matches(self, item: RelationTuple) -> bool:
        """Whether the new schema would ignore the tuple, or could not evaluate its condition."""
        if self.condition and (item.condition is None or item.condition.name != self.condition):
            return False
        return self.filter.matches(item) and not self._admitted(item)


@dataclass(frozen=True)
class SchemaDiff:
    """What changes from one schema to another."""

    changes: tuple[Change, ...]
    orphans: tuple[OrphanQuery, ...]
    """A tuple may match more than one of them."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        return "\n".join(map(str, self.changes))


def diff(old: Schema, new: Schema) -> SchemaDiff:
    """The changes from `old` to `new`, both valid; order alone is no change."""
    found = [*_namespaces(old, new), *_conditions(old, new)]
    admitted = _Admission(new)
    orphans = [
        OrphanQuery(change, filter_, change.name if change.what == "condition" else "", admitted)
        for change, filters in found
        for filter_ in filters
    ]
    return SchemaDiff(tuple(change for change, _ in found), tuple(orphans))


class _Admission:
    """Whether a schema admits a tuple as it stands, with its stored context."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._conditions = Conditions(schema)

    def __call__(self, item: RelationTuple) -> bool:
        if not self._schema.allows(item):
            return False
        try:
            if item.condition is not None:
                self._conditions.check_stored(item.condition)
        except (Invalid, LimitExceeded, NotFound):
            return False
        return True


_Found = tuple[Change, list[TupleFilter]]


def _namespaces(old: Schema, new: Schema) -> Iterator[_Found]:
    for name, namespace in old.by_name.items():
        if name not in new.by_name:
            yield Change("removed", "namespace", name), [TupleFilter(namespace=name)]
        else:
            yield from _relations(namespace, new.by_name[name])
    for name in [name for name in new.by_name if name not in old.by_name]:
        yield Change("added", "namespace", name), []


def _relations(old: NamespaceConfig, new: NamespaceConfig) -> Iterator[_Found]:
    for name, relation in old.by_name.items():
        if name not in new.by_name:
            filters = [] if relation.is_permission else [TupleFilter(namespace=old.name, relation=name)]
            yield Change("removed", "relation", f"{old.name}#{name}"), filters
        else:
            yield from _relation(old.name, relation, new.by_name[name])
    for name in [name for name in new.by_name if name not in old.by_name]:
        yield Change("added", "relation", f"{old.name}#{name}"), []


def _relation(namespace: str, old: Relation, new: Relation) -> Iterator[_Found]:
    name = f"{namespace}#{old.name}"
    if old.rewrite != new.rewrite:
        detail = f"`{show(old.rewrite)}` becomes `{show(new.rewrite)}`"
        yield Change("changed", "rewrite", name, detail), []
    whole = [TupleFilter(namespace=namespace, relation=old.name)]
    if old.allowed is None or new.allowed is None:
        if old.allowed is not None:
            yield Change("changed", "type", name, "now allows any user"), []
        elif new.allowed is not None:
            kinds = ", ".join(f"`{describe(subject)}`" for subject in new.allowed) or "no users of its own"
            yield Change("changed", "type", name, f"allowed any user, now {kinds}"), whole
        return
    for subject in old.allowed:
        if subject not in new.allowed:
            change = Change("changed", "type", name, f"no longer allows `{describe(subject)}`")
            yield change, [_filter(namespace, old.name, subject)]
    for subject in new.allowed:
        if subject not in old.allowed:
            yield Change("changed", "type", name, f"now allows `{describe(subject)}`"), []


def _conditions(old: Schema, new: Schema) -> Iterator[_Found]:
    for name, condition in old.conditions_by_name.items():
        if name not in new.conditions_by_name:
            yield Change("removed", "condition", name), _users_of(new, name)
        elif condition != (changed := new.conditions_by_name[name]):
            affected = _users_of(new, name) if _types(condition) != _types(changed) else []
            detail = f"`{_show_condition(condition)}` becomes `{_show_condition(changed)}`"
            yield Change("changed", "condition", name, detail), affected
    for name in [name for name in new.conditions_by_name if name not in old.conditions_by_name]:
        yield Change("added", "condition", name), []


def _users_of(schema: Schema, condition: str) -> list[TupleFilter]:
    """Where tuples with that condition may stand: their stored context has to fit its parameters."""
    return [
        TupleFilter(namespace=namespace.name, relation=relation.name)
        for namespace in schema.namespaces
        for relation in namespace.relations
        if not relation.is_permission
        and (relation.allowed is None or any(s.condition == condition for s in relation.allowed))
    ]


def _types(condition: Condition) -> dict[str, str]:
    return {parameter.name: str(parameter.type) for parameter in condition.parameters}


def _filter(namespace: str, relation: str, subject: AllowedSubject) -> TupleFilter:
    return TupleFilter(
        namespace=namespace,
        relation=relation,
        user_namespace=subject.namespace,
        user_id=WILDCARD if subject.wildcard else None,
        user_relation=subject.relation,
    )


def show(rewrite: Rewrite) -> str:
    """A rewrite for people, in SpiceDB's signs, with `this` for the relation's own tuples."""
    match rewrite:
        case Union(parts):
            return " + ".join(map(_part, parts))
        case Intersection(parts):
            return " & ".join(map(_part, parts))
        case Exclusion(base, subtract):
            return f"{_part(base)} - {_part(subtract)}"
        case ComputedUserset(relation):
            return relation
        case TupleToUserset(tupleset, computed, every):
            return f"{tupleset}.all({computed})" if every else f"{tupleset}->{computed}"
        case This():
            return "this"
        case Nil():
            return "nil"
        case Self():
            return "self"


def _part(rewrite: Rewrite) -> str:
    compound = isinstance(rewrite, Union | Intersection | Exclusion)
    return f"({show(rewrite)})" if compound else show(rewrite)


def _show_condition(condition: Condition) -> str:
    parameters = ", ".join(f"{name} {type_}" for name, type_ in _types(condition).items())
    return f"({parameters}) {{ {' '.join(condition.expression.split())} }}"
