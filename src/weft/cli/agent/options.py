"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from weft import kv
from weft.agent.events import SessionStarted
from weft.agent.session import SessionStore
from weft.core.errors import Corrupt, Denied, NotFound
from weft.core.settings import Settings, load

LAST: Final = "last"
"""Names the newest session."""


class Land(StrEnum):
    """What to do with a verified change."""

    ASK = "ask"
    YES = "yes"
    NO = "no"


Data = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The folder that holds agent/ and authz/.", show_default=".weft"),
]
SessionName = Annotated[str, typer.Argument(metavar="SESSION", help="Its id, or `last`.", show_default=False)]
Workspace = Annotated[Path, typer.Argument(help="The repository's root.")]
ModelUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Like openai:gpt-5 or http://HOST/v1#NAME.", show_default="the settings"
    ),
]
Auto = Annotated[bool, typer.Option("--auto", help="Choose among `auto` of the settings.")]
Mcp = Annotated[Path | None, typer.Option(metavar="FILE", help="MCP servers, as JSON with `mcpServers`.")]
Verify = Annotated[
    str | None,
    typer.Option(metavar="CMD", help="What must succeed; '' for nothing.", show_default="the tests"),
]
Landing = Annotated[Land, typer.Option("--land", help="Write a verified change to the workspace.")]
Steps = Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many model replies.")]
Tokens = Annotated[int | None, typer.Option(min=1, metavar="N", help="At most so many tokens.")]
Usd = Annotated[float | None, typer.Option(min=0, metavar="USD", help="At most so much money.")]
TimeS = Annotated[float | None, typer.Option("--time-s", min=0, metavar="S", help="At most so long.")]


def settings_for(data: Path | None, model: str | None = None) -> Settings:
    """The settings with what the flags say."""
    return load(flags={"data": data, "agent": {"model": model}})


@contextmanager
def open_sessions(settings: Settings, *, create: bool = False) -> Iterator[SessionStore]:
    """The sessions of the data folder. Without `create` a folder that is not there is `NotFound`, so that
    looking makes nothing."""
    folder = settings.data / "agent"
    if not create and not folder.is_dir():
        raise NotFound(f"there are no sessions in `{settings.data}`", hint="name the data folder with --data")
    try:
        store = kv.open(folder)
    except OSError as error:
        raise Denied(
            f"cannot write to `{settings.data}`: {error.strerror}", hint="name another data folder"
        ) from error
    with store:
        yield SessionStore(store)


def session_id(store: SessionStore, named: str) -> str:
    """The id that a name stands for."""
    if named != LAST:
        return named
    own = [session for session in store.sessions() if "." not in session]
    if not own:
        raise NotFound("there is no session yet", hint="begin one with `weft agent run`")
    return own[-1]


def started(store: SessionStore, session: str) -> SessionStarted:
    """How a session began."""
    first = store.open(session).events[0]
    if not isinstance(first, SessionStarted):
        raise Corrupt(f"the session `{session}` has no start", hint="start the task anew")
    return first
