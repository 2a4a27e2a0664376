"""Lists of one store: whom or what a question is true of, page by page at one revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from weft.authz.checks import Checks, retried
from weft.authz.cursor import Place, digest_of, seal, unseal
from weft.authz.evaluate import Value
from weft.authz.lists import Listed
from weft.authz.request import Request
from weft.authz.results import ConditionalItem, Decision, Page, Permission, missing_names
from weft.authz.serving.settings import Serving
from weft.authz.store import TupleStore
from weft.authz.tuples import WILDCARD, ObjectRef, User, parse_object
from weft.authz.walks import Asked, Context, ObjectsAsked, SubjectsAsked, Walks
from weft.authz.writes import TupleText, read_tuple
from weft.authz.zookie import Consistency
from weft.core.clock import Clock
from weft.core.errors import Invalid
from weft.core.telemetry import Recorder


class Lists(Checks):
    """The lists of `Authz`."""

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
        self._walks = Walks(store, self._mirror, self._leopard, self._compiled)

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
        """Objects of the namespace that the user is in the relation with, in the store's own stable order.

        That is the order in which objects were first written, those of one write by id (`memory:` goes by id
        alone). Objects that contextual tuples name come last, by id.
        """
        place = self._place(cursor, at, "list_objects", namespace, relation, str(user), contextual_tuples)
        request = self._page_request(at, context, contextual_tuples, place)
        request.plan.schema.relation(namespace, relation)
        whom = self._user(request.plan, user)
        asked = ObjectsAsked((namespace, relation), whom)
        candidates = self._walks.of(request, asked, place.question)
        listed = self._walks.page(
            request, asked, candidates, context or {}, place.after, checked_limit(limit)
        )
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
        """Users of a kind (`user`, or `group#member`) that are in the relation on the object, in the order of
        `list_objects`.

        A wildcard among the items means everybody of the kind but the page's `excluded`.
        """
        place = self._place(cursor, at, "list_subjects", str(object), relation, kind, contextual_tuples)
        request = self._page_request(at, context, contextual_tuples, place)
        object_ = self._object(request.plan, object, relation)
        namespace, _, user_relation = kind.partition("#")
        self._user(request.plan, User(namespace, "any", user_relation))
        asked = SubjectsAsked(object_, relation, (namespace, user_relation))
        candidates = self._walks.of(request, asked, place.question)
        wildcard: Value | None = candidates.everybody
        if wildcard is None:
            [wildcard] = request.run(request.evaluation().check([asked.question(WILDCARD)]))
        listed = self._walks.page(
            request, asked, candidates, context or {}, place.after, checked_limit(limit)
        )
        return self._page(
            listed, request, place, lambda id_: str(User(namespace, id_, user_relation)), wildcard
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
        if object is None:
            zookie = self._moments.zookie(request.head)
            asked = [(c.name, r.name) for c in request.plan.schema.namespaces for r in c.relations]
            held = [(at, self._on_any(request, ObjectsAsked(at, whom), context or {})) for at in asked]
            return [Permission("#".join(at), Decision.of(value, zookie)) for at, value in held if value]
        ref = parse_object(object) if isinstance(object, str) else object
        names = [relation.name for relation in request.plan.schema.namespace(ref.namespace).relations]
        decisions = self._decide(request, ref, names, whom, context or {})
        found = zip(names, decisions, strict=True)
        return [Permission(name, one) for name, one in found if one.allowed or one.conditional]

    def _on_any(self, request: Request, asked: Asked, context: Context) -> Value:
        return self._walks.any(request, asked, self._walks.of(request, asked), context)

    # pages

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
        wildcard: Value = False,
    ) -> Page[str]:
        """`wildcard` is the value of everyone who is not named."""
        values: list[tuple[str, Value]] = [(shown(id_), value) for id_, value in listed.values]
        everybody = shown(WILDCARD)
        if wildcard and not place.after:
            values.insert(0, (everybody, wildcard))
        items = [item for item, value in values if value is True]
        unsure = [(item, value) for item, value in values if isinstance(value, frozenset)]
        conditional = [ConditionalItem(item, missing_names(names)) for item, names in unsure]
        cursor = None if listed.last is None else self._cursor(request, listed.last, place)
        excluded: list[str] = []
        if wildcard:
            excluded = sorted(
                [*map(shown, listed.denied), *(item for item, _ in unsure if item != everybody)]
            )
        return Page(items, cursor, self._moments.zookie(request.head), conditional, excluded)


def checked_limit(limit: int) -> int:
    if limit < 1:
        raise Invalid(f"a page of `{limit}` items cannot be made", hint="ask for at least one")
    return limit
