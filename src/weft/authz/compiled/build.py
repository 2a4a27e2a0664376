"""Builds programs from a plan and the rows of a view: one per relation and kind of user, on first use."""

from __future__ import annotations

from collections.abc import Iterable
from threading import RLock
from typing import Final, TypeVar

from weft.authz.compiled.program import Ask, Edge, Follow, Program, Test
from weft.authz.compiled.rows import (
    Get,
    Rows,
    Targets,
    follow_users,
    follow_usersets,
    leaf_all,
    leaf_but,
    leaf_every,
    leaf_through,
    run_along,
    self_test,
    test_of,
)
from weft.authz.mirror.mirror import View
from weft.authz.mirror.rows import NAMESPACE_SHIFT, USERSET_SHIFT
from weft.authz.mirror.rows import Kind as RowKind
from weft.authz.plan import NOBODY, Kind, Plan, Rule, Tuples
from weft.authz.schema.model import (
    ComputedUserset,
    Exclusion,
    Intersection,
    Relation,
    Self,
    TupleToUserset,
    Union,
)
from weft.authz.tuples import WILDCARD, User

T = TypeVar("T")
_MARK_SHIFT: Final = 80
"""Above all numbers of objects and usersets."""


class Unproven(Exception):
    """The rows of a relation may hold some that the schema does not admit: the evaluator looks at each."""


class _Parts:
    """What a program is filled with."""

    def __init__(self) -> None:
        self.tests: list[Test] = []
        self.edges: list[Edge] = []
        self.leaves: list[Ask] = []
        self.plain: list[tuple[Rows, bool]] = []
        """The rows behind those tests that look at nothing else, and whether they have wildcards."""
        self.back: list[tuple[Get, Follow]] = []
        """The edges that lead back to the program, by rows that can be run along."""

    def fill(self, program: Program, kind: int | None) -> None:
        plain = len(self.plain) == len(self.tests)
        run = None
        if plain and len(self.back) == len(self.edges) == 1 and not self.leaves and kind is not None:
            public = any(wildcard for _, wildcard in self.plain)
            members = [rows for rows, _ in self.plain]
            run = run_along(*self.back[0], members, kind << NAMESPACE_SHIFT if public else None)
        program.fill(self.tests, self.edges, self.leaves, run=run, plain=plain)


class Programs:
    """The programs of one plan over the rows of one view, and of later ones while these are the same rows.

    What kinds of rows a relation has is built into them. So they stay in force only until a relation gets
    rows of another kind, which `carry_over` tells.
    """

    def __init__(self, plan: Plan, view: View) -> None:
        self.plan = plan
        self.ready: dict[tuple[str, int, int], Program | None] = {}
        """What was found, by relation, the number of the object's namespace and that of the user's kind."""
        self._view = view
        self._numbers = view.numbers
        self._programs: dict[tuple[str, str, Kind], Program | None] = {}
        self._rows: dict[tuple[str, str], tuple[Rows, int]] = {}
        """With the number of kinds there were."""
        self._marks = 0
        self._lock = RLock()

    def carry_over(self, view: View) -> bool:
        """Whether the programs, and those still to be made, hold over a later view, too."""
        with self._lock:
            return view.goes_on(self._view) and all(
                len(rows.kinds) == kinds for rows, kinds in self._rows.values()
            )

    def find(self, namespace: str, relation: str, kind: Kind) -> Program | None:
        """The program for a relation that the schema has; None when its rows prove nothing."""
        with self._lock:
            before = dict(self._programs)
            try:
                return self._program(namespace, relation, kind) or self._new()
            except BaseException as error:
                # What was made on the way leads to programs that are not filled.
                self._programs = before
                if isinstance(error, Unproven):
                    return None
                raise

    def _new(self) -> Program:
        self._marks += 1
        return Program(self._marks << _MARK_SHIFT)

    def _program(self, namespace: str, relation: str, kind: Kind) -> Program | None:
        """The program of a relation; None where nobody of the kind ever is in it."""
        key = (namespace, relation, kind)
        if key in self._programs:
            return self._programs[key]
        itself = kind == (namespace, relation)
        rule = self.plan.rule(namespace, relation, User(kind[0], "any", kind[1]))
        if rule is NOBODY and not itself:
            self._programs[key] = None
            return None
        program = self._programs[key] = self._new()
        parts = _Parts()
        self._add_relation(program, parts, namespace, relation, kind, set())
        parts.fill(program, self._kind_number(kind))
        number = self._numbers.relation(relation)
        if (namespace, relation) in self.plan.groups and number is not None and program.beyond is not None:
            program.group = number << USERSET_SHIFT
        return program

    def _add_relation(
        self, program: Program, parts: _Parts, namespace: str, relation: str, kind: Kind, seen: set[str]
    ) -> None:
        """Put in what a relation of the same object has, once."""
        if relation in seen:
            return
        seen.add(relation)
        if kind == (namespace, relation) and (number := self._numbers.relation(relation)) is not None:
            parts.tests.append(self_test(number))
        rule = self.plan.rule(namespace, relation, User(kind[0], "any", kind[1]))
        if rule is not NOBODY:
            self._add(program, parts, rule, namespace, kind, seen)

    def _add(
        self, program: Program, parts: _Parts, rule: Rule, namespace: str, kind: Kind, seen: set[str]
    ) -> None:
        match rule:
            case Union(children):
                for child in children:
                    self._add(program, parts, child, namespace, kind, seen)
            case Tuples():
                self._add_tuples(program, parts, rule, namespace, kind)
            case ComputedUserset(relation):
                self._add_relation(program, parts, namespace, relation, kind, seen)
            case TupleToUserset(all=True):
                rows = self._rows_of(namespace, rule.tupleset)
                for at in _distinct(found.user_namespace for found in rows.kinds):
                    self._program(at, rule.computed, kind)
                parts.leaves.append(leaf_every(rows, self._computed(rule.computed, kind)))
            case TupleToUserset():
                self._add_arrow(program, parts, rule, namespace, kind)
            case Intersection(children):
                parts.leaves.append(leaf_all([self._part(child, namespace, kind) for child in children]))
            case Exclusion(base, subtract):
                parts.leaves.append(
                    leaf_but(self._part(base, namespace, kind), self._part(subtract, namespace, kind))
                )
            case Self():
                parts.tests.append(self_test(0))

    def _part(self, rule: Rule, namespace: str, kind: Kind) -> Program:
        """The program of a part of a rewrite."""
        if isinstance(rule, ComputedUserset):
            return self._program(namespace, rule.relation, kind) or self._new()
        program = self._new()
        parts = _Parts()
        self._add(program, parts, rule, namespace, kind, set())
        parts.fill(program, None)
        return program

    def _add_tuples(self, program: Program, parts: _Parts, rule: Tuples, namespace: str, kind: Kind) -> None:
        rows = self._rows_of(namespace, rule.relation)
        named = [found for found in rows.kinds if found[:2] == kind]
        wildcard = any(found.wildcard for found in named)
        number = self._kind_number(kind)
        if named and number is not None:
            unsure = _maybe(named)
            parts.tests.append(test_of(rows, number, wildcard=wildcard, maybe=unsure))
            parts.plain += [] if unsure else [(rows, wildcard)]
        if rule.usersets:
            self._add_usersets(program, parts, rows, kind)

    def _add_usersets(self, program: Program, parts: _Parts, rows: Rows, kind: Kind) -> None:
        found = [known for known in rows.kinds if known.user_relation]
        kinds = _distinct(known[:2] for known in found)
        for userset in kinds:
            target = self._program(*userset, kind)
            if target is not None:
                only = self._kind_number(userset) if len(kinds) > 1 else None
                follow = follow_usersets(rows, only)
                parts.edges.append(Edge(follow, target))
                if target is program and only is None:
                    parts.back.append((rows.usersets.get, follow))
        if _maybe(found):
            parts.leaves.append(leaf_through(rows, self._usersets(kind), usersets=True))

    def _add_arrow(
        self, program: Program, parts: _Parts, rule: TupleToUserset, namespace: str, kind: Kind
    ) -> None:
        rows = self._rows_of(namespace, rule.tupleset)
        plain = _distinct(found.user_namespace for found in rows.kinds if not found.user_relation)
        usersets = _distinct(found[:2] for found in rows.kinds if found.user_relation)
        wildcards = any(found.wildcard for found in rows.kinds)
        for at in plain:
            if (target := self._program(at, rule.computed, kind)) is not None:
                only = self._numbers.namespace(at) if len(plain) > 1 else None
                follow = follow_users(rows, only, wildcards=wildcards)
                parts.edges.append(Edge(follow, target))
                if target is program and only is None and not wildcards:
                    parts.back.append((rows.users.get, follow))
        for userset in usersets:
            if (target := self._program(userset[0], rule.computed, kind)) is not None:
                of_kind = self._kind_number(userset) if len(usersets) > 1 else None
                parts.edges.append(Edge(follow_usersets(rows, of_kind), target))
        if _maybe(rows.kinds):
            parts.leaves.append(leaf_through(rows, self._computed(rule.computed, kind), usersets=False))

    def _usersets(self, kind: Kind) -> Targets:
        """The program of a userset that a row names."""
        name = self._numbers.name

        def target(user: int) -> Program | None:
            namespace = name(user >> NAMESPACE_SHIFT & 0xFFFF)
            return self._programs.get((namespace, name(user >> USERSET_SHIFT), kind))

        return target

    def _computed(self, relation: str, kind: Kind) -> Targets:
        """The program of a relation of the object that a row of a tupleset names."""
        name = self._numbers.name

        def target(user: int) -> Program | None:
            return self._programs.get((name(user >> NAMESPACE_SHIFT & 0xFFFF), relation, kind))

        return target

    def _kind_number(self, kind: Kind) -> int | None:
        """The number that those of a kind's users have above their serials; None before there is one."""
        namespace, relation = self._numbers.namespace(kind[0]), self._numbers.relation(kind[1])
        if namespace is None or relation is None:
            return None
        return relation << USERSET_SHIFT - NAMESPACE_SHIFT | namespace

    def _rows_of(self, namespace: str, relation: str) -> Rows:
        """The rows of a relation, all of which the schema is known to admit; else `Unproven`."""
        rows = self._view.rows(namespace, relation)
        kinds = frozenset(rows.kinds)
        known = self.plan.schema.relation(namespace, relation)
        for kind in kinds:
            if not _admits(self.plan, known, kind):
                raise Unproven
        self._rows[namespace, relation] = rows, len(kinds)
        return rows


def _admits(plan: Plan, relation: Relation, kind: RowKind) -> bool:
    known = not kind.condition or kind.condition in plan.schema.conditions_by_name
    user = User(kind.user_namespace, WILDCARD if kind.wildcard else "any", kind.user_relation)
    return known and relation.allows(user, kind.condition, kind.expires)


def _maybe(kinds: Iterable[RowKind]) -> bool:
    """Whether rows of some kind need not count."""
    return any(kind.condition or kind.expires for kind in kinds)


def _distinct(items: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(items))
