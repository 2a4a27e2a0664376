"""One request at one snapshot: the same plan, revision, instant, context and contextual tuples throughout."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol, TypeVar

from weft.authz.evaluate import Evaluation, Judge
from weft.authz.plan import Plan
from weft.authz.store import Head, Lookup, Objects, Read, Rows, Users
from weft.authz.tuples import RelationTuple

T = TypeVar("T")


class Answers(Protocol):
    """What a request needs of a store; see `TupleStore`."""

    def answer(self, reads: Sequence[Read], revision: int) -> list[Rows]: ...


class Request:
    """Drives step functions with the rows of one snapshot. `now_us` is the instant that expiries are held
    against; contextual tuples count as if they had been touched."""

    def __init__(
        self,
        store: Answers,
        head: Head,
        plan: Plan,
        now_us: int,
        judge: Judge,
        max_depth: int,
        contextual: Sequence[RelationTuple] = (),
    ) -> None:
        self.head = head
        self.plan = plan
        self.now_us = now_us
        self._store = store
        self._judge = judge
        self._max_depth = max_depth
        self.contextual = {item.key: item for item in contextual}

    def evaluation(self, *, trace: bool = False) -> Evaluation:
        """A fresh evaluation of this snapshot."""
        return Evaluation(self.plan, self.now_us, self._judge, self._max_depth, trace=trace)

    def with_tuple(self, item: RelationTuple) -> Request:
        """The same request with one more contextual tuple."""
        contextual = [*self.contextual.values(), item]
        return Request(
            self._store, self.head, self.plan, self.now_us, self._judge, self._max_depth, contextual
        )

    def standing(self, item: RelationTuple) -> bool:
        """Whether a tuple counts, its condition apart."""
        return not item.expired(self.now_us) and self.plan.admits(item)

    def run(self, steps: Generator[list[Read], list[Rows], T]) -> T:
        """The result of a step function, its reads answered."""
        try:
            reads = next(steps)
            while True:
                reads = steps.send(self._answer(reads))
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _answer(self, reads: list[Read]) -> list[Rows]:
        answers = self._store.answer(reads, self.head.revision)
        if not self.contextual:
            return answers
        return [self._with_contextual(read, rows) for read, rows in zip(reads, answers, strict=True)]

    def _with_contextual(self, read: Read, rows: Rows) -> Rows:
        kept = [row for row in rows if row.key not in self.contextual]
        return kept + [item for item in self.contextual.values() if _asked_for(read, item)]


def _asked_for(read: Read, item: RelationTuple) -> bool:
    match read:
        case Lookup(object_, relation, users):
            return item.object == object_ and item.relation == relation and item.user in users
        case Users(object_, relation, usersets):
            same = item.object == object_ and item.relation == relation
            return same and (item.user.is_userset or not usersets)
        case Objects(user, namespace, relation):
            return item.user == user and item.object.namespace == namespace and item.relation == relation
