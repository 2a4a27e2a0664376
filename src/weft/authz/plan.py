"""A schema compiled for evaluation: rewrites flattened, and pruned for the kind of user asked about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from weft.authz.schema.model import (
    AllowedSubject,
    ComputedUserset,
    Exclusion,
    Intersection,
    Nil,
    Relation,
    Rewrite,
    Schema,
    Self,
    This,
    TupleToUserset,
    Union,
)
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, TupleCondition, User

if TYPE_CHECKING:
    from weft.authz.conditions import Conditions
    from weft.authz.reverse import Reverse

Kind = tuple[str, str]
"""A kind of user: the namespace, and the relation of a userset or an empty text."""
Userset = tuple[str, str]
"""A relation of a namespace."""


@dataclass(frozen=True)
class Tuples:
    """What remains of `This` for one kind of user: which of the relation's tuples can matter."""

    relation: str
    named: bool
    wildcard: bool
    usersets: bool


class Group(NamedTuple):
    """A relation of the groups-only part. Equal for schemas that say the same of it."""

    computed: tuple[str, ...]
    """Relations of the same object whose users are in it."""
    named: frozenset[AllowedSubject]
    """Whom its own tuples may name; none for a permission."""
    below: frozenset[Userset]
    """Itself and all relations of the part that lead to its users."""


Rule = Rewrite | Tuples
NOBODY: Final = Nil()
_ORDER: Final = {Tuples: 0, Self: 0, ComputedUserset: 1, TupleToUserset: 2}


class Plan:
    """Rules by namespace, relation and kind of user, made on first use and kept."""

    def __init__(self, schema: Schema, revision: int = 0) -> None:
        self.schema = schema
        self.revision = revision
        self.untyped = any(relation.allowed is None for _, relation in _relations(schema))
        """Whether some relation admits any user; then nothing is pruned by kind."""
        self._reach = {} if self.untyped else _reach(schema)
        self._rules: dict[tuple[str, str, str, str], Rule] = {}
        self._flat: dict[tuple[str, str, str, str], Rule] = {}
        self._admits: dict[tuple[str, str, str, str, bool, str, bool], bool] = {}

    @cached_property
    def conditions(self) -> Conditions:
        """The schema's conditions, compiled when first used."""
        from weft.authz.conditions import Conditions

        return Conditions(self.schema)

    @cached_property
    def groups(self) -> dict[Userset, Group]:
        """The groups-only part: relations that name users and groups alone, and are named as groups. Who is
        in them is plain reachability, which an index can keep ready."""
        return {} if self.untyped else _groups(self.schema)

    @cached_property
    def context_names(self) -> frozenset[str]:
        """The names of context that some condition takes; no others matter."""
        return frozenset(p.name for condition in self.schema.conditions for p in condition.parameters)

    @cached_property
    def reverse(self) -> Reverse:
        """The rewrites turned round, for lists of objects."""
        from weft.authz.reverse import Reverse

        return Reverse(self)

    def rule(self, namespace: str, relation: str, user: User) -> Rule:
        """How to find out whether a user of that kind is in the relation; `NOBODY` when none ever is."""
        key = (namespace, relation, user.namespace, user.relation)
        rule = self._rules.get(key)
        if rule is None:
            found = self.schema.find(namespace, relation)
            rule = self._rules[key] = (
                self._prune(found.rewrite, namespace, found, key[2:]) if found else NOBODY
            )
        return rule

    def flat_rule(self, namespace: str, relation: str, user: User) -> Rule:
        """The rule, with the relations that it is computed from put in, where that leaves a union without
        parts of its own to ask about; so what takes one question takes one cell."""
        key = (namespace, relation, user.namespace, user.relation)
        rule = self._flat.get(key)
        if rule is None:
            rule = self.rule(namespace, relation, user)
            parts = None if user.relation else self._flatten(rule, namespace, user, {relation})
            rule = self._flat[key] = rule if parts is None else _union(parts)
        return rule

    def _flatten(self, rule: Rule, namespace: str, user: User, seen: set[str]) -> list[Rule] | None:
        """The parts of a union, each relation's once; None when it is no union."""
        match rule:
            case Union(children):
                found: list[Rule] = []
                for child in children:
                    parts = self._flatten(child, namespace, user, seen)
                    if parts is None:
                        return None
                    found += parts
                return found
            case ComputedUserset(name):
                if name in seen:
                    return []
                seen.add(name)
                return self._flatten(self.rule(namespace, name, user), namespace, user, seen)
            case Intersection() | Exclusion():
                return None
        return [] if rule is NOBODY else [rule]

    def admits(self, item: RelationTuple) -> bool:
        """Whether the schema admits the tuple."""
        user, condition = item.user, item.condition
        key = (
            item.object.namespace,
            item.relation,
            user.namespace,
            user.relation,
            user.id == WILDCARD,
            condition.name if condition else "",
            item.expires_at_us is not None,
        )
        known = self._admits.get(key)
        if known is None:
            known = self._admits[key] = self.schema.allows(item)
        return known

    def admits_kind(
        self,
        namespace: str,
        relation: str,
        user_namespace: str,
        user_relation: str,
        wildcard: bool,
        condition: str,
        expires: bool,
    ) -> bool:
        """Whether it admits tuples of that kind: it goes by nothing else."""
        key = namespace, relation, user_namespace, user_relation, wildcard, condition, expires
        known = self._admits.get(key)
        if known is not None:
            return known
        user = User(user_namespace, WILDCARD if wildcard else "any", user_relation)
        held = TupleCondition(condition) if condition else None
        return self.admits(
            RelationTuple(ObjectRef(namespace, "any"), relation, user, held, 0 if expires else None)
        )

    def require_user(self, user: User) -> None:
        """`NotFound` for a user of a namespace or relation that the schema does not have."""
        if self.untyped:
            return
        if user.relation:
            self.schema.relation(user.namespace, user.relation)
        else:
            self.schema.namespace(user.namespace)

    def tupleset_kinds(self, namespace: str, tupleset: str) -> list[Kind] | None:
        """The kinds of users that a tupleset's tuples name, wildcards apart; None for any kind."""
        relation = self.schema.find(namespace, tupleset)
        if relation is None:
            return []
        return None if relation.allowed is None else _kinds(relation.allowed)

    def reaches(self, namespace: str, relation: str, kind: Kind) -> bool:
        """Whether a user of the kind may ever be in the relation."""
        return self.untyped or kind in self._reach.get((namespace, relation), ())

    def _prune(self, node: Rewrite, namespace: str, relation: Relation, kind: Kind) -> Rule:
        match node:
            case This():
                return self._tuples(relation, kind)
            case ComputedUserset(name):
                return node if self.reaches(namespace, name, kind) else NOBODY
            case TupleToUserset(tupleset, computed):
                kinds = self.tupleset_kinds(namespace, tupleset)
                live = kinds is None or any(self.reaches(at, computed, kind) for at, _ in kinds)
                return node if live else NOBODY
            case Union(children):
                pruned = (self._prune(child, namespace, relation, kind) for child in children)
                return _union([rule for rule in pruned if rule != NOBODY])
            case Intersection(children):
                parts = [self._prune(child, namespace, relation, kind) for child in children]
                return NOBODY if NOBODY in parts else Intersection(tuple(parts))  # type: ignore[arg-type]
            case Exclusion(base, subtract):
                kept = self._prune(base, namespace, relation, kind)
                dropped = self._prune(subtract, namespace, relation, kind)
                return kept if NOBODY in (kept, dropped) else Exclusion(kept, dropped)  # type: ignore[arg-type]
            case Self():
                return node if kind == (namespace, "") else NOBODY
        return NOBODY

    def _tuples(self, relation: Relation, kind: Kind) -> Rule:
        if relation.allowed is None:
            return Tuples(relation.name, named=True, wildcard=not kind[1], usersets=True)
        tuples = Tuples(
            relation.name,
            named=any((a.namespace, a.relation) == kind and not a.wildcard for a in relation.allowed),
            wildcard=any((a.namespace, a.relation) == kind and a.wildcard for a in relation.allowed),
            usersets=any(
                a.relation and self.reaches(a.namespace, a.relation, kind) for a in relation.allowed
            ),
        )
        return tuples if tuples.named or tuples.wildcard or tuples.usersets else NOBODY


def _union(rules: list[Rule]) -> Rule:
    flat: list[Rule] = []
    for rule in rules:
        flat.extend(rule.children if isinstance(rule, Union) else [rule])
    if len(flat) < 2:
        return flat[0] if flat else NOBODY
    distinct = dict.fromkeys(sorted(flat, key=lambda rule: _ORDER.get(type(rule), 3)))
    return Union(tuple(distinct))  # type: ignore[arg-type]


def _relations(schema: Schema) -> Iterator[tuple[str, Relation]]:
    return ((config.name, relation) for config in schema.namespaces for relation in config.relations)


def _kinds(allowed: tuple[AllowedSubject, ...]) -> list[Kind]:
    return list(dict.fromkeys((a.namespace, a.relation) for a in allowed if not a.wildcard))


def _groups(schema: Schema) -> dict[Userset, Group]:
    """See `Plan.groups`: the greatest fixed point, and of that what some tuple may name as a group."""
    parts = {
        (namespace, relation.name): parts
        for namespace, relation in _relations(schema)
        if (parts := _unions(relation.rewrite)) is not None
    }
    leads: dict[Userset, set[Userset]] = {}
    for at, (direct, computed) in parts.items():
        allowed = schema.relation(*at).allowed or () if direct else ()
        leads[at] = {(at[0], name) for name in computed}
        leads[at] |= {(subject.namespace, subject.relation) for subject in allowed if subject.relation}
    while lost := [at for at, following in leads.items() if not following <= leads.keys()]:
        for at in lost:
            del leads[at]
    named = {
        (subject.namespace, subject.relation)
        for _, relation in _relations(schema)
        for subject in relation.allowed or ()
    }
    below = {at: _below(at, leads) for at in leads}
    kept = {at for name in named & leads.keys() for at in below[name]}
    return {
        at: Group(
            tuple(parts[at][1]),
            frozenset(schema.relation(*at).allowed or ()) if parts[at][0] else frozenset(),
            below[at],
        )
        for at in kept
    }


def _unions(rewrite: Rewrite) -> tuple[bool, list[str]] | None:
    """Whether there are tuples in a union of tuples and relations of the same object, and those relations."""
    match rewrite:
        case This():
            return True, []
        case Nil():
            return False, []
        case ComputedUserset(name):
            return False, [name]
        case Union(children):
            found = [_unions(child) for child in children]
            kept = [each for each in found if each is not None]
            if len(kept) == len(found):
                return any(direct for direct, _ in kept), [name for _, names in kept for name in names]
    return None


def _below(start: Userset, leads: dict[Userset, set[Userset]]) -> frozenset[Userset]:
    found: set[Userset] = set()
    todo = [start]
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += leads[at]
    return frozenset(found)


def _reach(schema: Schema) -> dict[Userset, frozenset[Kind]]:
    """The kinds of users that each relation may hold: the least fixed point, read generously."""
    reach: dict[Userset, frozenset[Kind]] = {}

    def of(node: Rewrite, namespace: str, relation: Relation) -> frozenset[Kind]:
        match node:
            case This():
                kinds = {(a.namespace, a.relation) for a in relation.allowed or ()}
                return frozenset(kinds).union(*(reach.get(kind, ()) for kind in kinds))
            case ComputedUserset(name):
                return reach.get((namespace, name), frozenset())
            case TupleToUserset(tupleset, computed):
                found = schema.find(namespace, tupleset)
                kinds = set(_kinds(found.allowed or ())) if found else set()
                return frozenset().union(*(reach.get((at, computed), ()) for at, _ in kinds))
            case Union(children):
                return frozenset().union(*(of(child, namespace, relation) for child in children))
            case Intersection(children):
                first, *rest = (of(child, namespace, relation) for child in children)
                return first.intersection(*rest)
            case Exclusion(base):
                return of(base, namespace, relation)
            case Self():
                return frozenset({(namespace, "")})
        return frozenset()

    grew = True
    while grew:
        grew = False
        for namespace, relation in _relations(schema):
            at = (namespace, relation.name)
            found = of(relation.rewrite, namespace, relation) | {at}
            if found != reach.get(at):
                reach[at] = found
                grew = True
    return reach
