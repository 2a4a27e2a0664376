"""Walks for lists over a mirror's numbers: a relation's objects at a time, with groups from the index.

They find what the walks through the store find (`reverse` and `lists`), and prove no less.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from weft.authz.leopard.index import Index
from weft.authz.lists import leaves
from weft.authz.mirror.mirror import View
from weft.authz.mirror.past import PastRows
from weft.authz.mirror.rows import NAMESPACE_SHIFT, SERIAL_MASK, USERSET_SHIFT, Maybe, Members, RelationRows
from weft.authz.plan import Kind, Plan, Userset
from weft.authz.reverse import Steps, Way
from weft.authz.schema.model import ComputedUserset, Rewrite, Self, This, TupleToUserset
from weft.authz.tuples import User

Rows = RelationRows | PastRows
_OBJECT_MASK = (1 << USERSET_SHIFT) - 1


class Unproven(Exception):
    """The rows cannot say: they may hold some that the schema does not admit, or a number is missing."""


class Reached(NamedTuple):
    """What a walk found, by number."""

    proven: list[Members]
    """In parts that may overlap, and that nobody changes later."""
    unproven: AbstractSet[int]
    everybody: bool | None = False
    """Of users: whether all of the kind are in by a wildcard; None where that must be checked."""


class _Walk:
    """Objects by relation, each with whether it is proven that they belong."""

    def __init__(self, plan: Plan, view: View, index: Index | None) -> None:
        self._plan = plan
        self._view = view
        self._index = index
        self._numbers = view.numbers
        self._known: dict[str, Rows] = {}
        self._sure: dict[Userset, set[int]] = defaultdict(set)
        self._possible: dict[Userset, set[int]] = defaultdict(set)
        self._covers = frozenset(at for at in plan.groups if self._number(at) in index.kinds) if index else ()
        """What the index knows all about."""
        self._fresh: dict[tuple[Userset, bool], set[int]] = {}
        self._proven: list[Members] = []
        self._unproven: set[int] = set()

    def _rows(self, namespace: str, relation: str) -> Rows:
        """The rows of a relation, all of which the schema admits."""
        key = f"{namespace}#{relation}"
        rows = self._known.get(key)
        if rows is None:
            rows = self._view.rows(namespace, relation)
            for kind in list(rows.kinds):
                if not self._plan.admits_kind(namespace, relation, *kind):
                    raise Unproven
            self._known[key] = rows
        return rows

    def _add(self, at: Userset, objects: Collection[int], proven: bool) -> None:
        """Go on from objects at which the user is, or may be, in a relation."""
        fresh = set(objects) - self._sure[at]
        if proven:
            self._sure[at] |= fresh
        else:
            fresh -= self._possible[at]
            self._possible[at] |= fresh
        if fresh:
            self._fresh.setdefault((at, proven), set()).update(fresh)

    def _keep(self, rows: Rows | None, found: Iterable[Members], proven: bool) -> None:
        """These belong to the result; they are members of rows, or nobody else's."""
        if proven:
            self._proven += map(rows.lend, found) if isinstance(rows, RelationRows) else found
        else:
            self._unproven.update(*found)

    def _result(self) -> Reached:
        return Reached([found for found in self._proven if found], self._unproven)

    def _number(self, at: Userset) -> int:
        """Of a kind of usersets; -1 where it has none yet."""
        namespace, relation = self._numbers.namespace(at[0]), self._numbers.relation(at[1])
        if namespace is None or relation is None:
            return -1
        return relation << USERSET_SHIFT - NAMESPACE_SHIFT | namespace

    def _kind(self, userset: int) -> Userset:
        name = self._numbers.name
        return name(userset >> NAMESPACE_SHIFT & 0xFFFF), name(userset >> USERSET_SHIFT)

    def _by_kind(self, usersets: Iterable[int]) -> dict[Userset, set[int]]:
        """The objects of usersets, by what these are."""
        kinds: dict[int, set[int]] = defaultdict(set)
        for userset in usersets:
            kinds[userset >> NAMESPACE_SHIFT].add(userset & _OBJECT_MASK)
        return {self._kind(kind << NAMESPACE_SHIFT): objects for kind, objects in kinds.items()}


class _ToObjects(_Walk):
    """From a user to the objects of a target relation."""

    def __init__(self, plan: Plan, view: View, index: Index | None, target: Userset) -> None:
        super().__init__(plan, view, index)
        self._target = target
        self._reverse = plan.reverse
        self._steps = self._reverse.toward(target)

    def run(self, user: User) -> Reached:
        number = self._numbers.user(user)
        namespace = self._numbers.namespace(user.namespace)
        if self._index is not None and namespace is not None:
            # First of all: where it knows nothing of the user, all that it covers must be walked.
            nobody = namespace << NAMESPACE_SHIFT | SERIAL_MASK
            self._add_groups(self._index, nobody if number is None else number)
        for relation, proves in self._reverse.start(user):
            if not user.relation and (user.namespace, relation) not in self._steps:
                continue
            if number is None:
                raise Unproven
            self._reach((user.namespace, relation), [{number & _OBJECT_MASK}], proves, None)
        if namespace is None:
            return self._result()
        everybody = namespace << NAMESPACE_SHIFT
        if number is None:
            number = everybody | SERIAL_MASK
        ways = self._reverse.ways(user.namespace, user.relation, self._steps)
        whom = {number & _OBJECT_MASK} if user.relation else {number, everybody}
        self._follow(whom, ways, True)
        while self._fresh:
            (at, proven), objects = self._fresh.popitem()
            if not proven:
                objects -= self._sure[at]
            steps = self._steps.get(at) or self._reverse.steps_from(*at, self._steps)
            self._go_on(at, objects, steps, proven)
        self._proven.append(self._sure[self._target])
        self._unproven |= self._possible[self._target]
        return self._result()

    def _add_groups(self, index: Index, user: int) -> None:
        found = index.groups_of(user, self._view.revision)
        if found is None:
            self._covers = ()
            return
        for groups, proven in zip(found, (True, False), strict=True):
            for at, objects in self._by_kind(groups).items():
                if at in self._steps:
                    self._reach(at, [objects], proven, None)

    def _go_on(self, at: Userset, objects: set[int], steps: Steps, proven: bool) -> None:
        for name, proves in steps.computed:
            following = at[0], name
            if not (following in self._covers and at in self._covers):
                self._reach(following, [objects], proven and proves, None)
        self._follow(objects, steps.ways, proven)

    def _follow(self, users: Collection[int], ways: Iterable[Way], proven: bool) -> None:
        for user_relation, namespace, tuples, relation, proves in ways:
            number = self._numbers.relation(user_relation)
            following = namespace, relation
            if number is None or following in self._covers:
                continue
            rows = self._rows(namespace, tuples)
            prefix = number << USERSET_SHIFT
            named, unsure = rows.objects, rows.maybe_objects
            found = [there for user in users if (there := named.get(prefix | user))]
            self._reach(following, found, proven and proves, rows)
            if unsure:
                perhaps = [row.object for user in users for row in unsure.get(prefix | user, ())]
                self._reach(following, [set(perhaps)], False, None)

    def _reach(
        self,
        at: Userset,
        found: list[Members],
        proven: bool,
        rows: Rows | None,
        passed: tuple[Userset, ...] = (),
    ) -> None:
        """The user is, or may be, in a relation of these objects. They are gathered only where tuples lead on
        from there; else they belong to what is computed from it as they are, however many."""
        steps = self._steps.get(at)
        if steps is None or steps.ways or at in passed:
            self._add(at, set().union(*found), proven)
            return
        if at == self._target:
            self._keep(rows, found, proven)
        for name, proves in steps.computed:
            following = at[0], name
            if not (following in self._covers and at in self._covers):
                self._reach(following, found, proven and proves, rows, (*passed, at))


class _ToSubjects(_Walk):
    """From a relation of an object to the users of a kind who are named below it."""

    def __init__(self, plan: Plan, view: View, index: Index | None, kind: Kind) -> None:
        super().__init__(plan, view, index)
        self._asked = kind
        number = self._number(kind)
        if kind[1] and number < 0:
            raise Unproven
        if kind in plan.groups and kind not in self._covers:
            self._covers = ()
        namespace = self._numbers.namespace(kind[0])
        self._namespace = -1 if namespace is None else namespace
        self._wildcard = self._namespace << NAMESPACE_SHIFT
        self._everybody: bool | None = False
        self._grouped: dict[bool, set[int]] = {True: set(), False: set()}
        """Groups whose own users are taken in, by whether that is proven."""

    def run(self, object_: int, relation: str) -> Reached:
        self._reach((self._kind(object_)[0], relation), {object_}, True)
        while self._fresh:
            (at, proven), objects = self._fresh.popitem()
            found = self._plan.schema.find(*at)
            for node, proves in leaves(found.rewrite, proven) if found else ():
                self._go_through(node, at, objects, proves)
        return self._result()._replace(everybody=self._everybody)

    def _reach(self, at: Userset, objects: Collection[int], proven: bool) -> None:
        """All who are in a relation of these objects belong, or may."""
        index = self._index
        if index is None or at not in self._covers:
            self._walk_on(at, objects, proven)
            return
        number = self._numbers.relation(at[1])
        if number is None:
            raise Unproven
        for object_ in objects:
            found = index.groups_below(number << USERSET_SHIFT | object_, self._view.revision)
            if found is None:
                self._walk_on(at, {object_}, proven)
                continue
            for groups, sure in zip(found, (True, False), strict=True):
                self._take_groups(groups, proven and sure)

    def _walk_on(self, at: Userset, objects: Collection[int], proven: bool) -> None:
        if at == self._asked:
            self._keep(None, [set(objects)], proven)
        self._add(at, objects, proven)

    def _take_groups(self, groups: Collection[int], proven: bool) -> None:
        fresh = set(groups) - self._grouped[True] - self._grouped[proven]
        self._grouped[proven] |= fresh
        for at, objects in self._by_kind(fresh).items():
            if at == self._asked:
                self._keep(None, [objects], proven)
            if self._plan.groups[at].named:
                self._take_users(self._rows(*at), objects, proven)

    def _go_through(self, node: Rewrite, at: Userset, objects: set[int], proven: bool) -> None:
        namespace = at[0]
        match node:
            case This():
                rows = self._rows(*at)
                self._take_users(rows, objects, proven)
                usersets = [userset for o in objects for userset in rows.usersets.get(o, ())]
                unsure = [row.user for row in _maybe(rows, objects) if row.user >> USERSET_SHIFT]
                for found, proves in ((usersets, proven), (unsure, False)):
                    for kind, of_kind in self._by_kind(found).items():
                        self._reach(kind, of_kind, proves)
            case TupleToUserset(tupleset, computed, every):
                rows = self._rows(namespace, tupleset)
                named = [user for o in objects for user in _named(rows, o)]
                unsure = [row.user for row in _maybe(rows, objects)]
                for found, proves in ((named, proven and not every), (unsure, False)):
                    for (other, _), of_kind in self._by_kind(found).items():
                        self._reach((other, computed), {o for o in of_kind if o & SERIAL_MASK}, proves)
            case ComputedUserset(name):
                self._reach((namespace, name), objects, proven)
            case Self() if self._asked == (namespace, ""):
                self._keep(None, [objects], proven)

    def _take_users(self, rows: Rows, objects: Iterable[int], proven: bool) -> None:
        """Those that the rows of objects name themselves."""
        if self._asked[1]:
            return
        objects = list(objects)
        found = [users for o in objects if (users := rows.users.get(o))]
        plain = [kind for kind in list(rows.kinds) if not kind.user_relation]
        if any(kind.wildcard or kind.user_namespace != self._asked[0] for kind in plain):
            self._note_wildcard(found, proven)
            self._keep(None, [set(filter(self._suits, users)) for users in found], proven)
        else:
            self._keep(rows, found, proven)
        if rows.maybe:
            perhaps = {row.user for row in _maybe(rows, objects)}
            self._note_wildcard([perhaps], False)
            self._keep(None, [set(filter(self._suits, perhaps))], False)

    def _note_wildcard(self, found: Iterable[Members], proven: bool) -> None:
        if any(self._wildcard in users for users in found):
            self._everybody = True if proven or self._everybody else None

    def _suits(self, user: int) -> bool:
        return user >> NAMESPACE_SHIFT == self._namespace and bool(user & SERIAL_MASK)


def objects_reached(plan: Plan, view: View, index: Index | None, target: Userset, user: User) -> Reached:
    """All objects that the user may be in the target relation with, and perhaps others; or `Unproven`."""
    return _ToObjects(plan, view, index, target).run(user)


def subjects_named(
    plan: Plan, view: View, index: Index | None, object_: int, relation: str, kind: Kind
) -> Reached:
    """All users of the kind that are named anywhere below a relation of an object: their objects, wildcards
    apart; or `Unproven`."""
    return _ToSubjects(plan, view, index, kind).run(object_, relation)


def _named(rows: Rows, object_: int) -> Iterable[int]:
    return (*rows.users.get(object_, ()), *rows.usersets.get(object_, ()))


def _maybe(rows: Rows, objects: Iterable[int]) -> Iterable[Maybe]:
    return [row for object_ in objects for row in rows.maybe.get(object_, ())] if rows.maybe else []
