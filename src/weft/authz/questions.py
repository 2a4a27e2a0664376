"""Questions: everything that is asked at one snapshot of a tuple store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from weft.authz.checks import retried
from weft.authz.evaluate import Cell, Question
from weft.authz.expand import Expansion, Tree
from weft.authz.explain import Explainer, Explanation, suggestions
from weft.authz.listing import Lists, checked_limit
from weft.authz.plan import Plan
from weft.authz.request import Request
from weft.authz.results import Decision, Page
from weft.authz.tuples import ObjectRef, RelationTuple, TupleFilter, User, parse_tuple
from weft.authz.writes import TupleText
from weft.authz.zookie import Consistency
from weft.core.errors import Invalid
from weft.core.limits import MAX_DEPTH

_MAX_SUGGESTIONS: Final = 20
"""Each costs a check."""


class Questions(Lists):
    """What `Authz` answers; every method resolves its moment, then evaluates at that snapshot."""

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
        page = self._store.scan(filter_, revision, limit=checked_limit(limit), after=place.after or None)
        zookie = self._moments.zookie(request.head)
        items = [item for item in page.items if request.standing(item)]
        following = None if page.next is None else self._cursor(request, page.next, place)
        return Page(items, following, zookie)

    def _that_would_allow(self, request: Request, question: Question, root: Cell) -> Iterator[str]:
        for text in suggestions(request.plan, root, _MAX_SUGGESTIONS):
            with_it = request.with_tuple(parse_tuple(text))
            if with_it.run(with_it.evaluation().check([question])) == [True]:
                yield text


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
