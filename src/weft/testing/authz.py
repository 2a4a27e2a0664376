"""The oracle of authorization: what the answers are, by set algebra over the whole tuple set.

It knows nothing of plans, reads, order or short cuts. Members are triples (object, relation, user). Least
sets that are closed under the rewrites alternate until they settle: the well-founded model, as Van Gelder
(1989) defines it, with what is surely in, and what may be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from weft.authz.schema.model import (
    ComputedUserset,
    Exclusion,
    Intersection,
    Rewrite,
    Schema,
    Self,
    This,
    TupleToUserset,
    Union,
)
from weft.authz.tuples import ObjectRef, RelationTuple, User

Member = tuple[ObjectRef, str, User]
Judge = Callable[[RelationTuple], bool | None]
"""Whether a tuple counts: True, False, or None where that depends on missing context."""


class _Facts:
    """The tuples that count by `object#relation`, and those of them that surely do."""

    def __init__(self, schema: Schema, tuples: Iterable[RelationTuple], now_us: int, judge: Judge) -> None:
        self.schema = schema
        self.possible: dict[tuple[ObjectRef, str], list[RelationTuple]] = {}
        self.sure: dict[tuple[ObjectRef, str], list[RelationTuple]] = {}
        for item in tuples:
            if schema.allows(item) and not item.expired(now_us) and (held := judge(item)) is not False:
                self.possible.setdefault((item.object, item.relation), []).append(item)
                if held:
                    self.sure.setdefault((item.object, item.relation), []).append(item)

    def holds(
        self,
        node: Rewrite,
        at: tuple[ObjectRef, str, User],
        of: set[Member],
        against: set[Member],
        sure: bool,
    ) -> bool:
        """Whether the user is in the rewrite, where `of` is so far and exclusions go by `against`."""
        object_, relation, user = at
        here, there = (self.sure, self.possible) if sure else (self.possible, self.sure)
        match node:
            case This():
                return any(_names(item.user, user, of) for item in here.get((object_, relation), ()))
            case ComputedUserset(name):
                return (object_, name, user) in of
            case TupleToUserset(tupleset, computed, every):
                some = any((other, computed, user) in of for other in _objects(here, object_, tupleset))
                others = _objects(there, object_, tupleset) if every else ()
                return some and all((other, computed, user) in of for other in others)
            case Union(children):
                return any(self.holds(child, at, of, against, sure) for child in children)
            case Intersection(children):
                return all(self.holds(child, at, of, against, sure) for child in children)
            case Exclusion(base, subtract):
                excluded = self.holds(subtract, at, against, of, not sure)
                return not excluded and self.holds(base, at, of, against, sure)
            case Self():
                return user == User(object_.namespace, object_.id)
        return False

    def least(self, universe: list[tuple[Member, Rewrite]], against: set[Member], sure: bool) -> set[Member]:
        """The least set of members that is closed under the rewrites."""
        of: set[Member] = set()
        size = -1
        while size != len(of):
            size = len(of)
            of |= {at for at, node in universe if at not in of and self.holds(node, at, of, against, sure)}
            of |= {at for at, _ in universe if at[2] == User(at[0].namespace, at[0].id, at[1])}
        return of


class Oracle:
    """Who is in what: `sure` members, `possible` ones, and between them what depends on missing context or on
    an exclusion of itself. Knows the users and objects of the tuples, and those named to it."""

    def __init__(
        self,
        schema: Schema,
        tuples: Iterable[RelationTuple],
        *,
        now_us: int,
        judge: Judge = lambda _: True,
        users: Iterable[User] = (),
        objects: Iterable[ObjectRef] = (),
    ) -> None:
        stored = list(tuples)
        self.users = sorted({*users, *(item.user for item in stored)})
        named = {user.object for user in self.users if not user.is_wildcard}
        self.objects = sorted({*objects, *named, *(item.object for item in stored)})
        self.universe = [
            ((object_, relation.name, user), relation.rewrite)
            for object_ in self.objects
            if object_.namespace in schema.by_name
            for relation in schema.by_name[object_.namespace].relations
            for user in self.users
        ]
        self._facts = _Facts(schema, stored, now_us, judge)
        self.sure: set[Member] = set()
        while True:
            self.possible = self._facts.least(self.universe, self.sure, False)
            surer = self._facts.least(self.universe, self.possible, True)
            if surer == self.sure:
                break
            self.sure = surer

    def value(self, object_: ObjectRef, relation: str, user: User) -> bool | None:
        """True, False, or None for what is between."""
        at = (object_, relation, user)
        return True if at in self.sure else None if at in self.possible else False


def _objects(
    facts: dict[tuple[ObjectRef, str], list[RelationTuple]], object_: ObjectRef, tupleset: str
) -> list[ObjectRef]:
    return [item.user.object for item in facts.get((object_, tupleset), ()) if not item.user.is_wildcard]


def _names(named: User, user: User, of: set[Member]) -> bool:
    if named.relation:
        return named == user or (named.object, named.relation, user) in of
    return named == user or (named.id == "*" and (named.namespace, "") == (user.namespace, user.relation))
