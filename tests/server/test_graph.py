"""Questions with a reader's eyes, streams, queries and pushes, on a real server beside the library."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from weft.authz import Authz
from weft.graph import Edge, EdgeType, Graph, Node, NodeType
from weft.integrations.visibility import AuthzVisibility

from .conftest import served

SCHEMA = "definition user {} definition title { relation viewer: user }"
TYPES = [
    NodeType("account", properties={"age": int, "raw": bytes}),
    NodeType("title"),
    EdgeType("watched", "account", "title", properties={"device": str}),
]
JOBS = """
from weft.graph import Edge, Node, RelationWrite, job

@job
def plays(event):
    play = event.value
    yield Edge("watched", play["account"], play["title"], {"device": play.get("device")})

@job
def rights(event):
    yield RelationWrite(f"title:{event.value['title']}#viewer@user:{event.value['account']}")
"""
LINES = {"accept": "application/x-ndjson"}
OUT = {"step": "hop", "direction": "out", "edge": "watched"}
IN = {"step": "hop", "direction": "in", "edge": "watched"}


class Both(NamedTuple):
    """One data folder: served, and open here."""

    http: httpx.Client
    authz: Authz
    graph: Graph

    def ask(self, call: str, **body: Any) -> Any:
        response = self.http.post(f"/v1/graph/{call}", json=body)
        assert response.status_code == 200, response.text
        return response.json()

    def refused(self, call: str, **request: Any) -> tuple[int, str, str]:
        response = self.http.post(f"/v1/graph/{call}", **request)
        body = response.json()
        assert set(body) == {"code", "message", "hint"}
        return response.status_code, body["code"], body["message"]

    def lines(self, call: str, **body: Any) -> tuple[list[Any], dict[str, Any]]:
        with self.http.stream("POST", f"/v1/graph/{call}", json=body, headers=LINES) as response:
            assert response.headers["content-type"].startswith("application/x-ndjson")
            *items, end = [msgspec.json.decode(line) for line in response.iter_lines()]
        assert all(set(item) == {"item"} for item in items)
        return [item["item"] for item in items], end


@pytest.fixture(scope="module")
def both(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    data: Path = tmp_path_factory.mktemp("data")
    (data / "jobs.py").write_text(JOBS)
    with Authz.open(str(data / "authz")) as authz, Graph.open(data / "graph", TYPES) as graph:
        authz.write_schema(SCHEMA)
        authz.write(touch=["title:Dune#viewer@user:ann", "title:Heat#viewer@user:ann"])
        graph.put(
            [Node("account", "ann", {"age": 30, "raw": b"\xff"}), Node("account", "bob", {"age": 40})],
            [
                Edge("watched", "ann", "Dune", {"device": "tv"}),
                Edge("watched", "bob", "Secret", {"device": "tv"}),
                Edge("watched", "bob", "Dune", {"device": "phone"}),
                Edge("watched", "cid", "Secret", {"device": "tv"}),
            ],
        )
        yield Both(serve("--data", data, "--jobs", data / "jobs.py", "--time", "at").http, authz, graph)


def seen_by(subject: str, **more: Any) -> dict[str, Any]:
    return {"subject": subject, "permissions": {"title": "viewer"}, "public": ["account"], **more}


def test_a_stream_has_the_items_of_the_answer_and_then_the_rest_of_it(both: Both) -> None:
    for answer in ("nodes", "edges", "paths", "count_by"):
        asked = {"type": "account", "steps": [OUT, IN], "answer": answer}
        items, end = both.lines("traverse", **asked)
        assert {"items": items, **end} == both.ask("traverse", **asked)
        assert len(items) >= 3
    items, end = both.lines("traverse", type="account", steps=[{"step": "limit", "limit": 1}])
    assert (len(items), end) == (1, {"complete": False, "reason": "step 1 keeps 1 nodes", "next": None})
    asked = {"text": "MATCH (a:account)-[w:watched]->(t) RETURN a, w, t.id ORDER BY a.id, t.id"}
    items, end = both.lines("query", **asked)
    assert {"items": items, **end} == both.ask("query", **asked)


def test_many_lines_are_one_for_each_item(both: Both) -> None:
    both.graph.put([Node("title", f"many{at}") for at in range(1_234)])
    items, end = both.lines("traverse", type="title")
    assert end["complete"]
    assert [item["id"] for item in items] == [node.id for node in both.graph.start("title").nodes()]
    assert len(items) >= 1_234


@pytest.mark.parametrize("answer", ["nodes", "edges", "paths"])
@pytest.mark.parametrize("eyes", [{}, {"seen_by": seen_by("user:ann")}], ids=["all", "ann"])
def test_pages_are_the_whole_answer_in_pieces(both: Both, answer: str, eyes: dict[str, Any]) -> None:
    asked = {"type": "account", "steps": [OUT, IN], "answer": answer, **eyes}
    whole, pages, after = both.ask("traverse", **asked), [], None
    while pages == [] or after is not None:
        items, end = both.lines("traverse", **asked, page=2, after=after)
        assert 1 <= len(items) <= 2
        pages += items
        after = end["next"]
        assert end["complete"] == (after is None)
    assert pages == whole["items"]
    assert len(pages) >= 2
    other = both.refused("traverse", json={**asked, "steps": [], "page": 2, "after": _token(both, asked)})
    assert other[0] == 400


def _token(both: Both, asked: dict[str, Any]) -> Any:
    return both.ask("traverse", **asked, page=1)["next"]


def test_a_summary_a_plan_and_a_profile(both: Both) -> None:
    everybody = {"type": "account", "ids": ["ann", "bob"]}
    ages = both.ask("traverse", **everybody, answer="summary", by="age")
    assert ages == {"count": 2, "min": 30, "max": 40, "sum": 70, "avg": 35.0, "complete": True, "reason": ""}
    devices = {**everybody, "steps": [OUT], "answer": "summary", "by": "device", "of": "edges"}
    assert both.ask("traverse", **devices)["max"] == "tv"
    plan = both.ask("traverse", **everybody, steps=[OUT], answer="explain")["steps"]
    assert [step["reads"] for step in plan][1] == ["out/watched"]
    done = both.ask("traverse", **everybody, steps=[OUT], answer="profile")
    assert (done["complete"], len(done["steps"])) == (True, len(plan))
    assert done["steps"][1]["items"] >= 3


def test_a_walk_in_no_time_says_so(both: Both) -> None:
    walk = {"type": "account", "steps": [OUT, IN], "within_s": 1e-9}
    told = both.ask("traverse", **walk)
    assert (told["complete"], "s were over" in told["reason"]) == (False, True)
    assert both.refused("traverse", json={**walk, "as_of_us": 1})[0] == 400


def test_a_refusal_is_no_stream(both: Both) -> None:
    assert both.refused("traverse", json={"type": "none"}, headers=LINES)[:2] == (400, "invalid")
    for accept in ("*/*", "application/json", "text/html, application/json;q=0.9"):
        plain = both.http.post("/v1/graph/traverse", json={"type": "account"}, headers={"accept": accept})
        assert plain.headers["content-type"] == "application/json"
    mixed = {"accept": "application/json;q=0.5, Application/X-NDJSON; q=1"}
    lines = both.http.post("/v1/graph/traverse", json={"type": "account"}, headers=mixed)
    assert lines.headers["content-type"].startswith("application/x-ndjson")


def test_a_query_answers_rows_with_all_their_values(both: Both) -> None:
    told = both.ask(
        "query",
        text="MATCH (a:account {id: $id})-[w:watched]->(t) RETURN a, w, a.raw AS raw, t.id AS title",
        parameters={"id": "ann"},
    )
    assert told["columns"] == ["a", "w", "raw", "title"]
    [row] = told["items"]
    assert (row["raw"], row["title"], row["a"]["properties"]["age"]) == ("/w==", "Dune", 30)
    assert row["w"]["properties"] == {"device": "tv"}
    assert (told["complete"], "zookie" in told) == (True, False)
    status, code, message = both.refused("query", json={"text": "MATCH (a:acount) RETURN a"})
    assert (status, code) == (400, "invalid")
    assert message.startswith("line 1, column 10: ")
    assert both.refused("query", json={"text": "MATCH (a:account) SET a.age = 1 RETURN a"})[0] == 400


def test_a_reader_gets_what_the_library_shows_them_at_one_zookie(both: Both) -> None:
    for subject in ("user:ann", "user:eve"):
        for at in ({}, {"at": both.authz.write(touch=["title:Other#viewer@user:ann"])}):
            eyes = AuthzVisibility(both.authz, subject, {"title": "viewer"}, public=["account"])
            walk = both.graph.start("account", visibility=eyes).out("watched").in_("watched")
            query = msgspec.json.decode(walk.to_json())
            told = both.ask("traverse", **query, seen_by=seen_by(subject, **at))
            assert [item["id"] for item in told["items"]] == [node.id for node in walk.nodes()]
            assert both.authz.check("title:Dune", "viewer", "user:ann", at=told["zookie"])
            count = both.ask("traverse", **query, answer="count", seen_by=seen_by(subject))
            assert count["count"] == walk.count()


def test_what_is_hidden_is_not_returned_not_walked_through_and_not_counted(both: Both) -> None:
    hidden = {"type": "account", "ids": ["cid"], "steps": [OUT, IN]}
    assert both.ask("traverse", **hidden, answer="count")["count"] == 2
    unseen = {**hidden, "seen_by": seen_by("user:ann")}
    assert both.ask("traverse", **unseen, answer="count")["count"] == 0
    assert both.ask("traverse", **unseen, answer="paths")["items"] == []
    text = "MATCH (a:account)-[:watched]->(t:title) RETURN t.id AS t, count(*) AS n ORDER BY t"
    everything = both.ask("query", text=text)["items"]
    assert [row["t"] for row in everything] == ["Dune", "Secret"]
    told = both.ask("query", text=text, seen_by=seen_by("user:ann"))
    assert told["items"] == [{"t": "Dune", "n": 2}]
    assert told["zookie"]
    items, end = both.lines("query", text=text, seen_by=seen_by("user:eve"))
    assert (items, set(end)) == ([], {"columns", "complete", "reason", "zookie"})
    unnamed = {"subject": "user:ann", "permissions": {"title": "viewer"}}
    assert both.ask("traverse", type="account", seen_by=unnamed)["items"] == []


def test_a_revocation_counts_from_its_zookie_on(both: Both) -> None:
    walk = {"type": "account", "ids": ["ann"], "steps": [OUT], "answer": "count"}
    both.authz.write(touch=["title:Dune#viewer@user:fay"])
    assert both.ask("traverse", **walk, seen_by=seen_by("user:fay"))["count"] == 1
    revoked = both.authz.write(delete=["title:Dune#viewer@user:fay"])
    assert both.ask("traverse", **walk, seen_by=seen_by("user:fay", at=revoked))["count"] == 0


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"seen_by": {"subject": "user:ann"}}, "`seen_by.permissions`"),
        ({"seen_by": seen_by("user:ann", where=1)}, "`seen_by.where`"),
        ({"seen_by": seen_by("nobody")}, "nobody"),
        ({"seen_by": seen_by("user:ann", at="AAAA")}, "zookie"),
        ({"seen_by": seen_by("user:ann") | {"permissions": {"title": "none"}}}, "`none`"),
        ({"answer": "count", "by": "age"}, "`by`"),
        ({"answer": "count_by", "page": 1}, "`page`"),
        ({"answer": "summary"}, "`summary`"),
        ({"answer": "profile", "seen_by": seen_by("user:ann")}, "a profile counts what is hidden"),
        ({"after": "AAAA"}, "after"),
        ({"within_s": 0}, "`within_s`"),
    ],
)
def test_a_reader_that_does_not_fit_is_refused(both: Both, body: Any, named: str) -> None:
    status, _, message = both.refused("traverse", json={"type": "title", **body})
    assert (status, named in message) == (404 if named == "`none`" else 400, True), message


def test_pushed_events_are_in_the_graph_when_they_are_acknowledged(both: Both) -> None:
    def titles(account: str) -> list[str]:
        return [node.id for node in both.graph.start("account", account).out("watched").nodes()]

    one = {"at": "2026-01-01T10:00:00Z", "account": "gus", "title": "Up"}
    assert both.ask("push/plays", **one) == {"events": 1}
    assert titles("gus") == ["Up"]
    many = [{**one, "title": title} for title in ("It", "Up", "M")]
    assert both.http.post("/v1/graph/push/plays", json=many).json() == {"events": 3}
    assert titles("gus") == ["It", "M", "Up"]
    body = b"\n".join(msgspec.json.encode({**one, "title": title}) for title in ("A", "B")) + b"\nnot json\n"
    head = {"content-type": "application/x-ndjson; charset=utf-8"}
    assert both.http.post("/v1/graph/push/plays", content=body, headers=head).json() == {"events": 3}
    assert titles("gus") == ["A", "B", "It", "M", "Up"]
    [letter] = both.graph.dead_letters("plays")
    assert (letter.value, letter.reason.startswith("not JSON")) == ('"not json"', True)


def test_pushes_at_once_are_all_acknowledged(both: Both) -> None:
    def push(at: int) -> None:
        events = [{"at": at * 100 + n, "account": "many", "title": f"t{at}-{n}"} for n in range(20)]
        told.append(both.http.post("/v1/graph/push/plays", json=events).json())

    told: list[Any] = []
    threads = [threading.Thread(target=push, args=(at,)) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [{"events": 20}] * 8
    assert both.graph.start("account", "many").out("watched").count() == 160


def test_a_pushed_event_may_grant_what_the_next_question_shows(both: Both) -> None:
    asked = {"type": "title", "ids": ["Secret"], "answer": "count", "seen_by": seen_by("user:hal")}
    both.graph.put([Node("title", "Secret")])
    assert both.ask("traverse", **asked)["count"] == 0
    both.ask("push/rights", at=1, account="hal", title="Secret")
    assert both.ask("traverse", **asked)["count"] == 1


def test_a_push_that_cannot_be_taken_is_refused(both: Both) -> None:
    assert both.refused("push/none", json={})[:2] == (404, "not_found")
    head = {"content-type": "application/json"}
    assert both.refused("push/plays", content=b"{", headers=head)[:2] == (400, "invalid")
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        told = both.refused("push/plays", content=b"{}", headers={"content-type": kind})
        assert told == (400, "invalid", "events are sent as JSON")


def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path) -> None:
    (tmp_path / "jobs.py").write_text(JOBS)
    with Graph.open(tmp_path / "graph", TYPES):
        pass
    command = ["-m", "weft", "serve", "--port", "0", "--data", str(tmp_path), "--jobs"]
    command.append(str(tmp_path / "jobs.py"))
    for round_, number in enumerate((signal.SIGKILL, signal.SIGTERM)):
        with served(command, {}) as (process, http):
            event = {"account": "ann", "title": f"t{round_}"}
            assert http.post("/v1/graph/push/plays", json=event).json() == {"events": 1}
            process.send_signal(number)
            assert process.wait(timeout=10) == (0 if number == signal.SIGTERM else -number)
        with Graph.open(tmp_path / "graph") as graph:
            assert graph.start("account", "ann").out("watched").count() == round_ + 1


def test_openapi_says_what_comes(both: Both) -> None:
    document = both.http.get("/openapi.json").json()
    for path in ("traverse", "query", "push/{job}"):
        operation = document["paths"][f"/v1/graph/{path}"]["post"]
        assert "application/json" in operation["requestBody"]["content"]
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert operation["responses"]["4XX"]["content"]["application/json"]["schema"]["$ref"].endswith(
            "Refused"
        )
    streamed = document["paths"]["/v1/graph/query"]["post"]["responses"]["200"]["content"]
    assert "application/x-ndjson" in streamed
    assert {"NodeShape", "EdgeShape", "PathShape", "SeenBy"} <= set(document["components"]["schemas"])
