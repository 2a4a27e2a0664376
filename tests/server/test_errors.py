"""Whatever goes wrong has one shape: a status from the table and `{"code", "message", "hint"}`."""

import asyncio
from typing import Any

import httpx
import pytest

from weft.authz import Authz
from weft.core.errors import WeftError
from weft.core.limits import MAX_PAGE_ITEMS, MAX_REQUEST_BYTES
from weft.core.telemetry import Telemetry
from weft.graph import Graph
from weft.server.app import build_app
from weft.server.status import STATUS

CHECK = "/v1/authz/check"
QUESTION = {"object": "doc:1", "relation": "view", "user": "user:ann"}


class Failing(Authz):
    """Fails every check."""

    failure: Exception

    def check(self, *_: Any, **__: Any) -> Any:
        raise self.failure


def ask(
    method: str = "POST", path: str = CHECK, failure: Exception | None = None, **request: Any
) -> httpx.Response:
    """One request to an application over empty stores."""

    async def one() -> httpx.Response:
        with Failing.open("memory:") as authz, Graph.open("memory:") as graph:
            if failure:
                authz.failure = failure
            app = build_app(authz if failure else Authz.open("memory:"), graph, Telemetry())
            transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                return await http.request(method, path, **request)

    return asyncio.run(one())


def refused(response: httpx.Response) -> tuple[int, str, str]:
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"code", "message", "hint"}
    return response.status_code, body["code"], body["message"]


@pytest.mark.parametrize("kind", STATUS, ids=lambda kind: kind.__name__)
def test_every_kind_of_error_answers_with_its_row_of_the_table(kind: type[WeftError]) -> None:
    response = ask(json=QUESTION, failure=kind("it is `so`", hint="do this"))
    assert refused(response) == (STATUS[kind].http, kind.code, "it is `so`")
    assert response.json()["hint"] == "do this"
    assert ("www-authenticate" in response.headers) == (response.status_code == 401)


def test_a_failure_that_nobody_foresaw_is_a_bug_and_tells_no_detail() -> None:
    response = ask(json=QUESTION, failure=KeyError("secret"))
    assert refused(response)[:2] == (500, "bug")
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (CHECK, {"object": "doc:1", "relation": "view"}, "user"),
        (CHECK, {**QUESTION, "user": 7}, "user"),
        (CHECK, {**QUESTION, "usr": "user:ann"}, "usr"),
        (CHECK, {**QUESTION, "context": []}, "context"),
        ("/v1/authz/check-many", {"checks": [QUESTION, {**QUESTION, "relation": None}]}, "checks.1.relation"),
        ("/v1/authz/read", {"limit": "5"}, "limit"),
        ("/v1/authz/read", {"limit": MAX_PAGE_ITEMS + 1}, "limit"),
        ("/v1/authz/read", {"where": {"objectid": "1"}}, "where.objectid"),
        ("/v1/authz/expand", {"object": "doc:1", "relation": "view", "depth": -1}, "depth"),
        ("/v1/graph/traverse", {"type": "title", "answer": "all"}, "answer"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_naming_the_field(path: str, body: Any, field: str) -> None:
    status, code, message = refused(ask(path=path, json=body))
    assert (status, code) == (400, "invalid")
    assert message.startswith(f"`{field}`: ")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b"\xff\xfe",
        b'{"object": "\\ud800"}',
        b'{"\\ud800": 1}',
        b"[" * 100_000,
        b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
    ],
    ids=range(9),
)
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    assert refused(ask(content=content, headers={"content-type": "application/json"}))[:2] == (400, "invalid")


def test_only_json_is_read_as_json() -> None:
    """A web page can send text/plain across origins without being asked."""
    body = b'{"text": "definition user {}"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        response = ask("PUT", "/v1/authz/schema", content=body, headers={"content-type": kind})
        assert refused(response)[:2] == (400, "invalid")
    assert ask(
        "PUT", "/v1/authz/schema", content=body, headers={"content-type": "application/json"}
    ).is_success


def test_numbers_that_json_does_not_know_are_refused() -> None:
    head = {"content-type": "application/json"}
    query = b'{"type": "title", "steps": [{"step": "where", "where": {"n": NaN}}]}'
    assert refused(ask(path="/v1/graph/traverse", content=query, headers=head))[0] == 400


def test_a_route_that_is_none_and_a_method_that_it_does_not_take() -> None:
    assert refused(ask("GET", "/v1/nothing"))[:2] == (404, "not_found")
    response = ask("DELETE", "/healthz")
    assert refused(response)[:2] == (405, "invalid")
    assert response.headers["allow"] == "GET"


def test_a_body_over_the_limit_is_refused_announced_or_not() -> None:
    async def in_pieces() -> Any:
        for _ in range(5):
            yield b" " * (MAX_REQUEST_BYTES // 4)

    for content in (b" " * (MAX_REQUEST_BYTES + 1), in_pieces()):
        response = ask(content=content, headers={"content-type": "application/json"})
        assert refused(response)[:2] == (413, "limit_exceeded")
    just_fits = b'{"x": 1' + b" " * (MAX_REQUEST_BYTES - 8) + b"}"
    assert refused(ask(content=just_fits, headers={"content-type": "application/json"}))[0] == 400


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "8.8.8.8:80", "[::2]"])
def test_without_keys_a_request_must_be_addressed_to_loopback(host: str) -> None:
    assert refused(ask("GET", "/v1/graph/types", headers={"host": host}))[:2] == (403, "denied")
    assert ask("GET", "/healthz", headers={"host": host}).is_success


@pytest.mark.parametrize("host", ["localhost:8420", "127.0.0.1", "[::1]:8420", "127.9.9.9:1"])
def test_loopback_has_many_names(host: str) -> None:
    assert ask("GET", "/v1/graph/types", headers={"host": host}).is_success
