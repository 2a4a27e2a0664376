"""From a model's URL to the model.

    scripted:PATH                     replays the script in a JSON file
    openai:MODEL                      OpenAI's responses, with OPENAI_API_KEY
    anthropic:MODEL                   Anthropic's messages, with ANTHROPIC_API_KEY
    http://HOST:PORT/v1#MODEL         chat completions of any server: vLLM, SGLang, Ollama, a gateway
    chat:… responses:… messages:…     the same with the format named, for a MODEL or an address

Behind the model, `?effort=low|medium|high` says how much it thinks, and `?context=32000` how many tokens its
prompts and replies may have; both with `&` between them. Only OpenAI and Anthropic are ever sent
their keys; another server gets WEFT_AGENT__API_KEY, if that is set.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from urllib.parse import urlsplit

from weft.agent.models.protocol import Model, Options
from weft.agent.secrets import redact
from weft.core.errors import Denied, Invalid

if TYPE_CHECKING:
    from weft.agent.models.wire.format import Format
    from weft.agent.models.wire.patience import Patience
    from weft.core.settings import AgentSettings

OWN_KEY: Final = "WEFT_AGENT__API_KEY"
EFFORTS: Final = ("low", "medium", "high")
# The instructions and tools alone take 3,000.
_MIN_CONTEXT_TOKENS: Final = 8_000


class _Maker(NamedTuple):
    """Who made a format, and serves it."""

    name: str
    base_url: str
    key_variable: str


_OPENAI: Final = _Maker("openai", "https://api.openai.com/v1", "OPENAI_API_KEY")
_ANTHROPIC: Final = _Maker("anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY")
_MAKERS: Final = {"chat": _OPENAI, "responses": _OPENAI, "messages": _ANTHROPIC}
_FORMATS: Final = {"openai": "responses", "anthropic": "messages"}
_KNOWN: Final = "`openai:`, `anthropic:`, `http://…#…`, `chat:`, `responses:`, `messages:` and `scripted:`"


def open_model(
    url: str,
    *,
    api_key: str | None = None,
    environ: Mapping[str, str] = os.environ,
    patience: Patience | None = None,
) -> Model:
    """The model that a URL names; `Invalid` for one that is none, `Denied` where a key is missing.

    `api_key` comes before the environment; `patience` holds the limits of a request over HTTP.
    """
    scheme, colon, rest = url.partition(":")
    if scheme in ("http", "https"):
        scheme, rest = "chat", url
    if not colon or not rest:
        raise Invalid(f"`{redact(url)}` is not a model URL", hint=f"write SCHEME:REST with one of {_KNOWN}")
    if scheme == "scripted":
        from weft.agent.models.scripted import ScriptedModel

        return ScriptedModel.load(rest)
    wire = _FORMATS.get(scheme, scheme)
    if wire not in _MAKERS:
        raise Invalid(
            f"no model adapter is registered for `{scheme}:`",
            hint=f"use one of {_KNOWN}, or pass an object with the Model protocol",
            scheme=scheme,
        )
    return _over_http(url, wire, rest, api_key, environ, patience)


def configured_model(settings: AgentSettings) -> Model | None:
    """The model of `[agent]`, with its key and its hedge; None where none is configured."""
    if settings.model is None:
        return None
    from weft.agent.models.wire.patience import Patience

    return open_model(
        settings.model,
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        patience=Patience(hedge_after_s=settings.hedge_after_s),
    )


def _over_http(
    url: str,
    wire: str,
    rest: str,
    api_key: str | None,
    environ: Mapping[str, str],
    patience: Patience | None,
) -> Model:
    from weft.agent.models.wire.endpoint import Endpoint
    from weft.agent.models.wire.model import HttpModel

    rest, options, context_tokens = _options(url, rest)
    maker = _MAKERS[wire]
    official = "://" not in rest
    if official:
        base_url, model, name, variable = maker.base_url, rest, f"{maker.name}:{rest}", maker.key_variable
    else:
        base_url, _, model = rest.partition("#")
        name, variable = f"{wire}:{rest}", OWN_KEY
        _check_address(url, base_url)
    if not model:
        raise Invalid(f"`{url}` names no model", hint="write http://HOST:PORT/v1#MODEL")
    key = (api_key or environ.get(variable, "") or environ.get(OWN_KEY, "")).strip()
    if official and not key:
        raise Denied(f"there is no key for `{name}`", hint=f"set {variable}", variable=variable)
    if not (key.isascii() and key.isprintable()):
        raise Invalid(
            "the key has characters that no key has", hint=f"set {variable} again", variable=variable
        )
    endpoint = Endpoint(base_url, model, name=name, key=key or None, key_variable=variable, official=official)
    return HttpModel(
        endpoint, _format(wire), options=options, context_tokens=context_tokens, patience=patience
    )


def _options(url: str, rest: str) -> tuple[str, Options, int | None]:
    """The model without what stands behind its `?`, and that."""
    rest, mark, asked = rest.partition("?")
    effort, context_tokens = None, None
    for one in asked.split("&") if mark else ():
        match one.split("="):
            case ["effort", value] if value in EFFORTS:
                effort = cast(Any, value)
            case ["context", value] if value.isdecimal() and int(value) >= _MIN_CONTEXT_TOKENS:
                context_tokens = int(value)
            case _:
                hint = f"write ?effort=low, medium or high, or ?context=N of at least {_MIN_CONTEXT_TOKENS:,}"
                raise Invalid(f"`{one}` in `{url}` is no option", hint=hint)
    return rest, Options(effort=effort), context_tokens


def _check_address(url: str, base_url: str) -> None:
    try:
        parts = urlsplit(base_url)
        sound = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
        parts = urlsplit("")
    if not sound:
        raise Invalid(f"`{base_url}` is no address of a server", hint="write http://HOST:PORT/v1#MODEL")
    if parts.username or parts.password:
        raise Invalid("a model URL holds a user or a password", hint=f"give the key in {OWN_KEY} instead")


def _format(wire: str) -> Format:
    from weft.agent.models.wire.chat import ChatFormat
    from weft.agent.models.wire.messages import MessagesFormat
    from weft.agent.models.wire.responses import ResponsesFormat

    made: dict[str, type[Format]] = {
        "chat": ChatFormat,
        "responses": ResponsesFormat,
        "messages": MessagesFormat,
    }
    return made[wire]()
