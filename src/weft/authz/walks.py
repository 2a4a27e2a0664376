"""What a list asks, where its candidates come from, and who says which of them are in: the mirror with its
index and compiled checks as far as they prove it, the store and the evaluator for the rest."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from weft.authz.checks import keep_newest
from weft.authz.compiled.checks import CompiledChecks
from weft.authz.compiled.listed import prove_objects, prove_subjects
from weft.authz.compiled.point import Point
from weft.authz.compiled.walk import Proof
from weft.authz.evaluate import Question, Value
from weft.authz.leopard.index import Index
from weft.authz.leopard.leopard import Leopard
from weft.authz.lists import (
    Candidates,
    Found,
    Key,
    Listed,
    any_of,
    named_users,
    page_of,
    proven,
    reachable_objects,
)
from weft.authz.mirror.mirror import Mirror, View
from weft.authz.mirror.rows import USERSET_SHIFT
from weft.authz.plan import Kind, Plan, Userset
from weft.authz.reach import Reached, Unproven, objects_reached, subjects_named
from weft.authz.request import Request
from weft.authz.store import Read, Rows, TupleStore
from weft.authz.tuples import ObjectRef, User

_KEPT_FROM: Final = 1_000
"""Walks that found fewer are as well made again."""
_MAX_WALKS: Final = 8
_IN_ORDER: Final = b"\0"
"""Before the place that a store gives."""
_LAST: Final = b"\1"
"""Before the id of what comes last: it was never written, or contextual tuples name it."""


_BEHIND_ALL: Final = 1 << USERSET_SHIFT
Context = Mapping[str, Any]


class Asked(Protocol):
    """The question of a list."""

    @property
    def namespace(self) -> str:
        """That of the candidates."""

    @property
    def named(self) -> ObjectRef:
        """The one object that it names."""

    def walk(self, plan: Plan) -> Generator[list[Read], list[Rows], Found]:
        """The walk through the store."""

    def reach(self, plan: Plan, view: View, index: Index | None) -> Reached:
        """The same over a mirror; or `Unproven`."""

    def question(self, id_: str) -> Question:
        """The check of one candidate."""

    def prove(self, point: Point, keys: list[int], context: Context, now_us: int) -> list[Proof]:
        """What compiled checks prove of candidates, by number."""


@dataclass(frozen=True)
class ObjectsAsked:
    """Which objects is the user in the target relation with?"""

    target: Userset
    user: User

    @property
    def namespace(self) -> str:
        return self.target[0]

    @property
    def named(self) -> ObjectRef:
        return self.user.object

    def walk(self, plan: Plan) -> Generator[list[Read], list[Rows], Found]:
        return reachable_objects(plan, self.target, self.user)

    def reach(self, plan: Plan, view: View, index: Index | None) -> Reached:
        return objects_reached(plan, view, index, self.target, self.user)

    def question(self, id_: str) -> Question:
        return self.user, ObjectRef(self.target[0], id_), self.target[1]

    def prove(self, point: Point, keys: list[int], context: Context, now_us: int) -> list[Proof]:
        return prove_objects(point, keys, self.target[1], self.user, context, now_us)


@dataclass(frozen=True)
class SubjectsAsked:
    """Which users of the kind are in the relation on the object?"""

    object: ObjectRef
    relation: str
    kind: Kind

    @property
    def namespace(self) -> str:
        return self.kind[0]

    @property
    def named(self) -> ObjectRef:
        return self.object

    def walk(self, plan: Plan) -> Generator[list[Read], list[Rows], Found]:
        return named_users(plan, self.object, self.relation, self.kind)

    def reach(self, plan: Plan, view: View, index: Index | None) -> Reached:
        number = view.numbers.object_(self.object)
        if number is None:
            raise Unproven
        return subjects_named(plan, view, index, number, self.relation, self.kind)

    def question(self, id_: str) -> Question:
        return User(self.kind[0], id_, self.kind[1]), self.object, self.relation

    def prove(self, point: Point, keys: list[int], context: Context, now_us: int) -> list[Proof]:
        return prove_subjects(point, self.object, self.relation, keys, self.kind[1], context, now_us)


class Walks:
    """Candidates for the lists of one store; those of long lists are kept for the pages to come, which check
    them anew at their own instant."""

    def __init__(
        self,
        store: TupleStore,
        mirror: Mirror | None,
        leopard: Leopard | None,
        compiled: CompiledChecks | None,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._leopard = leopard
        self._compiled = compiled
        self._kept: dict[tuple[int, bytes], Candidates] = {}

    def of(self, request: Request, asked: Asked, question: bytes = b"") -> Candidates:
        """The candidates of a list; `question` is what its pages have in common."""
        key = request.head.revision, question
        found = self._kept.get(key) if question else None
        if found is None:
            found = self._reached(request, asked)
            if found is None:
                found = self._walked(request, asked)
            if question and len(found) >= _KEPT_FROM:
                self._kept[key] = found
                keep_newest(self._kept, _MAX_WALKS)
        return found

    def page(
        self,
        request: Request,
        asked: Asked,
        candidates: Candidates,
        context: Context,
        after: bytes,
        limit: int,
    ) -> Listed:
        """Up to `limit` candidates behind a place that are in, or may be."""
        return page_of(candidates, self._values_of(request, asked, candidates, context), after, limit)

    def any(self, request: Request, asked: Asked, candidates: Candidates, context: Context) -> Value:
        """Whether any candidate is in."""
        return any_of(candidates, self._values_of(request, asked, candidates, context))

    def _values_of(
        self, request: Request, asked: Asked, candidates: Candidates, context: Context
    ) -> Callable[[list[Key]], list[Value]]:
        """Who says which of the candidates are in."""
        evaluation = request.evaluation()
        if isinstance(asked, ObjectsAsked):
            evaluation.assume(asked.user, candidates.facts)
        compiled = self._compiled if candidates.numbered else None

        def values_of(keys: list[Key]) -> list[Value]:
            proofs: list[Proof] | None = None
            if compiled is not None:
                proofs = compiled.proofs(
                    request.head, lambda point: asked.prove(point, keys, context, request.now_us)
                )
            proofs = proofs or [None] * len(keys)
            left = [key for key, proof in zip(keys, proofs, strict=True) if proof is None]
            if not left:
                return list(proofs)  # type: ignore[arg-type]
            checked = request.run(evaluation.check([asked.question(id_) for id_ in candidates.ids(left)]))
            values = iter(checked)
            return [next(values) if proof is None else proof for proof in proofs]

        return values_of

    def _reached(self, request: Request, asked: Asked) -> Candidates | None:
        """By way of the mirror; None where that cannot say."""
        mirror, leopard = self._mirror, self._leopard
        if mirror is None or request.contextual:
            return None
        plan = request.plan

        def reach(view: View) -> Reached:
            return asked.reach(plan, view, None if leopard is None else leopard.for_lists(plan, view))

        try:
            found = mirror.read(request.head.revision, reach)
        except Unproven:
            return None
        if found is None:
            return None
        return Candidates(
            found.proven,
            found.unproven,
            ids=mirror.numbers.ids_of,
            place_of=lambda number: _IN_ORDER + number.to_bytes(8, "big"),
            key_of=lambda place: int.from_bytes(place[1:], "big") if place[:1] == _IN_ORDER else _BEHIND_ALL,
            everybody=found.everybody,
            numbered=True,
        )

    def _walked(self, request: Request, asked: Asked) -> Candidates:
        """By way of the store."""
        found = request.run(asked.walk(request.plan))
        ids = dict(zip(self._keys(request, asked, list(found.ids)), found.ids, strict=True))
        sure = proven({key: found.ids[id_] for key, id_ in ids.items()})
        return Candidates(
            [sure],
            ids.keys() - sure,
            ids=lambda keys: [ids[key] for key in keys],
            place_of=lambda key: key,
            key_of=lambda place: place,
            facts=found.facts,
            everybody=found.everybody,
        )

    def _keys(self, request: Request, asked: Asked, ids: list[str]) -> list[bytes]:
        """What candidates are ordered by: the places that the store gives, whoever it knows nothing of or the
        request itself names last. So nobody moves when the store comes to know more between two pages."""
        objects = [ObjectRef(asked.namespace, id_) for id_ in ids]
        last: set[ObjectRef] = set()
        for item in request.contextual.values():
            last |= {item.object, item.user.object, asked.named}
        return [
            _LAST + object_.id.encode() if place is None or object_ in last else _IN_ORDER + place
            for object_, place in zip(objects, self._store.places(objects), strict=True)
        ]
