"""One revision: its view of the mirror, its programs, and the two decisions that most checks end with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from weft.authz.compiled.build import Programs
from weft.authz.compiled.program import Program
from weft.authz.compiled.walk import Proof, Walk
from weft.authz.mirror.mirror import View
from weft.authz.mirror.rows import NAMESPACE_SHIFT, SERIAL_MASK, USERSET_SHIFT
from weft.authz.results import Decision
from weft.authz.store import Head
from weft.authz.tuples import WILDCARD, ObjectRef, User, check_user, parse_object, parse_user
from weft.authz.zookie import Zookie
from weft.core.clock import Clock

if TYPE_CHECKING:
    from weft.authz.leopard.index import Index
    from weft.authz.leopard.leopard import Leopard

_LOOK_EVERY: Final = 256
"""Walks between two looks for an index: one costs as much as a walk."""
NO_WALK: Final = cast(Walk, None)
"""For programs that ask nothing of it."""


class Point:
    """What checks at one revision need. Methods may raise anything, and what they say is void, unless
    `view.intact` holds afterwards."""

    __slots__ = (
        "_clock",
        "_index",
        "_leopard",
        "_looked",
        "_object",
        "_ready",
        "_user",
        "allowed",
        "denied",
        "head",
        "max_depth",
        "programs",
        "view",
    )

    def __init__(
        self,
        head: Head,
        view: View,
        programs: Programs,
        zookie: Zookie,
        clock: Clock,
        max_depth: int,
        leopard: Leopard | None,
    ) -> None:
        self.head = head
        self.view = view
        self.programs = programs
        self.allowed = Decision(True, zookie)
        self.denied = Decision(False, zookie)
        self._ready = programs.ready
        self._object: Callable[[Any], int | None] = view.numbers.object_texts.get
        self._user: Callable[[Any], int | None] = view.numbers.user_texts.get
        self._leopard = leopard
        self._index: Index | None = None
        self._looked = 0
        self._clock = clock
        self.max_depth = max_depth

    def ask(
        self, object_: str | ObjectRef, relation: str, user: str | User, context: Mapping[str, Any]
    ) -> Proof:
        """Whether the user is in the relation on the object."""
        object_number = self._object(object_)
        user_number = self._user(user)
        if object_number is None or user_number is None:
            numbers = self.numbers(object_, user)
            if numbers is None:
                return None
            object_number, user_number = numbers
        try:
            program = self._ready[relation, object_number >> NAMESPACE_SHIFT, user_number >> NAMESPACE_SHIFT]
        except KeyError:
            program = self._find(relation, object_number, user_number)
        if program is None:
            return None
        if not program.plain:
            return self.run(program, object_number, user_number, self.walk(context))
        if program.one(object_number, user_number, NO_WALK):
            return True
        if program.beyond is None:
            return False
        try:
            return program.beyond(object_number, user_number, self.walk(context))
        except RecursionError:
            return None

    def run(self, program: Program, object_: int, user: int, walk: Walk | None) -> Proof:
        """What a program says; a bare one needs no walk."""
        try:
            return program.ask(object_, user, walk or NO_WALK)
        except RecursionError:
            return None

    def program(self, relation: str, object_: int, user: int) -> Program | None:
        """The program for an object, a relation and a user of such kinds; None where rows prove nothing.

        `NotFound` where the schema has no such relation or user.
        """
        key = relation, object_ >> NAMESPACE_SHIFT, user >> NAMESPACE_SHIFT
        return self._ready[key] if key in self._ready else self._find(relation, object_, user)

    def walk(self, context: Mapping[str, Any], now_us: int | None = None) -> Walk:
        """A walk for questions about one user; its instant is the clock's, unless given."""
        return Walk(
            self.programs.plan,
            self._clock,
            self.max_depth,
            context,
            now_us,
            self._index or self._look_for_index(),
            self.view.revision,
        )

    def _look_for_index(self) -> Index | None:
        """The index of groups; where there is none, it may be there soon."""
        if self._leopard is not None and self._looked % _LOOK_EVERY == 0:
            plan, look = self.programs.plan, self._leopard.for_relation
            found = (look(plan, self.view, *relation) for relation in plan.groups)
            self._index = next((index for index in found if index is not None), None)
        self._looked += 1
        return self._index

    def numbers(self, object_: str | ObjectRef, user: str | User) -> tuple[int, int] | None:
        """The numbers of an object and a user. One that was never written has the number of nobody, unless
        both are such; then they may still be the same, and it is for the evaluator to say."""
        whom = parse_user(user) if isinstance(user, str) else check_user(user)
        self.programs.plan.require_user(whom)
        ref = parse_object(object_) if isinstance(object_, str) else object_
        if ref.namespace not in self.programs.plan.schema.by_name or ref.id == WILDCARD:
            return None
        numbers = self.view.numbers
        object_number, user_number = numbers.object_(object_), numbers.user(user)
        if object_number is None and user_number is None:
            return None
        if object_number is None:
            object_number = self._nobody(ref.namespace)
        elif user_number is None and not whom.relation:
            user_number = self._nobody(whom.namespace)
        if object_number is None or user_number is None:
            return None
        return object_number, user_number

    def _nobody(self, namespace: str) -> int | None:
        number = self.view.numbers.namespace(namespace)
        return None if number is None else number << NAMESPACE_SHIFT | SERIAL_MASK

    def _find(self, relation: str, object_: int, user: int) -> Program | None:
        name, plan = self.view.numbers.name, self.programs.plan
        namespace = name(object_ >> NAMESPACE_SHIFT)
        kind = name(user >> NAMESPACE_SHIFT & 0xFFFF), name(user >> USERSET_SHIFT)
        plan.require_user(User(kind[0], "any", kind[1]))
        plan.schema.relation(namespace, relation)
        program = self.programs.find(namespace, relation, kind)
        self._ready[relation, object_ >> NAMESPACE_SHIFT, user >> NAMESPACE_SHIFT] = program
        return program
