"""The tool protocol, and the toolbox that turns a model's call into a checked one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol

import msgspec

from weft.agent.events import CommandUse, FileUse
from weft.agent.models.protocol import ToolCall, ToolSpec
from weft.agent.policy import Access
from weft.agent.sandbox import Denial, Sandbox
from weft.agent.secrets import MARK
from weft.agent.tools.output import Outputs
from weft.core.errors import Invalid


class ToolContext(msgspec.Struct, frozen=True):
    """What a call works with."""

    box: Sandbox
    test_command: str | None
    """How this repository's tests are run."""
    deadline_s: float
    """How long a command may take, at most."""
    may_read: Callable[[str], bool] = lambda path: True
    """Whether the policy lets a file be read: for tools that come upon files they were not asked for."""
    call: str = ""
    """This call's name, unique within the session."""
    outputs: Outputs = msgspec.field(default_factory=Outputs)
    """Where an output that is too long to be shown is kept."""


class Observation(msgspec.Struct, frozen=True):
    """What the model gets to see, and what the call touched."""

    text: str
    ok: bool = True
    files: tuple[FileUse, ...] = ()
    command: CommandUse | None = None
    child: str | None = None
    """The session of a sub-agent that did it, which spent `tokens` and `cost_usd`."""
    tokens: int = 0
    cost_usd: float | None = 0.0
    lacked: tuple[Denial, ...] = ()
    """What a command lacked, where the call could be made again with it."""


class ToolError(Invalid):
    """The call cannot be carried out; the message says what to do instead."""

    code = "tool"


class Tool(Protocol):
    """One thing that a model can do.

    Promises.

    - `arguments` is a struct whose fields carry their descriptions; its JSON schema is what models see.
    - `accesses` names everything that `run` will touch, without touching it; `run` touches nothing else.
    - `run` reaches files and commands through `context.box` only. What goes wrong on account of the call is a
      `WeftError` whose text a model can act on; other errors are bugs.
    - A `read_only` tool changes nothing, so that several may run at the same time.
    - A tool whose schema comes from elsewhere takes a plain dict as its `arguments` and has the schema in an
      attribute `parameters`.
    """

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def read_only(self) -> bool: ...

    @property
    def arguments(self) -> type[Any]:
        """The struct of its arguments; `dict[str, Any]` for a schema from elsewhere."""

    def accesses(self, arguments: Any) -> Sequence[Access]:
        """What this call would touch."""

    def run(self, arguments: Any, context: ToolContext) -> Observation:
        """Do it."""


class Toolbox:
    """The tools of a session, sorted by name so that the prompt's prefix stays the same."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {tool.name: tool for tool in sorted(tools, key=lambda tool: tool.name)}

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as a model sees them."""
        return tuple(ToolSpec(t.name, t.description, _parameters(t)) for t in self._tools.values())

    def is_read_only(self, name: str) -> bool:
        tool = self._tools.get(name)
        return tool is not None and tool.read_only

    def parse(self, call: ToolCall) -> tuple[Tool, Any]:
        """The tool and its arguments; `ToolError` when the call does not fit the schema."""
        tool = self._tools.get(call.name)
        if tool is None:
            raise ToolError(f"there is no tool `{call.name}`", hint=f"use one of {', '.join(self._tools)}")
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=tool.arguments)
        except msgspec.MsgspecError as error:
            fields = ", ".join(_parameters(tool).get("properties", ()))
            raise ToolError(
                f"the arguments of `{call.name}` do not fit: {error}", hint=f"its arguments are {fields}"
            ) from error
        if not tool.read_only and MARK in call.arguments:
            raise ToolError(
                f"the arguments of `{call.name}` hold `{MARK}` or a secret that was removed",
                hint="leave lines with secrets as they are, and edit around them",
            )
        return tool, arguments


def _parameters(tool: Tool) -> dict[str, Any]:
    foreign: dict[str, Any] | None = getattr(tool, "parameters", None)
    return schema(tool.arguments) if foreign is None else foreign


def schema(arguments: type[msgspec.Struct]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, in one piece."""
    (root,), parts = msgspec.json.schema_components([arguments], ref_template="#/$defs/{name}")
    name = root["$ref"].rsplit("/", 1)[-1]
    own = dict(parts.pop(name))
    own.pop("title", None)
    return own | ({"$defs": parts} if parts else {})
