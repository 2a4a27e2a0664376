"""A program: what is left of a relation for one kind of user, as closures over the rows of a view.

Users of an object are found in three ways. *Tests* look at the object's own rows. *Edges* lead by a tuple
to other objects, in whose program the user may be: unions of these are plain reachability, walked level by
level with what was seen. *Leaves* are all that is no union: intersections, exclusions, and tuples that may
not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Final, NamedTuple

from weft.authz.compiled.walk import Proof, Walk
from weft.authz.mirror.rows import Members

Ask = Callable[[int, int, Walk], Proof]
"""Whether a user (second) is in something at an object (first)."""
AskAny = Callable[[Set[int], int, Walk], Proof]
"""The same for any of several objects."""
Follow = Callable[[Set[int]], set[int]]
"""The objects that the tuples of these objects lead to."""
Gather = Callable[[Iterable[int]], list[Members]]
"""All users whom the rows of these objects name, and the wildcard that stands for them."""
Run = Callable[[set[int], int, int, int], Proof]
"""From these objects, for a user, at a level of a limit: a whole walk."""


_MANY_GROUPS: Final = 8
_FEW_STEPS: Final = 2


class Test(NamedTuple):
    """Whether an object's own rows name the user."""

    one: Ask
    any: AskAny
    all: Gather | None
    """None where rows need not count, or users are named by more than rows."""


class Edge(NamedTuple):
    """Where tuples lead, and what is asked there."""

    follow: Follow
    target: Program


class Program:
    """Whether a user of one kind is in a relation, or in a part of a rewrite. Filled after it is made, since
    programs lead to one another."""

    __slots__ = ("ask", "bare", "beyond", "edges", "group", "leaves", "mark", "one", "plain", "run", "test")

    def __init__(self, mark: int) -> None:
        self.mark = mark
        """Told apart from the objects' numbers, which it is joined with."""
        self.test = NO_TEST
        self.edges: tuple[Edge, ...] = ()
        self.leaves: tuple[Ask, ...] = ()
        self.group: int | None = None
        """What its objects' numbers become usersets by, if an index may know who is in them."""
        self.run: Run | None = None
        """A quicker walk, where edges lead nowhere but back here."""
        self.one: Ask = _nobody
        """What the object's own rows say."""
        self.plain = True
        """Whether they always count, so that asking them needs no walk."""
        self.beyond: Ask | None = None
        """What is said where they do not name the user; None where nothing is behind them."""
        self.bare = True
        """Whether no walk is needed at all."""
        self.ask: Ask = _nobody

    def fill(
        self, tests: list[Test], edges: list[Edge], leaves: list[Ask], *, run: Run | None, plain: bool
    ) -> None:
        self.test = tests[0] if len(tests) == 1 else _any_test(tests) if tests else NO_TEST
        self.edges, self.leaves, self.run = tuple(edges), tuple(leaves), run
        self.one, self.plain = self.test.one, plain
        self.beyond = self._walk if edges else self._ask_leaves if leaves else None
        self.bare = self.beyond is None and plain
        self.ask = self.one if self.beyond is None else self._ask if tests else self.beyond

    def users(self, object_: int, limit: int) -> list[Members] | None:
        """Everybody of the kind in the relation, by wildcards too; None where that is not for rows to say."""
        found: list[Members] = []
        frontier: dict[Program, set[int]] = {self: {object_}}
        seen: dict[Program, set[int]] = {}
        for _ in range(limit):
            following: dict[Program, set[int]] = {}
            for program, objects in frontier.items():
                before = seen.setdefault(program, set())
                objects -= before
                before |= objects
                if program.leaves or program.test.all is None:
                    return None
                found += program.test.all(objects)
                for follow, target in program.edges:
                    following.setdefault(target, set()).update(follow(objects))
            frontier = {program: objects for program, objects in following.items() if objects}
            if not frontier:
                return found
        return None

    def _ask(self, object_: int, user: int, walk: Walk) -> Proof:
        found = self.one(object_, user, walk)
        if found or self.beyond is None:
            return found
        behind = self.beyond(object_, user, walk)
        return behind if behind or found is False else None

    def _walk(self, object_: int, user: int, walk: Walk) -> Proof:
        """Level by level, all objects of a program at once."""
        proven = True
        start = level = walk.level
        if self.group is not None:
            found = self._look_up({object_}, user, level, walk)
            if found is not None:
                return found
        frontier: dict[Program, set[int]] = {self: {object_}}
        seen: dict[Program, set[int]] = {}
        while True:
            following: dict[Program, set[int]] = {}
            for program, objects in frontier.items():
                for follow, target in program.edges:
                    led = follow(objects)
                    if led:
                        known = following.get(target)
                        if known is None:
                            following[target] = led
                        else:
                            known |= led
                if program.leaves:
                    walk.level = level
                    found = program._any_leaf(objects, user, walk)
                    walk.level = start
                    if found:
                        return True
                    proven = proven and found is not None
            if not following:
                return False if proven else None
            level += 1
            frontier = {}
            for program, objects in following.items():
                before = seen.get(program)
                if before is None:
                    seen[program] = set(objects)
                else:
                    objects -= before
                    if not objects:
                        continue
                    before |= objects
                if level > walk.limit:
                    return None
                found = program.test.any(objects, user, walk)
                if found:
                    return True
                proven = proven and found is not None
                if program.group is not None:
                    found = program._look_up(objects, user, level, walk)
                    if found:
                        return True
                    if found is False:
                        continue
                if program.beyond is not None:
                    frontier[program] = objects
            if not frontier:
                return False if proven else None
            if len(frontier) == 1:
                [(program, objects)] = frontier.items()
                if program.run is not None:
                    found = program.run(objects, user, level, walk.limit)
                    return found if proven or found else None

    def _look_up(self, objects: set[int], user: int, level: int, walk: Walk) -> Proof:
        """What the index knows about the user and groups; of many, what a few steps find out is cheaper."""
        index, group = walk.index, self.group
        if index is None or group is None:
            return None
        if len(objects) > _MANY_GROUPS and self.run is not None:
            found = self.run(objects, user, level, min(walk.limit, level + _FEW_STEPS))
            if found is not None:
                return found
        proven = True
        for object_ in objects:
            found = index.contains(user, group | object_, walk.revision)
            if found:
                return True
            proven = proven and found is not None
        return False if proven else None

    def _any_leaf(self, objects: set[int], user: int, walk: Walk) -> Proof:
        proven = True
        for object_ in objects:
            found = self._ask_leaves(object_, user, walk)
            if found:
                return True
            proven = proven and found is not None
        return False if proven else None

    def _ask_leaves(self, object_: int, user: int, walk: Walk) -> Proof:
        """Once for each object; who comes back here while that is under way learns nothing."""
        known, key = walk.known, self.mark | object_
        if key in known:
            return known[key]
        known[key] = None
        proven = True
        for leaf in self.leaves:
            found = leaf(object_, user, walk)
            if found:
                known[key] = True
                return True
            proven = proven and found is not None
        if proven:
            known[key] = False
            return False
        return None


def _nobody(object_: int, user: int, walk: Walk) -> Proof:
    return False


def _none_of(objects: Set[int], user: int, walk: Walk) -> Proof:
    return False


NO_TEST = Test(_nobody, _none_of, lambda objects: [])


def _any_test(tests: list[Test]) -> Test:
    ones, manys = tuple(test.one for test in tests), tuple(test.any for test in tests)
    gathers = [test.all for test in tests if test.all is not None]

    def one(object_: int, user: int, walk: Walk) -> Proof:
        proven = True
        for test in ones:
            found = test(object_, user, walk)
            if found:
                return True
            proven = proven and found is not None
        return False if proven else None

    def any_(objects: Set[int], user: int, walk: Walk) -> Proof:
        proven = True
        for test in manys:
            found = test(objects, user, walk)
            if found:
                return True
            proven = proven and found is not None
        return False if proven else None

    def all_(objects: Iterable[int]) -> list[Members]:
        return [members for gather in gathers for members in gather(objects)]

    return Test(one, any_, all_ if len(gathers) == len(tests) else None)
