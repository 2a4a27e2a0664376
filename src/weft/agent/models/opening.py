"""From a model's URL to the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from weft.agent.models.protocol import Model
from weft.core.errors import Invalid


def _scripted(rest: str) -> Model:
    from weft.agent.models.scripted import ScriptedModel

    return ScriptedModel.load(rest)


_SCHEMES: Final[dict[str, Callable[[str], Model]]] = {"scripted": _scripted}


def open_model(url: str) -> Model:
    """The model that a URL names: `scripted:PATH` replays the script in a JSON file."""
    scheme, colon, rest = url.partition(":")
    known = ", ".join(f"`{name}:`" for name in sorted(_SCHEMES))
    if not colon or not rest:
        raise Invalid(f"`{url}` is not a model URL", hint=f"write SCHEME:REST with one of {known}")
    if scheme not in _SCHEMES:
        raise Invalid(
            f"no model adapter is registered for `{scheme}:`",
            hint=f"use one of {known}, or pass an object with the Model protocol",
            scheme=scheme,
        )
    return _SCHEMES[scheme](rest)
