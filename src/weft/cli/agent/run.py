"""`weft agent run` and `resume`: one task, watched from beginning to end."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from weft.agent import Agent, RunResult
from weft.agent.events import Mode
from weft.agent.session import SessionStore
from weft.agent.state import State
from weft.cli.agent.driving import opened, watch
from weft.cli.agent.opening import Wanted, models_of
from weft.cli.agent.options import (
    Auto,
    Data,
    Land,
    Landing,
    Mcp,
    ModelUrl,
    SessionName,
    Steps,
    TimeS,
    Tokens,
    Usd,
    Verify,
    Workspace,
    open_sessions,
    session_id,
    settings_for,
    started,
)
from weft.cli.output import Json
from weft.cli.sandbox.options import Image, Provider, ProviderName
from weft.core.errors import Conflict, Invalid


def run(
    task: Annotated[str, typer.Argument(help="What is to be done.", show_default=False)],
    workspace: Workspace = Path("."),
    model: ModelUrl = None,
    auto: Auto = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only read, and end with a plan.")] = False,
    plan_from: Annotated[
        str | None, typer.Option(metavar="SESSION", help="Act on the plan that a session ended with.")
    ] = None,
    verify: Verify = None,
    land: Landing = Land.ASK,
    steps: Steps = None,
    tokens: Tokens = None,
    usd: Usd = None,
    provider: ProviderName = Provider.NAMESPACES,
    image: Image = None,
    time_s: TimeS = None,
    mcp: Mcp = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Do one task in a copy of the workspace, until it is verified or a budget ends.

    Exit status 0: done and verified; 1: not; 2: an error; 130: interrupted. --json prints its events.

    Example: weft agent run "make the failing test pass" --verify "pytest -q"
    """
    if plan and plan_from:
        raise Invalid("--plan and --plan-from are two ways to begin", hint="give one of them")
    settings = settings_for(data, model)
    wanted = Wanted(
        mcp=mcp,
        provider=provider.value,
        image=image,
        verify=verify,
        steps=steps,
        tokens=tokens,
        usd=usd,
        time_s=time_s,
    )
    mode: Mode = "plan" if plan else "act"
    models = models_of(settings, auto=auto)
    with open_sessions(settings, create=True) as store:
        agreed = _plan_of(store, session_id(store, plan_from)) if plan_from else ""
        there = _somebody_is_there(json)

        def begin(agent: Agent) -> RunResult:
            return agent.run(task, mode=mode, plan=agreed, land=_lands(land, there))

        with opened(workspace, settings, models, wanted, store, land=land, json=json, there=there) as (
            driver,
            screen,
        ):
            code = watch(driver, screen, begin, land)
    raise typer.Exit(code)


def resume(
    session: SessionName,
    message: Annotated[str, typer.Option(metavar="TEXT", help="Something further to say.")] = "",
    model: ModelUrl = None,
    auto: Auto = False,
    land: Landing = Land.ASK,
    steps: Steps = None,
    tokens: Tokens = None,
    usd: Usd = None,
    provider: ProviderName = Provider.NAMESPACES,
    image: Image = None,
    time_s: TimeS = None,
    mcp: Mcp = None,
    data: Data = None,
    json: Json = False,
) -> None:
    """Go on with a session where it stopped, with a further message, or to land what it verified.

    Example: weft agent resume last --land yes
    """
    settings = settings_for(data, model)
    with open_sessions(settings) as store:
        named = session_id(store, session)
        begun = started(store, named)
        workspace, verify = Path(begun.workspace), begun.verify or ""
        models = models_of(settings, auto=auto)
        wanted = Wanted(
            mcp=mcp,
            provider=provider.value,
            image=image,
            verify=verify,
            steps=steps,
            tokens=tokens,
            usd=usd,
            time_s=time_s,
        )
        there = _somebody_is_there(json)

        def go_on(agent: Agent) -> RunResult:
            return agent.resume(named, message=message, land=_lands(land, there))

        with opened(workspace, settings, models, wanted, store, land=land, json=json, there=there) as (
            driver,
            screen,
        ):
            driver.session = named
            code = watch(driver, screen, go_on, land)
    raise typer.Exit(code)


def _somebody_is_there(json: bool) -> bool:
    """Whether a question would be seen, and could be answered."""
    return not json and sys.stdin.isatty() and sys.stdout.isatty()


def _lands(land: Land, there: bool) -> bool:
    """Whether to land what is verified; where nobody can be asked, only on demand."""
    return land is Land.YES or (land is Land.ASK and there)


def _plan_of(store: SessionStore, session: str) -> str:
    """The plan that a session in plan mode ended with."""
    state = State(store.open(session).events)
    if state.started is None or state.started.mode != "plan":
        raise Invalid(f"the session `{session}` made no plan", hint="name one of `weft agent run --plan`")
    if state.ended is None or not state.ended.ok:
        raise Conflict(
            f"the plan of `{session}` is not finished", hint=f"`weft agent resume {session}` first"
        )
    return state.last_text
