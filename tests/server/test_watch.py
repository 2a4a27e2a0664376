"""`/v1/graph/watch` on a real server, while another process writes."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from weft.authz import Authz
from weft.graph import Edge, EdgeType, Graph, Node, NodeRef, NodeType
from weft.graph.layout import out_namespace

from .conftest import Served

SCHEMA = "definition user {} definition title { relation viewer: user }"
TYPES = [
    NodeType("account", properties={"age": int, "raw": bytes}),
    NodeType("title"),
    EdgeType("watched", "account", "title", properties={"device": str}),
]
ANN = {"subject": "user:ann", "permissions": {"title": "viewer"}, "public": ["account"]}


class Both(NamedTuple):
    """One data folder: served, and open here."""

    server: Served
    authz: Authz
    graph: Graph

    @contextmanager
    def watching(self, **body: Any) -> Iterator[Iterator[Any]]:
        with self.server.http.stream("POST", "/v1/graph/watch", json=body) as response:
            assert response.status_code == 200, response.read()
            assert response.headers["content-type"] == "application/x-ndjson"
            yield (json.loads(line) for line in response.iter_lines())

    def refused(self, **body: Any) -> tuple[int, str, str]:
        response = self.server.http.post("/v1/graph/watch", json=body)
        assert set(response.json()) == {"code", "message", "hint"}
        return response.status_code, response.json()["code"], response.json()["message"]


@pytest.fixture
def both(serve: Any, tmp_path: Path) -> Iterator[Both]:
    with Authz.open(str(tmp_path / "authz")) as authz, Graph.open(tmp_path / "graph", TYPES) as graph:
        authz.write_schema(SCHEMA)
        authz.write(touch=["title:Dune#viewer@user:ann"])
        yield Both(serve("--data", tmp_path), authz, graph)


def test_changes_of_another_process_are_told_and_resumed(both: Both) -> None:
    with both.watching() as lines:
        begin = next(lines)
        assert (begin["now"], begin["removed"]) == (None, None)
        both.graph.put([Node("account", "ann", {"age": 3, "raw": b"\xff"})], [Edge("watched", "ann", "Dune")])
        node, edge = next(lines), next(lines)
        assert node["now"]["properties"] == {"age": 3, "raw": "/w=="}
        assert (edge["now"]["source"], edge["now"]["target"], edge["removed"]) == ("ann", "Dune", None)
        both.graph.delete([NodeRef("account", "ann")])
        gone = [next(lines), next(lines)]
        assert [line["removed"] for line in gone] == [
            {"type": "account", "id": "ann"},
            {"type": "watched", "source": "ann", "target": "Dune"},
        ]
        assert all(line["now"] is None for line in gone)
    with both.watching(after=begin["cursor"], types=["watched"], heartbeat_s=0.05) as lines:
        told = [next(lines), next(lines)]
        assert [line["removed"] for line in told] == [gone[1]["removed"], None]


def test_who_watches_sees_what_they_may_see_at_that_time(both: Both) -> None:
    with both.watching(types=["watched"], seen_by=ANN) as lines:
        next(lines)
        both.graph.put(edges=[Edge("watched", "ann", "Secret"), Edge("watched", "ann", "Dune")])
        assert next(lines)["now"]["target"] == "Dune"
        both.authz.write(touch=["title:Secret#viewer@user:ann"], delete=["title:Dune#viewer@user:ann"])
        both.graph.put(edges=[Edge("watched", "bob", "Dune"), Edge("watched", "bob", "Secret")])
        assert next(lines)["now"]["target"] == "Secret"


def test_what_cannot_be_told_is_refused_at_once_or_last(both: Both) -> None:
    assert both.refused(types=["likes"])[:2] == (400, "invalid")
    assert "is no cursor" in both.refused(after="nonsense")[2]
    assert both.refused(heartbeat_s=0)[:2] == (400, "invalid")
    assert "types" in both.refused(types="watched")[2]
    with both.watching(types=["watched"]) as lines:
        cursor = next(lines)["cursor"]
        name = out_namespace("watched")
        log = next(one for one in both.graph.store.namespaces() if one.name == name)
        both.graph.put(edges=[Edge("watched", "ann", f"t{number}") for number in range(300)])
        both.graph.store.configure(msgspec.structs.replace(log, changes_bytes=1))
        both.graph.put(edges=[Edge("watched", "ann", "late")])
        *_, last = lines
        assert (last["code"], "begin a watch from now" in last["hint"]) == ("conflict", True)
    status, code, message = both.refused(types=["watched"], after=cursor)
    assert (status, code, message) == (409, "conflict", "the changes after this cursor are forgotten")


def test_many_watch_while_others_ask_and_the_server_stops(both: Both) -> None:
    """More watchers than the server has threads hold up nobody."""
    url = both.server.http.base_url
    with httpx.Client(base_url=url, timeout=20, limits=httpx.Limits(max_connections=None)) as http:
        streams = [http.stream("POST", "/v1/graph/watch", json={"types": ["title"]}) for _ in range(60)]
        lines = [stream.__enter__().iter_lines() for stream in streams]
        for one in lines:
            next(one)
        both.graph.put([Node("title", "Dune")])
        for one in lines:
            assert json.loads(next(one))["now"]["id"] == "Dune"
        assert http.get("/v1/graph/nodes/title/Dune").status_code == 200
        both.server.process.send_signal(signal.SIGTERM)
        assert both.server.process.wait(timeout=10) == 0
        assert both.server.process.stderr is not None
        assert "Traceback" not in both.server.process.stderr.read()


def test_openapi_says_what_a_line_is(both: Both) -> None:
    document = both.server.http.get("/openapi.json").json()
    operation = document["paths"]["/v1/graph/watch"]["post"]
    (kind, content), *others = operation["responses"]["200"]["content"].items()
    assert (kind, others) == ("application/x-ndjson", [])
    assert content["schema"]["$ref"].endswith("/Watched")
    watched = document["components"]["schemas"]["Watched"]["properties"]
    assert set(watched) == {"cursor", "now", "removed"}
    assert operation["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"].endswith("Refused")
