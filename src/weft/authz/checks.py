"""Checks: is a user in a relation? Answered by the first layer that can, all at one snapshot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from weft.authz.compiled.checks import CompiledChecks
from weft.authz.evaluate import Failure, Judge, Question, Value
from weft.authz.leopard.leopard import Leopard
from weft.authz.mirror.mirror import Mirror
from weft.authz.moments import Moments, expired
from weft.authz.plan import Plan
from weft.authz.request import Answers, Request
from weft.authz.results import Check, Decision
from weft.authz.schema import parse_schema
from weft.authz.serving.hot import HotSets
from weft.authz.serving.settings import Serving
from weft.authz.serving.stored import StoreChecks
from weft.authz.store import Head, RevisionGone, TupleStore
from weft.authz.tuples import (
    ObjectRef,
    RelationTuple,
    TupleCondition,
    User,
    canonical_json,
    check_user,
    parse_object,
    parse_user,
)
from weft.authz.writes import TupleText, read_tuple, require_admitted
from weft.authz.zookie import EXACT, Consistency
from weft.core.clock import Clock
from weft.core.errors import Invalid, LimitExceeded
from weft.core.limits import MAX_CHECKS_PER_REQUEST, MAX_CONTEXTUAL_TUPLES, within
from weft.core.telemetry import AUTHZ_LEFT, Recorder

P = ParamSpec("P")
S = TypeVar("S", bound="Checks")
T = TypeVar("T")
_NOTHING: Final[Mapping[str, Any]] = {}
_NO_LAYERS: Final = Serving(cache=False, flights=False, hot=False)
_MAX_PLANS: Final = 8


def retried(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Ask again, once, where history was collected under a request that is not bound to one revision."""

    @wraps(method)
    def ask(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except RevisionGone as error:
            if isinstance(kwargs.get("at"), EXACT) or kwargs.get("cursor") is not None:
                raise expired(error) from error
        return method(self, *args, **kwargs)

    return ask


class Checks:
    """Checks of one store, and what every other question begins with: a request at one snapshot."""

    def __init__(
        self,
        store: TupleStore,
        *,
        clock: Clock,
        window_s: float,
        max_depth: int,
        serving: Serving,
        telemetry: Recorder,
    ) -> None:
        self._store = store
        self._telemetry = telemetry
        self._clock = clock
        self._max_depth = max_depth
        self._moments = Moments(store, clock, window_s)
        self._quantized = window_s > 0
        self._plans: dict[int, Plan] = {}
        self._mirror = Mirror.of(store, serving, telemetry)
        self._leopard: Leopard | None = None
        if self._mirror is not None and serving.leopard:
            self._leopard = Leopard(self._mirror, store.store_id)
        self._compiled: CompiledChecks | None = None
        if self._mirror is not None and serving.compiled:
            self._compiled = CompiledChecks(
                self._mirror, self._moments, self._plan, clock, max_depth, self._leopard
            )
        self._stored = StoreChecks(serving if store.waits else _NO_LAYERS, telemetry)
        self._answers: Answers = HotSets(store, telemetry) if serving.hot and store.waits else store

    def check(
        self,
        object: str | ObjectRef,  # noqa: A002
        relation: str,
        user: str | User,
        *,
        at: Consistency = None,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> Decision:
        """Whether the user is in the relation (or has the permission) on the object."""
        if self._compiled is not None and not contextual_tuples:
            head = self._store.head() if at is None and not self._quantized else self._moments.head(at)
            proven = self._compiled.check(head, object, relation, user, context or _NOTHING)
            if proven is not None:
                return proven
        return self._walked_check(
            object, relation, user, at=at, context=context, contextual_tuples=contextual_tuples
        )

    def _at_hand(self, at: Consistency) -> bool:
        """Whether checks at that moment are likely to be answered from memory, without waiting."""
        return self._compiled is not None and self._compiled.at_hand(self._moments.head(at))

    @retried
    def _walked_check(
        self,
        object: str | ObjectRef,  # noqa: A002
        relation: str,
        user: str | User,
        *,
        at: Consistency,
        context: Mapping[str, Any] | None,
        contextual_tuples: Sequence[TupleText],
    ) -> Decision:
        """The same by the evaluator, which has the last word."""
        self._telemetry.count(AUTHZ_LEFT)
        request = self._request(at, context, contextual_tuples)
        question = self._question(request.plan, object, relation, user)
        [value] = self._stored.values(request, [question], context or _NOTHING)
        return Decision.of(value, self._moments.zookie(request.head))

    def check_many(
        self,
        checks: Iterable[Check],
        *,
        at: Consistency = None,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> list[Decision]:
        """The decisions on many checks, in order, at one snapshot; what they share is evaluated once."""
        asked = list(checks)
        within("a request", len(asked), MAX_CHECKS_PER_REQUEST, "checks")
        return self._check_all(asked, at=at, context=context or {}, contextual_tuples=contextual_tuples)

    @retried
    def _check_all(
        self,
        asked: Sequence[Check],
        *,
        at: Consistency,
        context: Mapping[str, Any],
        contextual_tuples: Sequence[TupleText],
    ) -> list[Decision]:
        return self._check_at(self._moments.head(at), self._clock.now_us(), asked, context, contextual_tuples)

    def _check_at(
        self,
        head: Head,
        now_us: int,
        asked: Sequence[Check],
        context: Mapping[str, Any],
        contextual_tuples: Sequence[TupleText],
    ) -> list[Decision]:
        """What is not proven is evaluated together, by context and contextual tuples."""
        decisions: list[Decision | None] = [None] * len(asked)
        for given in filter(None, (context, *(check.context for check in asked))):
            canonical_json({**given})
        if self._compiled is not None and not contextual_tuples:
            decisions = self._compiled.check_many(head, asked, context, now_us)
        left = [index for index, decision in enumerate(decisions) if decision is None]
        groups: dict[tuple[str, tuple[RelationTuple, ...]], list[int]] = {}
        for index in left:
            check = asked[index]
            whole = canonical_json({**context, **check.context})
            contextual = tuple(map(read_tuple, (*contextual_tuples, *check.contextual_tuples)))
            groups.setdefault((whole, contextual), []).append(index)
        for (_, contextual), indexes in groups.items():
            merged = {**context, **asked[indexes[0]].context}
            request = self._request_at(head, now_us, merged, contextual)
            group = [asked[index] for index in indexes]
            questions = [self._question(request.plan, c.object, c.relation, c.user) for c in group]
            values = self._stored.values(request, questions, merged)
            for index, value in zip(indexes, values, strict=True):
                decisions[index] = Decision.of(value, self._moments.zookie(head))
        return decisions  # type: ignore[return-value]

    def _decide(
        self,
        request: Request,
        object_: ObjectRef,
        names: Sequence[str],
        user: User,
        context: Mapping[str, Any],
    ) -> list[Decision]:
        """The decisions on one user and several relations of one object."""
        decisions: list[Decision | None] = [None] * len(names)
        if self._compiled is not None and not request.contextual:
            checks = [Check(object_, name, user) for name in names]
            decisions = self._compiled.check_many(request.head, checks, context, request.now_us)
        left = [index for index, decision in enumerate(decisions) if decision is None]
        values = self._stored.values(request, [(user, object_, names[index]) for index in left], context)
        for index, value in zip(left, values, strict=True):
            decisions[index] = Decision.of(value, self._moments.zookie(request.head))
        return decisions  # type: ignore[return-value]

    # requests

    def _request(
        self,
        at: Consistency,
        context: Mapping[str, Any] | None,
        contextual_tuples: Sequence[TupleText],
    ) -> Request:
        contextual = tuple(map(read_tuple, contextual_tuples))
        return self._request_at(self._moments.head(at), self._clock.now_us(), context or {}, contextual)

    def _request_at(
        self, head: Head, now_us: int, context: Mapping[str, Any], contextual: Sequence[RelationTuple]
    ) -> Request:
        plan = self._plan(head)
        within("a request", len(contextual), MAX_CONTEXTUAL_TUPLES, "contextual tuples")
        for item in contextual:
            require_admitted(plan, item)
        return Request(self._answers, head, plan, now_us, _judge(plan, context), self._max_depth, contextual)

    def _plan(self, head: Head) -> Plan:
        """The compiled schema that is in force at a head."""
        if not head.schema_revision:
            raise Invalid("the store has no schema yet", hint="write one with write_schema")
        return self._plan_of(head.schema_revision)

    def _plan_of(self, revision: int) -> Plan:
        plan = self._plans.get(revision)
        if plan is None:
            stored = self._store.read_schema(revision)
            plan = Plan(parse_schema(stored.text, stored.language), revision)  # type: ignore[arg-type]
            self._plans[revision] = plan
            keep_newest(self._plans, _MAX_PLANS)
        return plan

    def _question(self, plan: Plan, object_: str | ObjectRef, relation: str, user: str | User) -> Question:
        return self._user(plan, user), self._object(plan, object_, relation), relation

    def _object(self, plan: Plan, object_: str | ObjectRef, relation: str) -> ObjectRef:
        ref = parse_object(object_) if isinstance(object_, str) else object_
        plan.schema.relation(ref.namespace, relation)
        return ref

    def _user(self, plan: Plan, user: str | User) -> User:
        whom = parse_user(user) if isinstance(user, str) else check_user(user)
        plan.require_user(whom)
        return whom


def keep_newest(kept: dict[Any, Any], count: int) -> None:
    """Drop the oldest entries; other threads may do so at the same time."""
    for key in list(kept)[:-count]:
        kept.pop(key, None)


def _judge(plan: Plan, context: Mapping[str, Any]) -> Judge:
    """Whether conditions hold in the context; each is evaluated once."""
    known: dict[TupleCondition, Value] = {}

    def judge(condition: TupleCondition) -> Value:
        value = known.get(condition)
        if value is None:
            try:
                found = plan.conditions.evaluate(condition, context)
                value = found if isinstance(found, bool) else found.names
            except (Invalid, LimitExceeded) as error:
                value = frozenset({Failure.of(error)})
            known[condition] = value
        return value

    return judge
