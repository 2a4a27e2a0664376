"""Commands that are imported when they are run, so that help and completion stay quick."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup


class Entry(NamedTuple):
    """Where a command is, and its line in the list of commands."""

    target: str
    """`module:name` of a function, or of a group of commands."""
    help: str


def lazy_group(entries: Mapping[str, Entry]) -> type[TyperGroup]:
    """A group class for `typer.Typer(cls=…)` that lists the entries and imports the one that is run."""

    class LazyGroup(TyperGroup):
        def __init__(self, **attributes: Any) -> None:
            super().__init__(**attributes)
            for name, entry in entries.items():
                self.add_command(TyperCommand(name, help=entry.help))

        def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
            name, command, rest = super().resolve_command(ctx, args)
            if name is not None and name in entries:
                command = _load(name, entries[name].target)
            return name, command, rest

    return LazyGroup


def _load(name: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(add_completion=False)
        alone.command()(found)
        found = alone
    command = typer.main.get_command(found)
    command.name = name
    return command
