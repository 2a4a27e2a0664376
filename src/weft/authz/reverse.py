"""Which objects a user may possibly be in a relation with: the walk from the user towards the objects.

It finds too much rather than too little: of an intersection it follows one part, of an exclusion the base,
and conditions are taken as met. What it found by unions alone, and by tuples that always count, is proven on
the way; the rest is checked like any other question.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Generator, Iterable, Iterator
from typing import NamedTuple

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


class _Part(NamedTuple):
    """A leaf of a relation's rewrite; `proves` when whoever is in it is in the relation."""

    namespace: str
    relation: Relation
    proves: bool
    tupleset: str = ""
    """Arrows only."""


class Way(NamedTuple):
    """By the tuples that name the user, in `tuples` of objects of the namespace, into `relation` of these."""

    user_relation: str
    namespace: str
    tuples: str
    relation: str
    proves: bool


class Steps(NamedTuple):
    """Where to go from a relation of an object."""

    computed: list[tuple[str, bool]]
    """Relations of the same object, each with whether that is proof."""
    ways: list[Way]
    """By tuples that name the object, or the relation of it."""


class Reverse:
    """A schema's rewrites turned round."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._computed: dict[Userset, list[_Part]] = defaultdict(list)
        """Relation -> relations of the same object that are computed from it."""
        self._arrows: dict[str, list[_Part]] = defaultdict(list)
        """Computed relation -> arrows to it."""
        self._selves: dict[str, list[_Part]] = defaultdict(list)
        self._direct: list[_Part] = []
        """Relations whose own tuples count."""
        self._everything = {(c.name, r) for c in plan.schema.namespaces for r in c.by_name}
        self._steps: dict[Userset, dict[Userset, Steps]] = {}
        """Target -> what leads to it, by relation."""
        for config in plan.schema.namespaces:
            for relation in config.relations:
                for node, proves in _positive(relation.rewrite, True):
                    self._add(_Part(config.name, relation, proves), node)

    def walk(
        self, user: User, target: Userset, counts: Callable[[RelationTuple], bool]
    ) -> Generator[list[Read], list[Rows], dict[Reached, bool]]:
        """The relations of objects that the user may be in, and perhaps others, as far as they have to do
        with the target; each with whether it is proven, at any instant and in any context."""
        steps = self.toward(target)
        found: dict[Reached, bool] = {}
        asked: dict[Objects, dict[str, bool]] = {}
        """Reads, each with the relations that the objects found are reached in."""
        fresh = [((user.object, name), proves) for name, proves in self.start(user)]
        for whom in (user, User(user.namespace, WILDCARD)) if not user.relation else (user,):
            _ask(asked, whom, self.ways(user.namespace, user.relation, steps), True)
        while True:
            while fresh:
                at, proven = fresh.pop()
                if found.get(at, -1) >= proven:
                    continue
                found[at] = proven
                object_, relation = at
                known = steps.get((object_.namespace, relation))
                if known is None:
                    known = self.steps_from(object_.namespace, relation, steps)
                for name, proves in known.computed:
                    fresh.append(((object_, name), proven and proves))
                if known.ways:
                    _ask(asked, object_, known.ways, proven)
            if not asked:
                return found
            reads, asked = asked, {}
            for names, rows in zip(reads.values(), (yield list(reads)), strict=True):
                for row in filter(counts, rows):
                    always = row.unconditional
                    fresh += [((row.object, name), proven and always) for name, proven in names.items()]

    def _add(self, part: _Part, node: Rewrite) -> None:
        match node:
            case This():
                self._direct.append(part)
            case ComputedUserset(name):
                self._computed[part.namespace, name].append(part)
            case TupleToUserset(tupleset, computed, every):
                arrow = part._replace(tupleset=tupleset, proves=part.proves and not every)
                self._arrows[computed].append(arrow)
            case Self():
                self._selves[part.namespace].append(part)

    def start(self, user: User) -> list[tuple[str, bool]]:
        """The relations of its own object that a user is in without any tuple."""
        if user.relation:
            return [(user.relation, True)]
        if user.id == WILDCARD:
            return []
        return [(part.relation.name, part.proves) for part in self._selves[user.namespace]]

    def ways(self, namespace: str, relation: str, toward: Container[Userset]) -> list[Way]:
        """By tuples that may name users of the kind, or everybody."""
        return [
            Way(relation, part.namespace, part.relation.name, part.relation.name, part.proves)
            for part in self._direct
            if _may_name(part.relation, namespace, relation)
            and (part.namespace, part.relation.name) in toward
        ]

    def steps_from(self, namespace: str, relation: str, toward: Container[Userset]) -> Steps:
        """Where to go from a relation of an object, as far as that leads towards something."""
        computed = [
            (part.relation.name, part.proves)
            for part in self._computed.get((namespace, relation), ())
            if (namespace, part.relation.name) in toward
        ]
        arrows = [
            Way(user_relation, part.namespace, part.tupleset, part.relation.name, part.proves)
            for part in self._arrows.get(relation, ())
            for user_relation in self._tupleset_relations(part.namespace, part.tupleset, namespace)
            if (part.namespace, part.relation.name) in toward
        ]
        return Steps(computed, [*self.ways(namespace, relation, toward), *arrows])

    def _tupleset_relations(self, namespace: str, tupleset: str, user_namespace: str) -> list[str]:
        kinds = self._plan.tupleset_kinds(namespace, tupleset)
        if kinds is not None:
            return [relation for at, relation in kinds if at == user_namespace]
        config = self._plan.schema.by_name.get(user_namespace)
        return ["", *(config.by_name if config else ())]

    def toward(self, target: Userset) -> dict[Userset, Steps]:
        """The relations that lead to the target, itself among them, each with the steps towards it."""
        known = self._steps.get(target)
        if known is None:
            all_ = {
                (config.name, name): self.steps_from(config.name, name, self._everything)
                for config in self._plan.schema.namespaces
                for name in config.by_name
            }
            toward = {target}
            size = 0
            while size != len(toward):
                size = len(toward)
                toward |= {at for at, steps in all_.items() if not toward.isdisjoint(_next(at, steps))}
            known = {at: self.steps_from(*at, toward) for at in toward}
            self._steps[target] = known
        return known


def _next(at: Userset, steps: Steps) -> list[Userset]:
    """The relations that whoever is in this one may be in by one step."""
    computed = [(at[0], name) for name, _ in steps.computed]
    return computed + [(way.namespace, way.relation) for way in steps.ways]


def _ask(
    asked: dict[Objects, dict[str, bool]], user: ObjectRef | User, ways: Iterable[Way], proven: bool
) -> None:
    for user_relation, namespace, tuples, relation, proves in ways:
        names = asked.setdefault(Objects(User(user.namespace, user.id, user_relation), namespace, tuples), {})
        names[relation] = names.get(relation, False) or (proven and proves)


def _positive(rewrite: Rewrite, proves: bool) -> Iterator[tuple[Rewrite, bool]]:
    """The leaves that can bring a user in: one part of each intersection, the base of each exclusion. Only
    those below unions alone prove it."""
    match rewrite:
        case Union(children):
            for child in children:
                yield from _positive(child, proves)
        case Intersection(children):
            yield from _positive(children[0], False)
        case Exclusion(base):
            yield from _positive(base, False)
        case _:
            yield rewrite, proves


def _may_name(relation: Relation, namespace: str, user_relation: str) -> bool:
    if relation.allowed is None:
        return True
    return any((a.namespace, a.relation) == (namespace, user_relation) for a in relation.allowed)
