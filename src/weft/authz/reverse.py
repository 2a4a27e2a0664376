"""Which objects a user may possibly be in a relation with: the walk from the user towards the objects.

It finds too much rather than too little: of an intersection it follows one part, of an exclusion the base,
and conditions are taken as met. What it finds is checked like any other question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator

from weft.authz.plan import Plan, Userset
from weft.authz.schema.model import (
    ComputedUserset,
    Exclusion,
    Intersection,
    Relation,
    Rewrite,
    Self,
    This,
    TupleToUserset,
    Union,
)
from weft.authz.store import Objects, Read, Rows
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, User

Reached = tuple[ObjectRef, str]
"""The user may be in this relation of this object."""


class Reverse:
    """A schema's rewrites turned round."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._computed: dict[Userset, list[str]] = defaultdict(list)
        """Relation -> relations of the same object that are computed from it."""
        self._arrows: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
        """Computed relation -> namespace, relation and tupleset of the arrows to it."""
        self._selves: dict[str, list[str]] = defaultdict(list)
        self._direct: list[tuple[str, Relation]] = []
        """Relations whose own tuples count."""
        for config in plan.schema.namespaces:
            for relation in config.relations:
                for node in _positive(relation.rewrite):
                    self._add(config.name, relation, node)

    def walk(
        self, user: User, target: Userset, counts: Callable[[RelationTuple], bool]
    ) -> Generator[list[Read], list[Rows], set[str]]:
        """The ids of all objects that the user may be in the target relation with, and perhaps of others."""
        seen: set[Reached] = set()
        asked: dict[Objects, set[str]] = defaultdict(set)
        """Reads, each with the relations that the objects found are reached in."""
        self._ask(asked, self._ways(user))
        fresh = self._start(user)
        while True:
            while fresh:
                at = fresh.pop()
                if at in seen:
                    continue
                seen.add(at)
                object_, relation = at
                fresh.extend((object_, name) for name in self._computed[object_.namespace, relation])
                self._ask(asked, self._ways(User(object_.namespace, object_.id, relation)))
                self._ask(asked, self._ways_by_arrow(object_, relation))
            if not asked:
                return {object_.id for object_, name in seen if (object_.namespace, name) == target}
            reads: list[Read] = list(asked)
            reached = list(asked.values())
            asked.clear()
            for names, rows in zip(reached, (yield reads), strict=True):
                found = {row.object for row in rows if counts(row)}
                fresh.extend((object_, name) for object_ in found for name in names)

    def _add(self, namespace: str, relation: Relation, node: Rewrite) -> None:
        match node:
            case This():
                self._direct.append((namespace, relation))
            case ComputedUserset(name):
                self._computed[namespace, name].append(relation.name)
            case TupleToUserset(tupleset, computed):
                self._arrows[computed].append((namespace, relation.name, tupleset))
            case Self():
                self._selves[namespace].append(relation.name)

    def _start(self, user: User) -> list[Reached]:
        if user.relation:
            return [(user.object, user.relation)]
        return [(user.object, name) for name in self._selves[user.namespace] if user.id != WILDCARD]

    def _ways(self, user: User) -> Iterator[tuple[Objects, str]]:
        """The tuples that may name the user, and the relation that each leads to."""
        for namespace, relation in self._direct:
            if _may_name(relation, user):
                yield Objects(user, namespace, relation.name), relation.name
                if not user.relation and user.id != WILDCARD:
                    yield Objects(User(user.namespace, WILDCARD), namespace, relation.name), relation.name

    def _ways_by_arrow(self, object_: ObjectRef, relation: str) -> Iterator[tuple[Objects, str]]:
        for namespace, name, tupleset in self._arrows[relation]:
            for user_relation in self._tupleset_relations(namespace, tupleset, object_.namespace):
                yield Objects(User(object_.namespace, object_.id, user_relation), namespace, tupleset), name

    def _tupleset_relations(self, namespace: str, tupleset: str, user_namespace: str) -> list[str]:
        kinds = self._plan.tupleset_kinds(namespace, tupleset)
        if kinds is not None:
            return [relation for at, relation in kinds if at == user_namespace]
        config = self._plan.schema.by_name.get(user_namespace)
        return ["", *(config.by_name if config else ())]

    @staticmethod
    def _ask(asked: dict[Objects, set[str]], ways: Iterator[tuple[Objects, str]]) -> None:
        for read, name in ways:
            asked[read].add(name)


def _positive(rewrite: Rewrite) -> Iterator[Rewrite]:
    """The leaves that can bring a user in: one part of each intersection, the base of each exclusion."""
    match rewrite:
        case Union(children):
            for child in children:
                yield from _positive(child)
        case Intersection(children):
            yield from _positive(children[0])
        case Exclusion(base):
            yield from _positive(base)
        case _:
            yield rewrite


def _may_name(relation: Relation, user: User) -> bool:
    if relation.allowed is None:
        return True
    return any((a.namespace, a.relation) == (user.namespace, user.relation) for a in relation.allowed)
