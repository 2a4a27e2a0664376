"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from weft.authz import EXACT, LATEST, Authz
from weft.authz.tuples import parse_context
from weft.authz.zookie import Consistency
from weft.core.errors import Invalid, NotFound

Data = Annotated[
    str | None,
    typer.Option(metavar="DIR_OR_URL", help="The tuple store.", show_default="authz in the data folder"),
]
At = Annotated[str | None, typer.Option(metavar="ZOOKIE", help="At least as fresh as this moment.")]
Exact = Annotated[bool, typer.Option("--exact", help="At that very moment.")]
Latest = Annotated[bool, typer.Option("--latest", help="At the newest moment.")]
Context = Annotated[str | None, typer.Option(metavar="JSON", help="What conditions may ask for.")]
Contextual = Annotated[
    list[str] | None,
    typer.Option("--contextual", metavar="TUPLE", help="As if stored, for this question; repeatable."),
]
ObjectName = Annotated[str, typer.Argument(metavar="OBJECT", help="Like doc:1.", show_default=False)]
RelationName = Annotated[str, typer.Argument(metavar="RELATION", help="Or permission.", show_default=False)]
UserName = Annotated[str, typer.Argument(metavar="USER", help="Like user:ann.", show_default=False)]


def open_authz(data: str | None, *, create: bool = False) -> Authz:
    """The store that `--data` names, else `authz` in the data folder of the settings.

    Without `create` a folder that is not there is `NotFound`, so that no typo makes an empty store.
    """
    if data is None:
        from weft.core.settings import load

        data = str(load().data / "authz")
    if not create and ":" not in data and not Path(data).is_dir():
        raise NotFound(
            f"there is no tuple store in `{data}`",
            hint="name one with --data, or begin one with `weft authz schema write`",
        )
    return Authz.open(data)


def moment(at: str | None, exact: bool, latest: bool) -> Consistency:
    """What `--at`, `--exact` and `--latest` say together."""
    if latest and at is not None:
        raise Invalid("--latest and --at name two moments", hint="give one of them")
    if exact and at is None:
        raise Invalid("--exact says nothing without a zookie", hint="give one with --at")
    if latest:
        return LATEST
    return EXACT(at) if exact and at is not None else at


def circumstances(
    at: str | None, exact: bool, latest: bool, context: str | None, contextual: list[str] | None
) -> dict[str, Any]:
    """The keyword arguments that every question takes."""
    return {
        "at": moment(at, exact, latest),
        "context": None if context is None else _context(context),
        "contextual_tuples": contextual or [],
    }


def _context(text: str) -> dict[str, Any]:
    try:
        return parse_context(text)
    except Invalid as error:
        raise Invalid(f"--context: {error.message}", hint=error.hint) from error
