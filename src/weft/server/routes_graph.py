"""weft.graph over HTTP: its types, one node, a traversal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from weft.core.errors import Invalid, NotFound
from weft.graph import EdgeType, Graph, Group, NodeRef, NodeType, Result
from weft.graph.traverse.traversal import Traversal
from weft.server.wire import Body, answer


class Traverse(Body):
    """A traversal as `Traversal.to_json` writes it, and what is asked about where it ends."""

    type: str
    ids: list[str] | None = Field(None, description="None starts from every node of the type.")
    steps: list[dict[str, Any]] = Field(
        default_factory=list,
        description="`hop`, `where`, `order_by`, `limit` or `distinct`, named by `step`, with its fields.",
    )
    answer: Literal["nodes", "edges", "paths", "count", "count_by"] = "nodes"
    by: str | None = Field(None, description="For `count_by`: a property; without one, groups are nodes.")
    top: int | None = Field(None, ge=1, description="For `count_by`: keep that many groups.")


def graph_routes(graph: Graph) -> APIRouter:
    """Routes over one graph."""
    routes = APIRouter(prefix="/v1/graph", tags=["graph"])

    @routes.get("/types")
    def types() -> Response:
        """The node and edge types, with the kinds of their properties."""
        return answer(
            {
                "nodes": [_type(kind) for kind in graph.schema.nodes.values()],
                "edges": [_type(kind) for kind in graph.schema.edges.values()],
            }
        )

    @routes.get("/nodes/{type}/{id:path}")
    def node(type: str, id: str) -> Response:  # noqa: A002
        """A node by its type and id."""
        found = graph.node(type, id)
        if found is None:
            raise NotFound(f"there is no {type} `{id}`")
        return answer(found)

    @routes.post("/traverse")
    def traverse(body: Traverse) -> Response:
        """Walk, and answer with nodes, edges, paths, their count, or counts by group."""
        query = body.model_dump(include={"type", "ids", "steps"})
        return answer(_answered(graph.traverse(json.dumps(query)), body))

    return routes


def _type(kind: NodeType | EdgeType) -> dict[str, Any]:
    ends = {"source": kind.source, "target": kind.target} if isinstance(kind, EdgeType) else {}
    return {
        "name": kind.name,
        **ends,
        "properties": dict(kind.properties),
        "unknown": kind.unknown,
        "ttl_s": kind.ttl_s,
    }


def _answered(traversal: Traversal, body: Traverse) -> dict[str, Any]:
    if body.answer != "count_by" and (body.by, body.top) != (None, None):
        raise Invalid("`by` and `top` belong to `count_by`", hint="leave them out, or ask for `count_by`")
    if body.answer == "count":
        count = traversal.count()
        return {"count": int(count), "complete": count.complete, "reason": count.reason}
    if body.answer == "count_by":
        groups = traversal.count_by(body.by, top=body.top)
        return {
            "items": [_group(group) for group in groups],
            "complete": groups.complete,
            "reason": groups.reason,
        }
    ask: dict[str, Callable[[], Result[Any]]] = {
        "nodes": traversal.nodes,
        "edges": traversal.edges,
        "paths": traversal.paths,
    }
    found = ask[body.answer]()
    return {"items": found.items, "complete": found.complete, "reason": found.reason}


def _group(group: Group) -> dict[str, Any]:
    key = group.key._asdict() if isinstance(group.key, NodeRef) else group.key
    return {"key": key, "count": group.count}
