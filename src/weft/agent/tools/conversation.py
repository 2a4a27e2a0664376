"""Tools that touch nothing: todo keeps the plan in view, ask_user asks the person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from weft.agent.policy import Access
from weft.agent.tools.protocol import Observation, ToolContext, ToolError

AskUser = Callable[[str, tuple[str, ...]], str | None]
"""Puts a question with its suggested answers to the person; None where they do not answer."""

_MARKS: Final = {"pending": "[ ]", "doing": "[>]", "done": "[x]"}
_MAX_ITEMS: Final = 50
_NOBODY: Final = "[nobody answers; decide by yourself, and say in the end what you assumed]"


class TodoItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: Annotated[str, Meta(min_length=1, max_length=500)]
    status: Literal["pending", "doing", "done"] = "pending"


class TodoArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    items: Annotated[list[TodoItem], Meta(max_length=_MAX_ITEMS, description="the whole list, every time")]


class Todo:
    """The list lives in the call's arguments, which the session's events keep; the last call is the plan."""

    name = "todo"
    description = "Write down the plan of a longer task, and later what is done of it."
    read_only = True
    arguments = TodoArguments

    def accesses(self, arguments: TodoArguments) -> list[Access]:
        return []

    def run(self, arguments: TodoArguments, context: ToolContext) -> Observation:
        if sum(item.status == "doing" for item in arguments.items) > 1:
            raise ToolError("more than one item is `doing`", hint="do one after the other")
        return Observation("\n".join(f"{_MARKS[i.status]} {i.text}" for i in arguments.items) or "[no plan]")


class AskUserArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    question: Annotated[str, Meta(min_length=1, max_length=2_000)]
    options: Annotated[list[str], Meta(max_length=10, description="suggested answers")] = []


class AskUserTool:
    name = "ask_user"
    description = "Ask the person what only they can decide. Look for the answer yourself first."
    read_only = True
    arguments = AskUserArguments

    def __init__(self, ask: AskUser | None = None) -> None:
        self._ask = ask

    def accesses(self, arguments: AskUserArguments) -> list[Access]:
        return []

    def run(self, arguments: AskUserArguments, context: ToolContext) -> Observation:
        answer = self._ask(arguments.question, tuple(arguments.options)) if self._ask else None
        if answer is None:
            return Observation(_NOBODY, ok=False)
        return Observation(context.outputs.shown(answer))
