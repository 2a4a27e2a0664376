"""Every route once, against the answer of the library over the same data folder in this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from weft.authz import EXACT, Authz, Check
from weft.graph import Edge, EdgeType, Graph, Node, NodeType

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition doc {
  relation owner: user
  relation reader: user | user:* | group#member | user with office
  permission view = owner + reader
}
caveat office(place string) { place == "here" }
"""
TUPLES = [
    "doc:plan#owner@user:ann",
    "doc:plan#reader@group:eng#member",
    "group:eng#member@user:bob",
    "group:eng#member@user:cid",
    "doc:memo#reader@user:dot[office]",
    "doc:memo#reader@user:bob",
]
TYPES = [
    NodeType("account", properties={"age": int, "raw": bytes}),
    NodeType("title"),
    EdgeType("watched", "account", "title", properties={"device": str}),
]
ODD_ID = "a/../ü?#% b"


class Both(NamedTuple):
    """One data folder: served, and open here."""

    http: httpx.Client
    authz: Authz
    graph: Graph

    def ask(self, call: str, **body: Any) -> Any:
        response = self.http.post(f"/v1/{call}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, method: str, path: str, **request: Any) -> tuple[int, dict[str, str]]:
        response = self.http.request(method, path, **request)
        body = response.json()
        assert set(body) == {"code", "message", "hint"}
        return response.status_code, body


@pytest.fixture(scope="module")
def both(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    data: Path = tmp_path_factory.mktemp("data")
    with Authz.open(str(data / "authz")) as authz, Graph.open(data / "graph", TYPES) as graph:
        authz.write_schema(SCHEMA)
        authz.write(touch=TUPLES)
        graph.put(
            [Node("account", "ann", {"age": 30, "raw": b"\xff"}), Node("account", "bob", {"age": 40})],
            [
                Edge("watched", "ann", "Dune", {"device": "tv"}),
                Edge("watched", "bob", "Dune", {"device": "tv"}),
                Edge("watched", "bob", "Heat", {"device": "phone"}),
            ],
        )
        graph.put([Node("title", ODD_ID)])
        yield Both(serve("--data", data).http, authz, graph)


def plain(value: Any) -> Any:
    """The value as it comes out of JSON."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))


def test_the_schema_is_read_and_written(both: Both) -> None:
    assert both.http.get("/v1/authz/schema").json() == plain(both.authz.read_schema())
    before = both.authz.read_schema()
    changed = SCHEMA + "definition folder {}"
    put = both.http.put("/v1/authz/schema", json={"text": changed})
    assert both.authz.read_schema(put.json()["zookie"]).text == changed
    earlier = both.http.get("/v1/authz/schema", params={"at": f"exact:{before.zookie}"})
    assert earlier.json()["text"] == SCHEMA


def test_writes_pass_between_processes_in_both_directions(both: Both) -> None:
    question = ("doc:new", "view", "user:eve")
    theirs = both.ask(
        "authz/write", create=["doc:new#reader@user:eve"], must_not_exist=["doc:new#owner@user:x"]
    )
    assert both.authz.check(*question, at=theirs["zookie"])
    ours = both.authz.write(delete=["doc:new#reader@user:eve"])
    asked = dict(zip(("object", "relation", "user"), question, strict=True))
    assert both.ask("authz/check", **asked, at=ours)["allowed"] is False
    assert both.ask("authz/check", **asked, at=f"exact:{theirs['zookie']}")["allowed"] is True
    assert both.ask("authz/check", **asked, at="latest")["allowed"] is False
    assert both.authz.check(*question, at=EXACT(theirs["zookie"]))
    assert both.refused("POST", "/v1/authz/check", json={**asked, "at": "newest"})[1]["code"] == "bad_zookie"


def test_a_write_keeps_its_preconditions_and_its_idempotency_key(both: Both) -> None:
    once = {"touch": ["doc:once#owner@user:ann"], "idempotency_key": "k"}
    assert both.ask("authz/write", **once) == both.ask("authz/write", **once)
    for condition in (
        {"must_not_exist": [{"namespace": "doc", "object_id": "once"}]},
        {"must_exist": [{"namespace": "doc", "object_id": "never"}]},
        {"must_exist": ["doc:never#owner@user:ann"]},
    ):
        status, body = both.refused("POST", "/v1/authz/write", json={"touch": TUPLES[:1], **condition})
        assert (status, body["code"]) == (409, "precondition_failed")
    both.ask("authz/write", delete=["doc:once#owner@user:ann"], must_exist=["doc:once#owner@user:ann"])


@pytest.mark.parametrize("user", ["user:ann", "user:bob", "user:dot", "user:eve"])
def test_a_check_and_its_explanation(both: Both, user: str) -> None:
    for place in ({}, {"place": "here"}, {"place": "there"}):
        for doc in ("doc:plan", "doc:memo"):
            asked = {"object": doc, "relation": "view", "user": user, "context": place}
            extra = ["doc:plan#reader@user:eve"]
            assert both.ask("authz/check", **asked) == plain(both.authz.check(**asked))
            assert both.ask("authz/explain", **asked) == plain(both.authz.explain(**asked))
            with_tuples = both.authz.check(**asked, contextual_tuples=extra)
            assert both.ask("authz/check", **asked, contextual_tuples=extra) == plain(with_tuples)


def test_many_checks(both: Both) -> None:
    checks = [
        {"object": "doc:memo", "relation": "view", "user": "user:dot", "context": {"place": "here"}},
        {"object": "doc:memo", "relation": "view", "user": "user:dot"},
        {"object": "doc:plan", "relation": "owner", "user": "user:bob"},
        {
            "object": "doc:plan",
            "relation": "owner",
            "user": "user:bob",
            "contextual_tuples": ["doc:plan#owner@user:bob"],
        },
    ]
    decisions = both.ask("authz/check-many", checks=checks)["decisions"]
    assert decisions == plain(both.authz.check_many(Check(**check) for check in checks))
    assert [one["allowed"] for one in decisions] == [True, False, False, True]


def test_expand(both: Both) -> None:
    tree = both.ask("authz/expand", object="doc:plan", relation="view")
    found: list[str] = []
    todo = [tree]
    while todo:
        one = todo.pop()
        found += one["tuples"]
        todo += one["children"]
    assert sorted(found) == sorted(TUPLES[:4])
    assert (tree["operation"], tree["userset"], tree["open"]) == ("userset", "doc:plan#view", False)
    assert both.ask("authz/expand", object="doc:plan", relation="view", depth=0) != tree


def test_read(both: Both) -> None:
    by_text = both.ask("authz/read", object="doc:plan")
    assert by_text["items"] == list(map(str, both.authz.read("doc:plan").items))
    by_filter = both.ask("authz/read", where={"namespace": "group", "user_relation": ""})
    assert sorted(by_filter["items"]) == TUPLES[2:4]
    status, _ = both.refused("POST", "/v1/authz/read", json={"object": "doc", "where": {}})
    assert status == 400


def test_pages_go_on_where_the_one_before_ended(both: Both) -> None:
    first = both.ask("authz/read", limit=4)
    assert (len(first["items"]), first["complete"]) == (4, False)
    second = both.ask("authz/read", limit=100, cursor=first["cursor"])
    assert second["complete"]
    assert sorted(first["items"] + second["items"]) == sorted(TUPLES)


def test_lists(both: Both) -> None:
    objects = {"namespace": "doc", "relation": "view", "user": "user:bob"}
    assert both.ask("authz/list-objects", **objects)["items"] == ["doc:memo", "doc:plan"]
    unsure = {**objects, "user": "user:dot"}
    subjects = {"object": "doc:plan", "relation": "view", "kind": "user"}
    rights = {"object": "doc:plan", "user": "user:ann"}
    for call, asked, embedded in (
        ("list-objects", objects, both.authz.list_objects),
        ("list-objects", unsure, both.authz.list_objects),
        ("list-subjects", subjects, both.authz.list_subjects),
    ):
        assert both.ask(f"authz/{call}", **asked) == {**plain(embedded(**asked)), "complete": True}
    permissions = both.ask("authz/list-permissions", **rights)["permissions"]
    assert permissions == plain(both.authz.list_permissions(**rights))
    assert [one["name"] for one in permissions] == ["owner", "view"]


def test_graph_types(both: Both) -> None:
    kinds = both.http.get("/v1/graph/types").json()
    assert [kind["name"] for kind in kinds["nodes"]] == ["account", "title"]
    [edge] = kinds["edges"]
    assert edge == {
        "name": "watched",
        "source": "account",
        "target": "title",
        "properties": {"device": "str"},
        "unknown": "refuse",
        "ttl_s": None,
    }


def test_a_node_by_any_id(both: Both) -> None:
    assert both.http.get("/v1/graph/nodes/account/ann").json() == plain(both.graph.node("account", "ann"))
    odd = "".join(f"%{byte:02x}" for byte in ODD_ID.encode())
    assert both.http.get(f"/v1/graph/nodes/title/{odd}").json()["id"] == ODD_ID
    assert both.refused("GET", "/v1/graph/nodes/account/zoe")[0] == 404
    assert both.refused("GET", "/v1/graph/nodes/nothing/zoe")[0] == 400


def test_a_traversal_in_each_form(both: Both) -> None:
    walk = both.graph.start("account", "ann").out("watched").in_("watched", where={"device": "tv"})
    query = msgspec.json.decode(walk.to_json())
    for form, whole in (("nodes", walk.nodes()), ("edges", walk.edges()), ("paths", walk.paths())):
        assert len(whole) == 2
        told = both.ask("graph/traverse", **query, answer=form)
        assert told == {"items": plain(whole.items), "complete": True, "reason": "", "next": None}
    assert both.ask("graph/traverse", **query)["items"] == plain(walk.nodes().items)
    assert both.ask("graph/traverse", **query, answer="count")["count"] == walk.count() == 2


def test_groups_and_what_was_cut(both: Both) -> None:
    everybody = {"type": "account", "steps": [{"step": "hop", "direction": "out", "edge": "watched"}]}
    groups = both.ask("graph/traverse", **everybody, answer="count_by")
    assert groups["items"] == [
        {"key": {"type": "title", "id": "Dune"}, "count": 2},
        {"key": {"type": "title", "id": "Heat"}, "count": 1},
    ]
    cut = both.ask("graph/traverse", **everybody, answer="count_by", top=1)
    here = both.graph.start("account").out("watched").count_by(top=1)
    assert (len(cut["items"]), cut["complete"], cut["reason"]) == (1, False, here.reason)
    ages = both.ask("graph/traverse", type="account", answer="count_by", by="age")
    assert [group["key"] for group in ages["items"]] == [30, 40]
    assert both.refused("POST", "/v1/graph/traverse", json={"type": "account", "by": "age"})[0] == 400


def test_a_step_that_is_none_is_named(both: Both) -> None:
    wrong = {"type": "account", "steps": [{"step": "jump"}]}
    status, body = both.refused("POST", "/v1/graph/traverse", json=wrong)
    assert status == 400
    assert "$.steps[0]" in body["message"]


def test_health_and_metrics(both: Both) -> None:
    def checks() -> float:
        lines = both.http.get("/metrics").text.splitlines()
        name = 'weft_authz_check_seconds_count{outcome="allowed"}'
        return next((float(line.split()[-1]) for line in lines if line.startswith(name)), 0.0)

    assert both.http.get("/healthz").json() == {"status": "ok"}
    before = checks()
    both.ask("authz/check", object="doc:plan", relation="view", user="user:ann")
    assert checks() == before + 1
    metrics = both.http.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "weft_kv_call_seconds_count" in metrics.text
    assert 'weft_authz_mirror_events_total{event="loaded"} 1.0' in metrics.text


def test_openapi_names_every_route_and_no_page_loads_from_elsewhere(both: Both) -> None:
    paths = both.http.get("/openapi.json").json()["paths"]
    calls = ["schema", "write", "check", "check-many", "expand", "explain", "read"]
    calls += ["list-objects", "list-subjects", "list-permissions"]
    graph = ["types", "nodes/{type}/{id}", "traverse", "query", "watch", "push/{job}"]
    assert set(paths) == {
        "/healthz",
        "/metrics",
        *(f"/v1/authz/{call}" for call in calls),
        *(f"/v1/graph/{call}" for call in graph),
    }
    assert both.refused("GET", "/docs")[0] == both.refused("GET", "/redoc")[0] == 404
