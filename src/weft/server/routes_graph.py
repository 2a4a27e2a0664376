"""weft.graph over HTTP: its types, one node, traversals, queries, and events that are pushed."""

from __future__ import annotations

import json
from threading import Event
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from weft.authz import Authz, Zookie
from weft.core.errors import Invalid, NotFound
from weft.graph import Count, EdgeType, Graph, GraphView, Group, NodeRef, NodeType, WatchEvent
from weft.graph.traverse.result import Summary
from weft.graph.traverse.traversal import Traversal
from weft.graph.watch import Watch
from weft.integrations.visibility import AuthzVisibility
from weft.server import bodies_graph as bodies
from weft.server.pushes import Pushes
from weft.server.streams import NDJSON, Lines, answer_events, answer_items, wants_lines
from weft.server.wire import answer

_JSON: Final = "application/json"
_REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"model": bodies.Refused},
    "5XX": {"model": bodies.Refused},
}
_STREAMED: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": f'The answer; for `accept: {NDJSON}` a line `{{"item": …}}` for each of `items`, and '
        "last a line with the other fields, without which it was broken off.",
        "content": {NDJSON: {"schema": {"type": "string"}}},
    }
}
# A route that answers with lines would have its refusals be lines, too.
_REFUSAL: Final = {"content": {_JSON: {"schema": {"$ref": "#/components/schemas/Refused"}}}}
_WATCHED: Final[dict[int | str, dict[str, Any]]] = {
    "4XX": {"description": "Client Error", **_REFUSAL},
    "5XX": {"description": "Server Error", **_REFUSAL},
    200: {
        "model": bodies.Watched,
        "description": "A line for each change. Where it breaks off for a reason, the last line is that of a "
        "refusal; go on from the last cursor.",
    },
}
_EVENTS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            _JSON: {"schema": {"description": "One event, or an array of events."}},
            NDJSON: {"schema": {"type": "string", "description": "An event per line."}},
        },
    }
}
_QUERY: Final = {"type", "ids", "steps", "as_of_us", "within_s", "per_node"}
_PAGED: Final = ("nodes", "edges", "paths")
_BELONGS: Final[dict[str, tuple[str, ...]]] = {
    "page": _PAGED,
    "after": _PAGED,
    "by": ("count_by", "summary"),
    "of": ("summary",),
    "top": ("count_by",),
}
_TRAVERSED: Final = bodies.Found | bodies.Counted | bodies.Summarized | bodies.Explained | bodies.Profiled
Accept = Annotated[str, Header(description=f"`{NDJSON}` streams the answer.")]


def graph_routes(graph: Graph, authz: Authz, pushes: Pushes, stopping: Event) -> APIRouter:
    """Routes over one graph; `authz` says who sees what, `pushes` takes events, `stopping` ends watches."""
    routes = APIRouter(prefix="/v1/graph", tags=["graph"], responses=_REFUSED)

    @routes.get("/types", response_model=bodies.Types)
    def types() -> Response:
        """The node and edge types, with the kinds of their properties."""
        graph.schema.refresh()
        return answer(
            {
                "nodes": [_type(kind) for kind in graph.schema.nodes.values()],
                "edges": [_type(kind) for kind in graph.schema.edges.values()],
            }
        )

    @routes.get("/nodes/{type}/{id:path}", response_model=bodies.NodeShape)
    def node(type: str, id: str) -> Response:  # noqa: A002
        """A node by its type and id."""
        found = graph.node(type, id)
        if found is None:
            raise NotFound(f"there is no {type} `{id}`")
        return answer(found)

    @routes.post("/traverse", response_model=_TRAVERSED, responses=_STREAMED)
    def traverse(body: bodies.Traverse, accept: Accept = _JSON) -> Response:
        """Walk, and answer with nodes, edges, paths, their count, counts by group or a summary of a property;
        or tell what the walk is going to read, or has read."""
        _check(body)
        query = json.dumps(body.model_dump(include=_QUERY))
        eyes = _eyes(authz, body.seen_by)
        traversal = graph.traverse(query, visibility=eyes)
        if body.answer == "explain":
            return answer({"steps": traversal.explain()})
        if body.answer == "profile":
            return answer(traversal.profile())
        found = _found(traversal, body)
        end = _end(found.complete, found.reason, eyes)
        match found:
            case Count():
                return answer({"count": int(found), **end})
            case Summary():
                return answer({**msgspec.structs.asdict(found), **end})
        items = map(_group, found) if body.answer == "count_by" else found
        return answer_items(items, {**end, "next": found.next}, lines=wants_lines(accept))

    @routes.post("/query", response_model=bodies.Rows, responses=_STREAMED)
    def query(body: bodies.Ask, accept: Accept = _JSON) -> Response:
        """Ask in a read-only subset of openCypher."""
        eyes = _eyes(authz, body.seen_by)
        asked = graph if eyes is None else GraphView(graph, eyes)
        rows = asked.query(body.text, **body.parameters)
        end = {"columns": rows.columns, **_end(rows.complete, rows.reason, eyes)}
        return answer_items(rows, end, lines=wants_lines(accept))

    @routes.post("/watch", response_class=Lines, responses=_WATCHED)
    def watch(body: bodies.Watch) -> Response:
        """Nodes and edges as they change, a line each, for ever; the first line says where it begins."""
        steps = Watch(
            graph.store,
            graph.schema,
            graph.clock,
            body.types,
            after=body.after,
            visibility=_eyes(authz, body.seen_by),
            heartbeat_s=body.heartbeat_s,
        )
        return answer_events(lambda: map(_change, steps.poll()), steps.pause_s, stopping)

    @routes.post("/push/{job}", response_model=bodies.Pushed, openapi_extra=_EVENTS)
    async def push(job: str, request: Request) -> Response:
        """Hand events to a job that the server runs. Answered once they are durable; push again what is not
        acknowledged: with event times in the events, a repetition changes nothing."""
        # Other kinds a web page may send across origins without being asked.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in (_JSON, NDJSON):
            raise Invalid("events are sent as JSON", hint=f"send `content-type: {_JSON}` or `{NDJSON}`")
        return answer({"events": await run_in_threadpool(pushes.push, job, await request.body())})

    return routes


def _type(kind: NodeType | EdgeType) -> dict[str, Any]:
    ends = {"source": kind.source, "target": kind.target} if isinstance(kind, EdgeType) else {}
    return {
        "name": kind.name,
        **ends,
        "properties": dict(kind.properties),
        "unknown": kind.unknown,
        "ttl_s": kind.ttl_s,
        **kind.layout,
    }


def _eyes(authz: Authz, seen_by: bodies.SeenBy | None) -> AuthzVisibility | None:
    if seen_by is None:
        return None
    eyes = AuthzVisibility(
        authz,
        seen_by.subject,
        seen_by.permissions,
        public=seen_by.public,
        at=None if seen_by.at is None else Zookie(seen_by.at),
    )
    # Asked of nothing, so that a reader who does not fit is refused also where there is nothing to see.
    eyes.visible([NodeRef(kind, "-") for kind in seen_by.permissions])
    return eyes


def _end(complete: bool, reason: str, eyes: AuthzVisibility | None) -> dict[str, Any]:
    end = {"complete": complete, "reason": reason}
    return end if eyes is None else {**end, "zookie": eyes.zookie}


def _check(body: bodies.Traverse) -> None:
    """Refuse what belongs to another answer."""
    given = {"page": body.page, "after": body.after, "by": body.by, "of": body.of, "top": body.top}
    for name, value in given.items():
        if value is not None and body.answer not in _BELONGS[name]:
            raise Invalid(
                f"`{name}` does not belong to `{body.answer}`",
                hint=f"leave it out, or ask for {' or '.join(f'`{one}`' for one in _BELONGS[name])}",
            )
    if body.answer == "summary" and body.by is None:
        raise Invalid("`summary` is of a property", hint="name it with `by`")


def _found(traversal: Traversal, body: bodies.Traverse) -> Any:
    match body.answer:
        case "count":
            return traversal.count()
        case "count_by":
            return traversal.count_by(body.by, top=body.top)
        case "summary":
            return traversal.summary(body.by or "", of=body.of or "nodes")
        case "edges":
            return traversal.edges(page=body.page, after=body.after)
        case "paths":
            return traversal.paths(page=body.page, after=body.after)
        case _:
            return traversal.nodes(page=body.page, after=body.after)


def _group(group: Group) -> dict[str, Any]:
    key = group.key._asdict() if isinstance(group.key, NodeRef) else group.key
    return {"key": key, "count": group.count}


def _change(event: WatchEvent) -> dict[str, Any]:
    removed = None if event.removed is None else event.removed._asdict()
    return {"cursor": event.cursor, "now": event.now, "removed": removed}
