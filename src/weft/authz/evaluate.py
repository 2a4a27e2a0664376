"""The evaluator: is a user in `object#relation`? It has no I/O; it yields sets of reads and is resumed with
the rows.

Each question becomes a *cell*, and each rewrite a small circuit of cells: ANY, ALL or NOT of others.
Questions are opened level by level; a level's reads go out together, and what they decide flows up at once,
so that a question whose parents are all decided is never opened. A cell is decided only by what it follows
from: no guard against cycles, no cut-off and no cancelled branch can leave a wrong value behind.

What is left undecided when nothing is left to read hangs together in cycles. There the well-founded model
(Van Gelder, Ross and Schlipf, 1991) decides: the least fixed point, and where an exclusion depends on itself,
nothing; that denies.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterable, Sequence
from typing import Final

from weft.authz.plan import NOBODY, Plan, Rule, Tuples
from weft.authz.schema.model import ComputedUserset, Exclusion, Intersection, Self, TupleToUserset, Union
from weft.authz.store import Lookup, Read, Rows, Users
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, TupleCondition, User
from weft.core.errors import LimitExceeded, WeftError
from weft.core.limits import MAX_DEPTH


class Failure(str):
    """Stands among the names of missing context for a condition that could not be evaluated. Like a missing
    name it matters only where the answer depends on it; then `error` is raised."""

    __slots__ = ("error",)
    error: WeftError

    @classmethod
    def of(cls, error: WeftError) -> Failure:
        failure = cls(error)
        failure.error = error
        return failure


Value = bool | frozenset[str]
"""Allowed, denied, or conditional on the named context; nothing named: an exclusion depends on itself."""
Question = tuple[User, ObjectRef, str]
Judge = Callable[[TupleCondition], Value]
"""Whether a condition holds in the context of the request."""
Steps = Generator[list[Read], list[Rows], Sequence[Value]]

FOREVER_US: Final = 1 << 62
ANY: Final = 0
ALL: Final = 1
NOT: Final = 2


class Cell:
    """One value to find. `pending` counts what may still change it, `known` gathers missing context."""

    __slots__ = ("asleep", "children", "known", "op", "parents", "pending", "question", "value", "via")

    def __init__(
        self, op: int, known: frozenset[str] | None = None, question: Question | None = None
    ) -> None:
        self.op = op
        self.known = known
        self.question = question
        self.value: Value | None = None
        self.pending = 0 if op == NOT else 1
        """The one is held by whoever fills the cell, until `close`; a NOT has its one part at once."""
        self.parents: list[Cell] = []
        self.children: list[Cell] = []
        self.via: RelationTuple | None = None
        """Traced only: the tuple that the cell stands for, with what it leads to as its one other part."""
        self.asleep = False
        """Left out of the frontier because nobody waited for it."""

    def link(self, child: Cell) -> None:
        """Make the child one of the cell's parts."""
        self.children.append(child)
        self.pending += 1
        if child.value is None:
            child.parents.append(self)
        else:
            self.feed(child.value)

    def close(self) -> None:
        """No more parts will be added."""
        self.feed(self.op == ALL)

    def awaited(self) -> bool:
        """Whether an undecided question still needs the cell, perhaps by way of parts of its rewrite."""
        return any(
            parent.value is None and (parent.question is not None or parent.awaited())
            for parent in self.parents
        )

    def feed(self, value: Value) -> None:
        """One part has this value; decide if that settles it, and pass that on."""
        todo = [(self, value)]
        while todo:
            cell, value = todo.pop()
            if cell.value is None and cell._absorb(value):
                decided = cell.value
                assert decided is not None
                todo.extend((parent, decided) for parent in cell.parents)

    def _absorb(self, value: Value) -> bool:
        """Count one part in; whether the cell is decided by it."""
        self.pending -= 1
        if isinstance(value, frozenset):
            self.known = value if self.known is None else self.known | value
        elif self.op == NOT:
            self.value = not value
        elif value is (self.op == ANY):
            self.value = value
        if self.value is None and not self.pending:
            self.value = self.op == ALL if self.known is None else self.known
        return self.value is not None


class Evaluation:
    """The questions of one request at one snapshot; what one call of `check` finds serves the later ones."""

    def __init__(
        self, plan: Plan, now_us: int, judge: Judge, max_depth: int = MAX_DEPTH, *, trace: bool = False
    ) -> None:
        self._trace = trace
        self._plan = plan
        self._rule = plan.rule if trace else plan.flat_rule
        self._now_us = now_us
        self._judge = judge
        self._max_depth = max_depth
        self._cells: dict[Question, Cell] = {}
        self._frontier: list[Cell] = []
        self._shared: dict[Users, Rows] = {}
        """Rows that questions about other users may ask for too."""
        self._fact_user: User | None = None
        self._facts: Container[tuple[ObjectRef, str]] = ()
        self._asked: dict[Read, list[Callable[[Rows], None]]] = {}
        """What to read next, with who takes the rows; what a check leaves over, the next one sends."""
        self.unchanged_us = (0, FOREVER_US)
        """From and until when no expiry that was met changes anything."""

    def check(self, questions: Iterable[Question]) -> Steps:
        """The value of each question, in order; `LimitExceeded` when that takes longer paths than the depth.

        After an error the evaluation is of no more use.
        """
        roots = [self._cell(question) for question in questions]
        levels = 0
        while True:
            self._open_frontier(roots)
            if all(root.value is not None for root in roots):
                break
            if not self._asked:
                decide_cycles(roots)
                break
            levels += 1
            if levels > self._max_depth:
                raise LimitExceeded(
                    f"a path of more than {self._max_depth} tuples leads to the answer",
                    hint="flatten the nesting, or raise the depth limit",
                    limit=self._max_depth,
                )
            asked, self._asked = self._asked, {}
            reads = list(asked)
            for read, rows in zip(reads, (yield reads), strict=True):
                if type(read) is Users:
                    self._shared[read] = rows
                for sink in asked[read]:
                    sink(rows)
        return [root.value for root in roots]  # type: ignore[misc]

    def assume(self, user: User, facts: Container[tuple[ObjectRef, str]]) -> None:
        """Take for proven that the user is in these relations of objects; before any check."""
        self._fact_user, self._facts = user, facts

    def cell(self, question: Question) -> Cell:
        """The cell of a question that came up, for tracing."""
        return self._cells[question]

    def _cell(self, question: Question) -> Cell:
        cell = self._cells.get(question)
        if cell is None:
            cell = self._cells[question] = Cell(ANY, question=question)
            if question[0] == self._fact_user and question[1:] in self._facts:
                cell.value = True
            else:
                self._frontier.append(cell)
        elif cell.asleep:
            cell.asleep = False
            self._frontier.append(cell)
        return cell

    def _open_frontier(self, roots: Sequence[Cell]) -> None:
        """Open every question that somebody waits for."""
        wanted = set(roots)
        while self._frontier:
            cell = self._frontier.pop()
            if cell in wanted or cell.awaited():
                self._open(cell)
            else:
                cell.asleep = True

    def _open(self, cell: Cell) -> None:
        assert cell.question is not None
        user, object_, relation = cell.question
        if user.relation == relation and user.id == object_.id and user.namespace == object_.namespace:
            cell.feed(True)
            return
        rule = self._rule(object_.namespace, relation, user)
        if rule is not NOBODY:
            self._add(cell, rule, cell.question)
        cell.close()

    def _add(self, cell: Cell, rule: Rule, question: Question) -> None:
        """Make what the rule says a part of an ANY cell."""
        user, object_, _ = question
        match rule:
            case Union(children):
                for child in children:
                    self._add(cell, child, question)
            case Tuples():
                self._add_tuples(cell, rule, question)
            case ComputedUserset(relation):
                cell.link(self._cell((user, object_, relation)))
            case TupleToUserset():
                self._add_tupleset(cell, rule, question)
            case Intersection(children):
                cell.link(self._all(*(self._alternative(child, question) for child in children)))
            case Exclusion(base, subtract):
                negated = Cell(NOT)
                negated.link(self._alternative(subtract, question))
                cell.link(self._all(self._alternative(base, question), negated))
            case Self():
                cell.pending += 1
                cell.feed(not user.relation and user.id == object_.id and user.namespace == object_.namespace)

    def _alternative(self, rule: Rule, question: Question) -> Cell:
        if type(rule) is ComputedUserset and not self._trace:
            return self._cell((question[0], question[1], rule.relation))
        cell = Cell(ANY)
        self._add(cell, rule, question)
        cell.close()
        return cell

    def _all(self, *parts: Cell) -> Cell:
        cell = Cell(ALL)
        for part in parts:
            cell.link(part)
        cell.close()
        return cell

    def _add_tuples(self, cell: Cell, rule: Tuples, question: Question) -> None:
        user, object_, _ = question
        relation = rule.relation
        users = (user,) if rule.named or (rule.wildcard and user.id == WILDCARD) else ()
        if rule.wildcard and user.id != WILDCARD:
            users = (*users, User(user.namespace, WILDCARD))
        if users:
            self._ask(cell, Lookup(object_, relation, users), lambda rows: self._take_lookup(cell, rows))
        if rule.usersets:
            self._ask(
                cell,
                Users(object_, relation, usersets=True),
                lambda rows: self._take_usersets(cell, rows, user),
            )

    def _add_tupleset(self, cell: Cell, rule: TupleToUserset, question: Question) -> None:
        user, object_, _ = question
        take = self._take_every if rule.all else self._take_arrows
        self._ask(cell, Users(object_, rule.tupleset), lambda rows: take(cell, rows, user, rule.computed))

    def _ask(self, cell: Cell, read: Read, take: Callable[[Rows], None]) -> None:
        """Hand the rows of a read to `take`, which adds to the cell; the cell stays open until then."""
        cell.pending += 1

        def sink(rows: Rows) -> None:
            if cell.value is None:
                take(rows)
                cell.feed(cell.op == ALL)

        if type(read) is Users and (rows := self._shared.get(read)) is not None:
            sink(rows)
        else:
            self._asked.setdefault(read, []).append(sink)

    def _standing(self, row: RelationTuple) -> Value:
        """Whether a stored tuple counts at all: admitted by the schema, not expired, its condition met."""
        if row.expires_at_us is not None:
            since_us, until_us = self.unchanged_us
            if row.expires_at_us <= self._now_us:
                self.unchanged_us = max(since_us, row.expires_at_us), until_us
                return False
            self.unchanged_us = since_us, min(until_us, row.expires_at_us)
        if not self._plan.admits(row):
            return False
        return True if row.condition is None else self._judge(row.condition)

    def _take_lookup(self, cell: Cell, rows: Rows) -> None:
        for row in rows:
            standing = self._standing(row)
            if self._trace:
                cell.link(_through(row, standing))
            else:
                cell.pending += 1
                cell.feed(standing)

    def _take_usersets(self, cell: Cell, rows: Rows, user: User) -> None:
        for row in rows:
            self._link_through(cell, row, (user, row.user.object, row.user.relation))

    def _take_arrows(self, cell: Cell, rows: Rows, user: User, computed: str) -> None:
        for row in rows:
            if row.user.id != WILDCARD:
                self._link_through(cell, row, (user, row.user.object, computed))

    def _take_every(self, cell: Cell, rows: Rows, user: User, computed: str) -> None:
        """The tupleset names some object with the user in `computed`, and none without."""
        objects: dict[ObjectRef, Cell] = {}
        for row in rows:
            if row.user.id != WILDCARD and (standing := self._standing(row)) is not False:
                named = objects.setdefault(row.user.object, Cell(ANY))
                named.pending += 1
                named.feed(standing)
        some = Cell(ANY)
        parts = [some]
        for object_, named in objects.items():
            named.close()
            found = self._cell((user, object_, computed))
            some.link(self._all(named, found))
            absent = Cell(NOT)
            absent.link(named)
            either = Cell(ANY)
            either.link(absent)
            either.link(found)
            either.close()
            parts.append(either)
        some.close()
        cell.link(self._all(*parts))

    def _link_through(self, cell: Cell, row: RelationTuple, question: Question) -> None:
        """The question is a part of the cell as far as the tuple that leads to it stands."""
        standing = self._standing(row)
        if standing is True and not self._trace:
            cell.link(self._cell(question))
        elif standing is not False:
            cell.link(_through(row, standing, self._cell(question)))


def _through(row: RelationTuple, standing: Value, *parts: Cell) -> Cell:
    """What the tuple stands for, and its condition, and what it leads to."""
    cell = Cell(ALL)
    cell.via = row
    cell.pending += 1
    cell.feed(standing)
    for part in parts:
        cell.link(part)
    cell.close()
    return cell


def decide_cycles(roots: Iterable[Cell]) -> None:
    """Decide the undecided cells below the roots, all of whose open parts are among them."""
    cells = _undecided(roots)
    sure: set[Cell] = set()
    while True:
        possible = _least(cells, sure, generous=True)
        surer = _least(cells, possible, generous=False)
        if surer == sure:
            break
        sure = surer
    names = _missing(cells, possible - sure)
    for cell in cells:
        cell.value = True if cell in sure else names[cell] if cell in possible else False
    for cell in cells:
        for parent in cell.parents:
            parent.feed(cell.value)  # type: ignore[arg-type]


def _undecided(roots: Iterable[Cell]) -> list[Cell]:
    found = dict.fromkeys(root for root in roots if root.value is None)
    todo = list(found)
    while todo:
        for child in todo.pop().children:
            if child.value is None and child not in found:
                found[child] = None
                todo.append(child)
    return list(found)


def _least(cells: Sequence[Cell], denied_unless: set[Cell], *, generous: bool) -> set[Cell]:
    """The least set of true cells, where NOT holds of what is outside `denied_unless`; missing context counts
    as met when generous."""
    members = set(cells)
    true: set[Cell] = set()
    todo = list(cells)
    while todo:
        cell = todo.pop()
        if cell in true or not _holds(cell, true, denied_unless, generous):
            continue
        true.add(cell)
        todo.extend(parent for parent in cell.parents if parent in members)
    return true


def _holds(cell: Cell, true: set[Cell], denied_unless: set[Cell], generous: bool) -> bool:
    open_parts = [child for child in cell.children if child.value is None]
    if cell.op == NOT:
        return open_parts[0] not in denied_unless
    if cell.op == ANY:
        return (generous and cell.known is not None) or any(part in true for part in open_parts)
    return (generous or cell.known is None) and all(part in true for part in open_parts)


def _missing(cells: Sequence[Cell], unsure: set[Cell]) -> dict[Cell, frozenset[str]]:
    """The names of missing context that reach each unsure cell."""
    names = {cell: cell.known or frozenset() for cell in cells if cell in unsure}
    todo = list(names)
    while todo:
        cell = todo.pop()
        for parent in cell.parents:
            if parent in names and not names[cell] <= names[parent]:
                names[parent] |= names[cell]
                todo.append(parent)
    return names
