"""From settings and options to an agent."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

from weft.agent import Agent, Budgets
from weft.agent.events import AnyEvent
from weft.agent.models import Model, configured_model
from weft.agent.models.prices import Prices
from weft.agent.models.protocol import Delta
from weft.agent.routing import Router
from weft.agent.sandbox.named import DEFAULT, named
from weft.agent.session import SessionStore
from weft.cli.agent.asking import Person
from weft.cli.agent.permissions import Permissions
from weft.cli.agent.servers import read_servers
from weft.core.errors import Invalid
from weft.core.settings import Settings

# Who has a key and names no model gets the maker's one for such work.
_BY_KEY: Final = {"ANTHROPIC_API_KEY": "anthropic:claude-sonnet-4-5", "OPENAI_API_KEY": "openai:gpt-5"}
_TABLE: Final = "router.json"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the options of a command ask for; None where they say nothing."""

    mcp: Path | None = None
    provider: str = DEFAULT
    image: str | None = None
    verify: str | None = None
    steps: int | None = None
    tokens: int | None = None
    usd: float | None = None
    time_s: float | None = None

    def budgets(self) -> Budgets:
        asked = {"steps": self.steps, "tokens": self.tokens, "money_usd": self.usd, "time_s": self.time_s}
        given = {name: amount for name, amount in asked.items() if amount is not None}
        return msgspec.structs.replace(Budgets(), **given)

    def verification(self) -> str | Literal["auto"] | None:
        if self.verify is None:
            return "auto"
        return self.verify.strip() or None


class Models(NamedTuple):
    """Who replies, and at what price."""

    model: Model
    router: Router | None
    prices: Prices


def open_agent(
    workspace: Path,
    models: Models,
    wanted: Wanted,
    store: SessionStore,
    allowed: Permissions,
    person: Person,
    *,
    on_event: Callable[[AnyEvent], None],
    on_delta: Callable[[Delta], None] | None,
) -> Agent:
    """The agent that works for this person in a workspace."""

    def happened(event: AnyEvent) -> None:
        allowed.on_event(event)
        on_event(event)

    return Agent.open(
        workspace,
        model=models.model,
        router=models.router,
        prices=models.prices,
        policy=allowed.policy,
        sandbox=named(wanted.provider, image=wanted.image),
        session_store=store,
        mcp=read_servers(wanted.mcp) if wanted.mcp else (),
        on_event=happened,
        on_delta=on_delta,
        approve=person.approve if person.there else None,
        ask_user=person.answer if person.there else None,
        verify=wanted.verification(),
        budgets=wanted.budgets(),
        user=allowed.user,
    )


def models_of(settings: Settings, *, auto: bool) -> Models:
    """The models that settings, keys and `--auto` name; to be had before anything else is opened."""
    prices = Prices(settings.agent.prices)
    if not auto:
        return Models(model_of(settings), None, prices)
    candidates = candidates_of(settings)
    return Models(candidates[-1], _router(candidates, settings, prices), prices)


def model_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Model:
    """The model that is configured, or that there is a key for; `Invalid` names the ways to have one."""
    by_key = (url for variable, url in _BY_KEY.items() if environ.get(variable, "").strip())
    named = settings.agent.model or next(by_key, None)
    if model := configured_model(settings.agent.model_copy(update={"model": named})):
        return model
    raise Invalid(
        "no model is configured",
        hint="name one with --model URL or WEFT_MODEL_URL (a local server is http://HOST:PORT/v1#NAME), set "
        "OPENAI_API_KEY or ANTHROPIC_API_KEY, or write `model` in [agent] of weft.toml",
    )


def candidates_of(settings: Settings) -> list[Model]:
    """The models that Auto chooses among, from the weakest to the strongest."""
    if len(settings.agent.auto) < 2:
        raise Invalid(
            "--auto has no models to choose among",
            hint='write `auto = ["WEAKEST", ..., "STRONGEST"]` in [agent] of weft.toml, as model URLs',
        )
    return [
        model
        for url in settings.agent.auto
        if (model := configured_model(settings.agent.model_copy(update={"model": url})))
    ]


def _router(models: list[Model], settings: Settings, prices: Prices) -> Router:
    from weft.agent.router import AutoRouter, Candidate, Table

    path = settings.data / "agent" / _TABLE
    table = Table.load(path) if path.exists() else None
    candidates = [Candidate(model, getattr(model, "context_tokens", None)) for model in models]
    return AutoRouter(candidates, table=table, prices=prices)
