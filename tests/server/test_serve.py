"""`weft serve` as a process: who is let in, where it listens, and how it stops."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from weft.authz import Authz
from weft.cli.main import app, main
from weft.core.errors import Invalid, MissingExtra, Unavailable
from weft.core.limits import MAX_REQUEST_BYTES
from weft.core.settings import load
from weft.graph import Graph, Node, NodeType
from weft.server import serve as serving

from .conftest import served

KEYS = ("first-key", "second-key=")
"""Made up for these tests."""

SLOW = """
import socket, time
from fastapi import FastAPI
from weft.server.serve import run
app = FastAPI()
@app.get("/blocked")
def blocked():
    print("asked", flush=True)
    time.sleep(60)
@app.get("/slow")
def slow():
    print("asked", flush=True)
    time.sleep(0.3)
run(app, socket.create_server(("127.0.0.1", 0)))
"""


def told(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status of the command in this process."""
    monkeypatch.setattr(sys, "argv", ["weft", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_keys_let_in_and_nothing_else_does(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    http = serve("--data", tmp_path_factory.mktemp("keyed"), WEFT_SERVER__KEYS=",".join(KEYS)).http
    assert http.get("/healthz").is_success
    for key in KEYS:
        assert http.get("/v1/graph/types", headers={"authorization": f"Bearer {key}"}).is_success
        named = {"authorization": f"bearer {key}", "host": "weft.example"}
        assert http.get("/v1/graph/types", headers=named).is_success
    for given in (
        "",
        "Bearer",
        "Bearer first-ke",
        "Bearer first-keys",
        "Basic first-key",
        "first-key",
    ):
        for path in ("/v1/graph/types", "/metrics", "/openapi.json", "/v1/nothing"):
            refused = http.get(path, headers={"authorization": given})
            assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
            assert refused.headers["www-authenticate"] == "Bearer"
    odd = http.get("/metrics", headers={b"authorization": b"Bearer \xff\xfe"})
    assert odd.status_code == 401


@pytest.mark.parametrize("keys", ["", "good,", "two words", "schlüssel", " led"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(keys: str, tmp_path: Path) -> None:
    settings = load(environ={"WEFT_SERVER__KEYS": keys}, flags={"data": tmp_path})
    with pytest.raises(Invalid, match=r"`server\.keys`") as refused:
        serving.serve(settings)
    assert keys.strip() == "" or keys not in str(refused.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "weft.example", ""])
def test_beyond_loopback_it_asks_for_keys_and_opens_nothing(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert told(monkeypatch, "serve", "--host", host, "--data", str(tmp_path / "data")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "server.host" in line
    assert "WEFT_SERVER__KEYS" in line
    assert not (tmp_path / "data").exists()


def test_a_port_in_use_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert told(monkeypatch, "serve", "--port", str(port), "--data", str(tmp_path / "data")) != 0
    [line] = capsys.readouterr().err.splitlines()
    assert f"`127.0.0.1:{port}`: address already in use" in line
    assert "--port" in line
    assert not (tmp_path / "data").exists()


def test_two_servers_never_share_a_port(serve: Any, tmp_path: Path) -> None:
    first = serve("--data", tmp_path)
    settings = load(environ={}, flags={"data": tmp_path, "server": {"port": first.http.base_url.port}})
    with pytest.raises(Unavailable):
        serving.serve(settings)


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    settings = load(environ={}, flags={"data": tmp_path / "data", "server": {"port": 0}})
    with pytest.raises(Invalid, match="is a file"):
        serving.serve(settings)


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert told(monkeypatch, "serve", "--data", str(tmp_path)) == 2
    assert capsys.readouterr().err.splitlines() == [f"weft: {MissingExtra('uvicorn', 'server')}"]


def test_the_command_line_stays_light() -> None:
    probe = "import sys, weft.cli.main; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert not {"fastapi", "starlette", "uvicorn"} & set(done.stdout.split())
    assert "--port" in CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"}).stdout


def test_who_sends_too_much_hears_so(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    http = serve("--data", tmp_path_factory.mktemp("oversize")).http
    for _ in range(2):
        refused = http.post("/v1/authz/check", content=b" " * (6 * MAX_REQUEST_BYTES))
        assert (refused.status_code, refused.json()["code"]) == (413, "limit_exceeded")
        assert http.get("/healthz").is_success


def test_two_servers_over_one_data_folder_agree(serve: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("shared")
    with Graph.open(data / "graph", [NodeType("title")]) as graph:
        graph.put([Node("title", "Dune")])
    one, other = serve("--data", data).http, serve("--data", data).http
    schema = {"text": "definition user {} definition doc { relation reader: user }"}
    one.put("/v1/authz/schema", json=schema).raise_for_status()
    for number, (writer, reader) in enumerate([(one, other), (other, one)]):
        tuple_ = {"object": f"doc:{number}", "relation": "reader", "user": "user:ann"}
        written = writer.post("/v1/authz/write", json={"create": [f"doc:{number}#reader@user:ann"]}).json()
        asked = reader.post("/v1/authz/check", json={**tuple_, "at": written["zookie"]})
        assert asked.json()["allowed"] is True
        assert reader.get("/v1/graph/nodes/title/Dune").is_success


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_two_seconds_and_keeps_what_it_acknowledged(number: int, tmp_path: Path) -> None:
    with served(["-m", "weft", "serve", "--port", "0", "--data", str(tmp_path)], {}) as (process, http):
        http.put("/v1/authz/schema", json={"text": "definition user {}"}).raise_for_status()
        began_s = time.monotonic()
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
        assert time.monotonic() - began_s < 2
        assert (process.returncode, out, err) == (0, "", "")
        with pytest.raises(httpx.TransportError):
            http.get("/healthz")
    with Authz.open(str(tmp_path / "authz")) as authz:
        assert authz.read_schema().text == "definition user {}"


@pytest.mark.parametrize(("path", "status"), [("/slow", 0), ("/blocked", 2)])
def test_a_request_under_way_is_answered_unless_it_takes_too_long(path: str, status: int) -> None:
    with served(["-c", SLOW], {}) as (process, http):
        assert process.stdout is not None
        with socket.create_connection((http.base_url.host, http.base_url.port), timeout=10) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n".encode())
            assert process.stdout.readline() == "asked\n"
            began_s = time.monotonic()
            os.kill(process.pid, signal.SIGTERM)
            _, err = process.communicate(timeout=10)
            assert time.monotonic() - began_s < 2
            assert client.recv(1_000).startswith(b"HTTP/1.1 200") == (status == 0)
        assert process.returncode == status
        assert ("stopped before every request was answered" in err) == (status == 2)


def test_the_second_part_of_an_answer_does_not_wait_for_the_first_to_be_acknowledged() -> None:
    settings = load(environ={}, flags={"server": {"port": 0}})
    with (
        serving.listen(settings.server) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as connection,
    ):
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
