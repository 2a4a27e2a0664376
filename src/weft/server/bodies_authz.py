"""What weft.authz's routes take. Tuples, objects and users are texts, as in the library."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from weft.authz import EXACT, LATEST, Check
from weft.authz.schema import Language
from weft.authz.store import RETENTION_S
from weft.authz.tuples import TupleFilter
from weft.authz.zookie import Consistency
from weft.core.limits import MAX_DEPTH, MAX_PAGE_ITEMS
from weft.server.wire import Body

_EXACT: Final = "exact:"

Texts = Annotated[list[str], Field(default_factory=list)]
Context = Annotated[dict[str, Any], Field(default_factory=dict)]

At = Annotated[
    str | None,
    Field(
        description="The moment to answer for: a zookie (at least as fresh), `exact:` and a zookie "
        f"(exactly it, within {RETENTION_S / 3_600:.0f} hours), `latest`, or none for a recent one."
    ),
]


def moment(at: str | None) -> Consistency:
    """What `at` means to the library."""
    if at == "latest":
        return LATEST
    if at is not None and at.startswith(_EXACT):
        return EXACT(at.removeprefix(_EXACT))
    return at


class SchemaBody(Body):
    text: str
    language: Language = "zed"


class Filter(Body):
    """Which tuples; fields left out match anything. An empty `user_relation` matches plain users."""

    namespace: str | None = None
    object_id: str | None = None
    object_id_prefix: str | None = None
    relation: str | None = None
    user_namespace: str | None = None
    user_id: str | None = None
    user_relation: str | None = None

    def meant(self) -> TupleFilter:
        return TupleFilter(**self.model_dump())


Filters = Annotated[list[str | Filter], Field(default_factory=list)]


class WriteBody(Body):
    create: Texts
    touch: Texts
    delete: Texts
    must_exist: Filters
    must_not_exist: Filters
    idempotency_key: str | None = None


class Question(Body):
    """What every question may bring along."""

    at: At = None
    contextual_tuples: Texts


class Conditional(Question):
    """A question whose answer may depend on conditions."""

    context: Context

    def told(self) -> dict[str, Any]:
        """The arguments that all these questions share."""
        return {
            "at": moment(self.at),
            "context": self.context,
            "contextual_tuples": self.contextual_tuples,
        }


class CheckBody(Conditional):
    object: str
    relation: str
    user: str


class OneCheck(Body):
    """One of many checks; what it brings along counts for it alone."""

    object: str
    relation: str
    user: str
    context: Context
    contextual_tuples: Texts

    def meant(self) -> Check:
        return Check(self.object, self.relation, self.user, self.context, self.contextual_tuples)


class CheckManyBody(Conditional):
    checks: list[OneCheck]


class ExpandBody(Question):
    object: str
    relation: str
    depth: int = Field(MAX_DEPTH, ge=0, le=MAX_DEPTH)


class Paged(Body):
    """A question that is answered in pages: `cursor` is that of the page before."""

    limit: int = Field(100, ge=1, le=MAX_PAGE_ITEMS)
    cursor: str | None = None


class ReadBody(Paged):
    """Tuples by object, relation and user, or by a filter; nothing given matches all."""

    object: str | None = None
    relation: str | None = None
    user: str | None = None
    where: Filter | None = None
    at: At = None


class ListObjectsBody(Conditional, Paged):
    namespace: str
    relation: str
    user: str


class ListSubjectsBody(Conditional, Paged):
    object: str
    relation: str
    kind: str = Field(description="`user`, or a userset like `group#member`.")


class ListPermissionsBody(Conditional):
    object: str
    user: str
