"""From a model's URL to the model: formats, addresses, keys."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from typing import Any

import pytest

from weft.agent.models import Message, collect, open_model
from weft.agent.models.opening import OWN_KEY, configured_model
from weft.agent.models.wire.model import HttpModel
from weft.core.errors import Denied, Invalid
from weft.core.settings import load
from weft.testing.model_server import ModelServer, reply

KEYS = {"OPENAI_API_KEY": "open-key", "ANTHROPIC_API_KEY": "anthropic-key"}


OPENAI, ANTHROPIC = "https://api.openai.com/v1", "https://api.anthropic.com/v1"


@pytest.mark.parametrize(
    ("url", "name", "wire", "address", "key"),
    [
        ("openai:gpt-5", "openai:gpt-5", "responses", OPENAI, "open-key"),
        ("chat:gpt-4.1", "openai:gpt-4.1", "chat", OPENAI, "open-key"),
        ("responses:gpt-5?effort=high", "openai:gpt-5", "responses", OPENAI, "open-key"),
        ("anthropic:claude-x", "anthropic:claude-x", "messages", ANTHROPIC, "anthropic-key"),
        ("messages:claude-x", "anthropic:claude-x", "messages", ANTHROPIC, "anthropic-key"),
        ("http://gpu:1/v1#qwen3:8b", "chat:http://gpu:1/v1#qwen3:8b", "chat", "http://gpu:1/v1", None),
        ("chat:http://gpu/v1/#a/b", "chat:http://gpu/v1/#a/b", "chat", "http://gpu/v1", None),
        ("messages:http://[::1]/v1#m", "messages:http://[::1]/v1#m", "messages", "http://[::1]/v1", None),
    ],
)
def test_a_url_names_format_address_and_model(
    url: str, name: str, wire: str, address: str, key: str | None
) -> None:
    model = open_model(url, environ=KEYS)
    assert isinstance(model, HttpModel)
    with closing(model):
        endpoint = model._endpoint
        found = (model.name, model._format.name, endpoint.base_url, endpoint.key)
        assert found == (name, wire, address, key)


@pytest.mark.parametrize(
    ("url", "variable"), [("openai:gpt-5", "OPENAI_API_KEY"), ("anthropic:claude-x", "ANTHROPIC_API_KEY")]
)
def test_a_missing_key_is_told_by_its_variable(url: str, variable: str) -> None:
    with pytest.raises(Denied, match=f"set {variable}"):
        open_model(url, environ={variable: "  "})


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://gpu:8000/v1", "names no model"),
        ("http://gpu:8000/v1#", "names no model"),
        ("http://#m", "no address"),
        ("chat:ftp://h/v1#m", "no address"),
        ("http://h:port/v1#m", "no address"),
        ("http://user:secret@h/v1#m", OWN_KEY),
        ("openai:gpt-5?effort=huge", "is no option"),
        ("openai:gpt-5?verbosity=low", "is no option"),
        ("palm:x", "no model adapter"),
    ],
)
def test_what_is_no_model_is_told(url: str, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        open_model(url, environ=KEYS)
    assert "secret" not in str(caught.value)


def test_a_key_in_the_place_of_a_url_is_not_repeated() -> None:
    with pytest.raises(Invalid) as caught:
        open_model("sk-abcdefghijklmnopqrstuvwxyz")
    assert "abcdefg" not in str(caught.value)


def test_a_key_that_would_break_a_header_is_told_without_it() -> None:
    with pytest.raises(Invalid, match="set OPENAI_API_KEY again") as caught:
        open_model("openai:gpt-5", environ={"OPENAI_API_KEY": "open\nkey"})
    assert "open\nkey" not in str(caught.value)


@pytest.mark.parametrize("wire", ["chat", "responses", "messages"])
def test_only_their_makers_get_the_makers_keys(wire: Any) -> None:
    with ModelServer([reply("a"), reply("b")], format=wire) as server:
        for environ in (KEYS, KEYS | {OWN_KEY: "own-key"}):
            with closing(open_model(server.url, environ=environ)) as model:  # type: ignore[type-var]
                collect(model.stream([Message("user", "go")], []))
    without, having = (request.headers for request in server.requests)
    assert not {"authorization", "x-api-key"} & without.keys()
    assert having["authorization"] == "Bearer own-key"
    assert not any("open-key" in str(h) or "anthropic-key" in str(h) for h in (without, having))


def test_effort_in_the_url_holds_for_every_request() -> None:
    with ModelServer([reply("a")], format="responses") as server:
        url = f"{server.url}?effort=low"
        with closing(open_model(url, environ={})) as model:  # type: ignore[type-var]
            collect(model.stream([Message("user", "go")], []))
    assert server.requests[0].body["reasoning"]["effort"] == "low"


@pytest.mark.parametrize(
    ("asked", "effort", "context_tokens"),
    [("", None, None), ("?context=32000", None, 32_000), ("?effort=low&context=8000", "low", 8_000)],
)
def test_the_url_says_how_long_a_window_may_be(
    asked: str, effort: str | None, context_tokens: int | None
) -> None:
    with closing(open_model(f"http://127.0.0.1:9/v1#m{asked}", environ={})) as model:  # type: ignore[type-var]
        assert model.context_tokens == context_tokens
        assert model.name == "chat:http://127.0.0.1:9/v1#m"
    for wrong in ("context=7999", "context=-1", "context=", "effort", "size=3", ""):
        with pytest.raises(Invalid, match="is no option"):
            open_model(f"http://127.0.0.1:9/v1#m?{wrong}", environ={})


def test_nothing_of_http_is_loaded_before_a_model_is_opened() -> None:
    probe = (
        "import sys, weft.agent; weft.agent.Agent; import weft.agent.models; "
        "print(*{'httpx', 'httpcore', 'anyio', 'asyncio', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_the_settings_hold_model_key_and_hedge() -> None:
    environ = {"WEFT_MODEL_URL": "openai:gpt-5", OWN_KEY: "own-key", "WEFT_AGENT__HEDGE_AFTER_S": "9"}
    model = configured_model(load(environ=environ).agent)
    assert isinstance(model, HttpModel)
    with closing(model):
        assert (model.name, model._endpoint.key) == ("openai:gpt-5", "own-key")
        assert model._patience.hedge_after_s == 9
    assert configured_model(load(environ={}).agent) is None
