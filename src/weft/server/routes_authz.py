"""weft.authz over HTTP: a route for each of its calls, under the call's own name."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import APIRouter, Response

from weft.authz import Authz, Decision
from weft.authz.expand import Tree
from weft.authz.results import Page
from weft.authz.tuples import TupleFilter
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.errors import Invalid
from weft.core.telemetry import AUTHZ_CHECK_SECONDS, AUTHZ_WRITES, Recorder
from weft.server import bodies_authz as bodies
from weft.server.bodies_authz import moment
from weft.server.wire import answer


def authz_routes(authz: Authz, recorder: Recorder, *, clock: Clock = SYSTEM_CLOCK) -> APIRouter:
    """Routes over one `Authz`; checks and writes are told to `recorder`."""
    routes = APIRouter(prefix="/v1/authz", tags=["authz"])

    @routes.get("/schema")
    def read_schema(at: bodies.At = None) -> Response:
        """The schema in force, as it was written."""
        return answer(authz.read_schema(moment(at)))

    @routes.put("/schema")
    def write_schema(body: bodies.SchemaBody) -> Response:
        """Put a schema in force; refused where stored tuples would not fit it."""
        return answer({"zookie": authz.write_schema(body.text, body.language)})

    @routes.post("/write")
    def write(body: bodies.WriteBody) -> Response:
        """Change tuples, all or nothing; the zookie names the moment from which they hold."""
        zookie = authz.write(
            create=body.create,
            touch=body.touch,
            delete=body.delete,
            must_exist=_filters(body.must_exist),
            must_not_exist=_filters(body.must_not_exist),
            idempotency_key=body.idempotency_key,
        )
        for operation in ("create", "touch", "delete"):
            recorder.count(AUTHZ_WRITES, len(getattr(body, operation)), operation=operation)
        return answer({"zookie": zookie})

    @routes.post("/check")
    def check(body: bodies.CheckBody) -> Response:
        """Whether the user is in the relation, or has the permission, on the object."""
        began_s = clock.monotonic_s()
        decision = authz.check(body.object, body.relation, body.user, **body.told())
        recorder.observe(AUTHZ_CHECK_SECONDS, clock.monotonic_s() - began_s, outcome=_outcome(decision))
        return answer(decision)

    @routes.post("/check-many")
    def check_many(body: bodies.CheckManyBody) -> Response:
        """The decisions on many checks, in order, at one moment."""
        checks = [check.meant() for check in body.checks]
        return answer({"decisions": authz.check_many(checks, **body.told())})

    @routes.post("/expand")
    def expand(body: bodies.ExpandBody) -> Response:
        """The tree of usersets behind the relation."""
        tree = authz.expand(
            body.object,
            body.relation,
            depth=body.depth,
            at=moment(body.at),
            contextual_tuples=body.contextual_tuples,
        )
        return answer(_tree(tree))

    @routes.post("/explain")
    def explain(body: bodies.CheckBody) -> Response:
        """Why a check is decided as it is and, where denied, which tuples would each have allowed it."""
        return answer(authz.explain(body.object, body.relation, body.user, **body.told()))

    @routes.post("/read")
    def read(body: bodies.ReadBody) -> Response:
        """Stored tuples."""
        if body.where and (body.object, body.relation, body.user) != (None, None, None):
            raise Invalid(
                "`where` stands beside `object`, `relation` or `user`", hint="put everything into `where`"
            )
        page = authz.read(
            body.object,
            body.relation,
            body.user,
            where=body.where.meant() if body.where else None,
            limit=body.limit,
            cursor=body.cursor,
            at=moment(body.at),
        )
        return answer(_page(msgspec.structs.replace(page, items=list(map(str, page.items)))))

    @routes.post("/list-objects")
    def list_objects(body: bodies.ListObjectsBody) -> Response:
        """Objects of a namespace that the user is in the relation with."""
        page = authz.list_objects(
            body.namespace,
            body.relation,
            body.user,
            limit=body.limit,
            cursor=body.cursor,
            **body.told(),
        )
        return answer(_page(page))

    @routes.post("/list-subjects")
    def list_subjects(body: bodies.ListSubjectsBody) -> Response:
        """Users of a kind that are in the relation on the object."""
        page = authz.list_subjects(
            body.object, body.relation, body.kind, limit=body.limit, cursor=body.cursor, **body.told()
        )
        return answer(_page(page))

    @routes.post("/list-permissions")
    def list_permissions(body: bodies.ListPermissionsBody) -> Response:
        """Every relation and permission that the user has, or may have, on the object."""
        return answer({"permissions": authz.list_permissions(body.object, body.user, **body.told())})

    return routes


def _filters(given: list[str | bodies.Filter]) -> list[str | TupleFilter]:
    return [one if isinstance(one, str) else one.meant() for one in given]


def _outcome(decision: Decision) -> str:
    return "conditional" if decision.conditional else "allowed" if decision.allowed else "denied"


def _page(page: Page[Any]) -> dict[str, Any]:
    return {**msgspec.structs.asdict(page), "complete": page.complete}


def _tree(tree: Tree) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(tree),
        "tuples": list(map(str, tree.tuples)),
        "children": [_tree(child) for child in tree.children],
    }
