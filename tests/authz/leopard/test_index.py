"""The index of groups against the dumbest closure there is, at every revision."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from weft.authz.leopard.index import Edge, Index

USER, GROUP, MEMBER, ALL = 1, 2, 3, 4
"""Numbers of namespaces and relations."""
EVERYBODY = USER << 48
KIND = MEMBER << 16 | GROUP
"""Of `group#member`, which `group#all` is computed from."""
KINDS = (KIND, ALL << 16 | GROUP)
Pair = tuple[int, int]


def user(serial: int) -> int:
    return USER << 48 | serial


def group(serial: int, relation: int = MEMBER) -> int:
    return relation << 64 | GROUP << 48 | serial


USERS = [user(serial) for serial in range(1, 4)]
GROUPS = [group(serial) for serial in range(1, 6)]
EVERY_GROUP = [*GROUPS, *(group(serial, ALL) for serial in range(1, 6))]
COMPUTED = [(group(serial, ALL), group(serial)) for serial in range(1, 6)]


def closure_of(edges: Iterable[Pair]) -> set[Pair]:
    """All pairs of a group and what is in it: wildcards stand for every user."""
    inside: dict[int, set[int]] = {}
    for at, who in edges:
        inside.setdefault(at, set()).update([*USERS, who] if who == EVERYBODY else [who])
    found = set()
    for at in EVERY_GROUP:
        todo = [at]
        while todo:
            who = todo.pop()
            if (at, who) not in found:
                found.add((at, who))
                todo += inside.get(who, ())
    return found


class IndexMachine(RuleBasedStateMachine):
    """Any tuples between groups, users and everybody; `state` says which hold, and which may."""

    at_once = 256

    def __init__(self) -> None:
        super().__init__()
        self.index = Index(KINDS, {KIND: (ALL,)})
        self.state: dict[Pair, bool] = {}
        self.revision = 0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("weft.authz.leopard.closure._AT_ONCE", self.at_once)
        self.index.build(0, [])

    def teardown(self) -> None:
        self.patch.undo()

    @rule(
        edges=st.lists(
            st.tuples(
                st.sampled_from(EVERY_GROUP),
                st.sampled_from([*EVERY_GROUP, *GROUPS, *USERS, EVERYBODY]),
                st.sampled_from([True, True, False, None, None]),
            ),
            min_size=1,
            max_size=6,
            unique_by=lambda edge: edge[:2],
        )
    )
    def write(self, edges: list[tuple[int, int, bool | None]]) -> None:
        self.revision += 1
        self.index.apply(self.revision, [Edge(*edge) for edge in edges])
        for at, who, holds in edges:
            if holds is None:
                self.state.pop((at, who), None)
            else:
                self.state[at, who] = holds

    @precondition(lambda self: self.state)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        at, who = data.draw(st.sampled_from(sorted(self.state)))
        self.write([(at, who, None)])

    @rule()
    def rebuild(self) -> None:
        self.index = Index(KINDS, {KIND: (ALL,)})
        self.index.build(self.revision, [Edge(at, who, holds) for (at, who), holds in self.state.items()])

    @rule()
    def repair(self) -> None:
        self.index.repair()
        assert not self.index.dirty

    @invariant()
    def answers_are_right_or_left_open(self) -> None:
        sure = closure_of([*COMPUTED, *(edge for edge, holds in self.state.items() if holds)])
        possible = closure_of([*COMPUTED, *self.state])
        for at in EVERY_GROUP:
            for who in [*USERS, EVERYBODY, *EVERY_GROUP]:
                answer = self.index.contains(who, at, self.revision)
                expected = True if (at, who) in sure else None if (at, who) in possible else False
                unnamed = who in EVERY_GROUP and who not in self.index._node and at & 0xFF == who & 0xFF
                if unnamed or self.index.dirty:
                    assert answer in (expected, None), (at, who)
                else:
                    assert answer is expected, (at, who)
            self.sets_are_right(at, sure, possible)
        for who in USERS:
            found = self.index.groups_of(who, self.revision)
            assert found is not None
            self.agree(
                found, {at for at in EVERY_GROUP if (at, who) in sure}, {a for a, w in possible if w == who}
            )

    def sets_are_right(self, at: int, sure: set[Pair], possible: set[Pair]) -> None:
        below = self.index.groups_below(at, self.revision)
        if below is not None:
            inside = {w for a, w in sure if a == at and w > EVERYBODY and w in EVERY_GROUP}
            self.agree(below, inside, {w for a, w in possible if a == at and w in EVERY_GROUP})
        else:
            assert at not in self.index._node

    def agree(self, found: tuple[list[int], list[int]], sure: set[int], possible: set[int]) -> None:
        certain, perhaps = map(set, found)
        assert len(found[0]) + len(found[1]) == len(certain | perhaps)
        if self.index.dirty:
            assert certain <= sure
            assert possible <= certain | perhaps
        else:
            assert certain == sure
            assert perhaps == possible - sure

    @invariant()
    def other_revisions_are_not_answered(self) -> None:
        for revision in (self.revision - 1, self.revision + 1):
            assert self.index.contains(USERS[0], GROUPS[0], revision) is None
            assert self.index.groups_of(USERS[0], revision) is None
            assert self.index.groups_below(GROUPS[0], revision) is None


class DirtyMachine(IndexMachine):
    """The same, where every removed edge leaves its sets dirty."""

    at_once = 0

    @precondition(lambda self: self.index.dirty)
    @rule()
    def repaired(self) -> None:
        self.index.repair()
        self.answers_are_right_or_left_open()


class FewMachine(IndexMachine):
    """The same, where some removals are worked out at once and some not."""

    at_once = 5


_SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None, phases=[Phase.generate])
TestEager = IndexMachine.TestCase
TestDirty = DirtyMachine.TestCase
TestFew = FewMachine.TestCase
TestEager.settings = TestDirty.settings = TestFew.settings = _SETTINGS
