"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from weft.agent.sandbox import Limits, Sandbox, SandboxProvider
from weft.agent.sandbox.named import named
from weft.core.errors import Invalid

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_YEAR_S: Final = 365 * 86_400


def _seconds(given: float) -> float:
    if not 0 < given <= _YEAR_S:
        raise Invalid(f"the timeout `{given:g}` is none", hint="give seconds, more than 0 and at most a year")
    return given


class Provider(StrEnum):
    """The ways to make a sandbox, by their names."""

    NAMESPACES = "namespaces"
    BUBBLEWRAP = "bubblewrap"
    CONTAINER = "container"
    KUBERNETES = "kubernetes"
    UNCONFINED = "unconfined"

    def make(self, image: str | None = None) -> SandboxProvider:
        """The provider of that name."""
        return named(self.value, image=image)


ProviderName = Annotated[Provider, typer.Option("--provider", help="How the sandbox is made.")]
Image = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="What a container or a pod is made of.", show_default="python:3.12-slim"
    ),
]
Workspace = Annotated[Path, typer.Option(metavar="DIR", help="The folder to work on.")]
Memory = Annotated[
    str | None,
    typer.Option(metavar="SIZE", help="Of each process, like 512M or 2G.", show_default="4G"),
]
Timeout = Annotated[float, typer.Option(metavar="S", help="Seconds that it may take.", callback=_seconds)]
Keep = Annotated[bool, typer.Option("--keep", help="Write the changes to the workspace.")]


def open_sandbox(
    provider: Provider, workspace: Path, memory: str | None, image: str | None = None
) -> Sandbox:
    """A fresh sandbox around the workspace."""
    limits = Limits() if memory is None else Limits(memory_bytes=_bytes(memory))
    return Sandbox.open(workspace, provider=provider.make(image), limits=limits)


def _bytes(size: str) -> int:
    found = re.fullmatch(r"([0-9]{1,12})([KMG]?)(?:i?B)?", size, re.IGNORECASE)
    if not found or not int(found[1]):
        raise Invalid(f"`{size}` is no size", hint="give bytes, or a number with K, M or G, like 512M")
    return int(found[1]) * _UNITS[found[2].upper()]
