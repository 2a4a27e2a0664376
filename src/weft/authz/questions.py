"""Questions: everything that is asked at one snapshot of a tuple store."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, Final

from weft.authz.checks import Checks, keep_newest, retried
from weft.authz.cursor import Place, digest_of, seal, unseal
from weft.authz.evaluate import Cell, Question, Value
from weft.authz.expand import Expansion, Tree
from weft.authz.explain import Explainer, Explanation, suggestions
from weft.authz.lists import (
    Candidates,
    Listed,
    any_object,
    list_objects,
    list_subjects,
    named_users,
    reachable_objects,
)
from weft.authz.plan import Plan, Userset
from weft.authz.request import Request
from weft.authz.results import ConditionalItem, Decision, Page, Permission, missing_names
from weft.authz.serving.settings import Serving
from weft.authz.store import Read, Rows, TupleStore
from weft.authz.tuples import (
    ObjectRef,
    RelationTuple,
    TupleFilter,
    User,
    parse_object,
    parse_tuple,
)
from weft.authz.writes import TupleText, read_tuple
from weft.authz.zookie import Consistency
from weft.core.clock import Clock
from weft.core.errors import Invalid
from weft.core.limits import (
    MAX_DEPTH,
)
from weft.core.telemetry import Recorder

_KEPT_FROM: Final = 1_000
"""Walks that found fewer are as well made again."""
_MAX_WALKS: Final = 8
_MAX_SUGGESTIONS: Final = 20
"""Each costs a check."""


class Questions(Checks):
    """What `Authz` answers; every method resolves its moment, then evaluates at that snapshot."""

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
        super().__init__(
            store,
            clock=clock,
            window_s=window_s,
            max_depth=max_depth,
            serving=serving,
            telemetry=telemetry,
        )
        self._walks: dict[tuple[int, bytes], Candidates] = {}

    @retried
    def expand(
        self,
        object: str | ObjectRef,  # noqa: A002
        relation: str,
        *,
        depth: int = MAX_DEPTH,
        at: Consistency = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> Tree:
        """The tree of usersets behind the relation, down to `depth` tuples below it."""
        request = self._request(at, None, contextual_tuples)
        object_ = self._object(request.plan, object, relation)
        return request.run(Expansion(request.plan, request.standing, depth).expand(object_, relation))

    @retried
    def explain(
        self,
        object: str | ObjectRef,  # noqa: A002
        relation: str,
        user: str | User,
        *,
        at: Consistency = None,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> Explanation:
        """Why a check is decided as it is; and, where denied, which tuples would each have allowed it."""
        request = self._request(at, context, contextual_tuples)
        question = self._question(request.plan, object, relation, user)
        evaluation = request.evaluation(trace=True)
        [value] = request.run(evaluation.check([question]))
        root = evaluation.cell(question)
        explainer = Explainer(root)
        decision = Decision.of(value, self._moments.zookie(request.head))
        would_allow = [] if value else self._that_would_allow(request, question, root)
        return Explanation(decision, explainer.reason(), tuple(would_allow), explainer.loop())

    @retried
    def list_objects(
        self,
        namespace: str,
        relation: str,
        user: str | User,
        *,
        limit: int = 100,
        cursor: str | None = None,
        at: Consistency = None,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> Page[str]:
        """Objects of the namespace that the user is in the relation with, ordered by id."""
        place = self._place(cursor, at, "list_objects", namespace, relation, str(user), contextual_tuples)
        request = self._page_request(at, context, contextual_tuples, place)
        request.plan.schema.relation(namespace, relation)
        whom = self._user(request.plan, user)
        target = namespace, relation
        walk = reachable_objects(request.plan, target, whom)
        candidates = self._candidates(request, place, walk)
        steps = list_objects(
            request.evaluation(), target, whom, candidates, place.after.decode(), _checked_limit(limit)
        )
        listed = request.run(steps)
        return self._page(listed, request, place, lambda id_: str(ObjectRef(namespace, id_)))

    @retried
    def list_subjects(
        self,
        object: str | ObjectRef,  # noqa: A002
        relation: str,
        kind: str,
        *,
        limit: int = 100,
        cursor: str | None = None,
        at: Consistency = None,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> Page[str]:
        """Users of a kind (`user`, or `group#member`) that are in the relation on the object, ordered by id.

        A wildcard among the items means everybody of the kind but the page's `excluded`.
        """
        place = self._place(cursor, at, "list_subjects", str(object), relation, kind, contextual_tuples)
        request = self._page_request(at, context, contextual_tuples, place)
        object_ = self._object(request.plan, object, relation)
        user_namespace, _, user_relation = kind.partition("#")
        self._user(request.plan, User(user_namespace, "any", user_relation))
        of_kind = user_namespace, user_relation
        walk = named_users(request.plan, object_, relation, of_kind)
        candidates = self._candidates(request, place, walk)
        after = place.after.decode()
        steps = list_subjects(
            request.evaluation(), object_, relation, of_kind, candidates, after, _checked_limit(limit)
        )
        listed = request.run(steps)
        return self._page(
            listed,
            request,
            place,
            lambda id_: str(User(user_namespace, id_, user_relation)),
            wildcard=f"{user_namespace}:*",
        )

    @retried
    def list_permissions(
        self,
        object: str | ObjectRef | None,  # noqa: A002
        user: str | User,
        *,
        at: Consistency = None,
        context: Mapping[str, Any] | None = None,
        contextual_tuples: Sequence[TupleText] = (),
    ) -> list[Permission]:
        """Every relation and permission that the user has, or may have, on the object, in schema order.

        None instead of an object: those of every object type that the user has on at least one object, named
        like `doc#view`; that makes a walk for each, as `list_objects` does.
        """
        request = self._request(at, context, contextual_tuples)
        whom = self._user(request.plan, user)
        zookie = self._moments.zookie(request.head)
        if object is None:
            usersets = [(c.name, r.name) for c in request.plan.schema.namespaces for r in c.relations]
            asked = [("#".join(target), self._on_any(request, target, whom)) for target in usersets]
        else:
            ref = parse_object(object) if isinstance(object, str) else object
            names = [relation.name for relation in request.plan.schema.namespace(ref.namespace).relations]
            decisions = self._decide(request, ref, names, whom, context or {})
            found = zip(names, decisions, strict=True)
            return [Permission(name, one) for name, one in found if one.allowed or one.conditional]
        return [Permission(name, Decision.of(value, zookie)) for name, value in asked if value]

    def _on_any(self, request: Request, target: Userset, user: User) -> Value:
        candidates = request.run(reachable_objects(request.plan, target, user))
        return request.run(any_object(request.evaluation(), target, user, candidates))

    @retried
    def read(
        self,
        object: str | None = None,  # noqa: A002
        relation: str | None = None,
        user: str | None = None,
        *,
        where: TupleFilter | None = None,
        limit: int = 100,
        cursor: str | None = None,
        at: Consistency = None,
    ) -> Page[RelationTuple]:
        """Stored tuples by object (`doc:1` or `doc`), relation and user (`user:ann` or `user`), or by filter.

        Expired tuples, and those that the schema no longer admits, are left out. `NotFound` for a namespace
        or relation that the schema does not have, `Invalid` for a permission.
        """
        filter_ = where or TupleFilter.of(object, relation, user)
        place = self._place(cursor, at, "read", filter_)
        request = self._page_request(at, None, (), place)
        _require_known(request.plan, filter_)
        revision = request.head.revision
        page = self._store.scan(filter_, revision, limit=_checked_limit(limit), after=place.after or None)
        zookie = self._moments.zookie(request.head)
        items = [item for item in page.items if request.standing(item)]
        following = None if page.next is None else self._cursor(request, page.next, place)
        return Page(items, following, zookie)

    def _that_would_allow(self, request: Request, question: Question, root: Cell) -> Iterator[str]:
        for text in suggestions(request.plan, root, _MAX_SUGGESTIONS):
            with_it = request.with_tuple(parse_tuple(text))
            if with_it.run(with_it.evaluation().check([question])) == [True]:
                yield text

    # pages

    def _candidates(
        self, request: Request, place: Place, walk: Generator[list[Read], list[Rows], Candidates]
    ) -> Candidates:
        """What a list's walk finds; kept for the pages to come, which check it anew at their own instant."""
        key = request.head.revision, place.question
        found = self._walks.get(key)
        if found is None:
            found = request.run(walk)
            if len(found.ids) >= _KEPT_FROM:
                self._walks[key] = found
                keep_newest(self._walks, _MAX_WALKS)
        return found

    def _page_request(
        self,
        at: Consistency,
        context: Mapping[str, Any] | None,
        contextual_tuples: Sequence[TupleText],
        place: Place,
    ) -> Request:
        """The request of a page, at the revision of the one before if there was one."""
        head = self._moments.exact(place.revision) if place.after else self._moments.head(at)
        contextual = tuple(map(read_tuple, contextual_tuples))
        return self._request_at(head, self._clock.now_us(), context or {}, contextual)

    def _place(self, cursor: str | None, at: Consistency, *question: Any) -> Place:
        """Where a list begins or goes on."""
        digest = digest_of(*question)
        if cursor is None:
            return Place(0, b"", digest)
        return unseal(cursor, digest, self._store.secret)

    def _cursor(self, request: Request, after: bytes, place: Place) -> str:
        return seal(Place(request.head.revision, after, place.question), self._store.secret)

    def _page(
        self,
        listed: Listed,
        request: Request,
        place: Place,
        shown: Callable[[str], str],
        wildcard: str = "",
    ) -> Page[str]:
        values: list[tuple[str, Value]] = [(shown(id_), value) for id_, value in listed.values]
        if listed.wildcard and not place.after:
            values.insert(0, (wildcard, listed.wildcard))
        items = [item for item, value in values if value is True]
        unsure = [(item, value) for item, value in values if isinstance(value, frozenset)]
        conditional = [ConditionalItem(item, missing_names(names)) for item, names in unsure]
        cursor = self._cursor(request, listed.values[-1][0].encode(), place) if listed.more else None
        excluded: list[str] = []
        if listed.wildcard:
            excluded = sorted([*map(shown, listed.denied), *(item for item, _ in unsure if item != wildcard)])
        return Page(items, cursor, self._moments.zookie(request.head), conditional, excluded)


def _checked_limit(limit: int) -> int:
    if limit < 1:
        raise Invalid(f"a page of `{limit}` items cannot be made", hint="ask for at least one")
    return limit


def _require_known(plan: Plan, filter_: TupleFilter) -> None:
    """No typing error is answered with an empty page. Users may be of any namespace where a schema has no
    types, as in the Zanzibar paper."""
    if filter_.namespace is None:
        return
    plan.schema.namespace(filter_.namespace)
    if filter_.relation is None:
        return
    if plan.schema.relation(filter_.namespace, filter_.relation).is_permission:
        what = f"{filter_.namespace}#{filter_.relation}"
        raise Invalid(f"`{what}` is computed: no tuple is stored for it", hint="use check or list_subjects")
