"""A model that replays a script, for tests and offline demonstrations; it says so in its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from weft.agent.models.protocol import (
    DEFAULTS,
    CallDelta,
    Delta,
    Message,
    Opaque,
    Options,
    ReasoningDelta,
    Stopped,
    StopReason,
    TextDelta,
    ToolSpec,
    Usage,
)
from weft.core.errors import Invalid, NotFound


class ScriptedCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A call; `arguments` as text are given to the agent as they are, be they JSON or not."""

    tool: str
    arguments: dict[str, Any] | str = {}
    id: str = ""

    def text(self) -> str:
        """The arguments as a model would write them."""
        if isinstance(self.arguments, str):
            return self.arguments
        return msgspec.json.encode(self.arguments).decode()


class ScriptedStep(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One reply. `expect` are texts that what the agent saw since the last reply must contain."""

    expect: str | list[str] = []
    say: str = ""
    reasoning: str = ""
    calls: list[ScriptedCall] = []
    usage: Usage = Usage()
    stop: StopReason | None = None
    opaque: Opaque | None = None


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A trajectory as JSON: `{"name": ..., "steps": [{"expect": ..., "say": ..., "calls": [...]}]}`."""

    steps: list[ScriptedStep]
    name: str = "script"

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Script:
        """The script in a file; `NotFound` or `Invalid` with the reason."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise NotFound(f"the script `{path}` cannot be read: {error.strerror}") from error
        try:
            return msgspec.json.decode(data, type=cls)
        except msgspec.MsgspecError as error:
            raise Invalid(
                f"`{path}` is not a script: {error}", hint="see weft.agent.models.scripted"
            ) from error


class OffScript(Invalid):
    """The session took another course than the script."""

    code = "off_script"


class ScriptedModel:
    """Replays a script: its n-th reply answers a history with n-1 replies, so a resumed session goes on."""

    scripted = True
    context_tokens: int | None = None

    def __init__(self, script: Script) -> None:
        self._script = script

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ScriptedModel:
        """The model of a script file; `NotFound` or `Invalid` with the reason."""
        return cls(Script.load(path))

    @property
    def name(self) -> str:
        return f"scripted:{self._script.name}"

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        number = sum(message.role == "assistant" for message in messages)
        if number >= len(self._script.steps):
            raise OffScript(
                f"the script `{self._script.name}` has ended after {number} replies", hint="add a step to it"
            )
        step = self._script.steps[number]
        self._check(number, step, _seen(messages), {tool.name for tool in tools})
        return self._deltas(number, step)

    def _check(self, number: int, step: ScriptedStep, seen: str, tools: set[str]) -> None:
        for expected in [step.expect] if isinstance(step.expect, str) else step.expect:
            if expected not in seen:
                raise OffScript(
                    f"step {number + 1} of the script `{self._script.name}` expects `{expected}` and the "
                    f"agent saw `{seen[-500:]}`",
                    hint="mend the script, or what it stands on",
                )
        for call in step.calls:
            if call.tool not in tools:
                raise OffScript(
                    f"step {number + 1} of the script `{self._script.name}` calls `{call.tool}`",
                    hint=f"the tools are {', '.join(sorted(tools))}",
                )

    def _deltas(self, number: int, step: ScriptedStep) -> Iterator[Delta]:
        if step.reasoning:
            yield ReasoningDelta(step.reasoning)
        if step.say:
            yield TextDelta(step.say)
        for index, call in enumerate(step.calls):
            yield CallDelta(index, id=call.id or f"call_{number + 1}_{index + 1}", name=call.tool)
            yield CallDelta(index, arguments=call.text())
        if step.opaque:
            yield step.opaque
        yield Stopped(step.stop or ("calls" if step.calls else "done"))
        yield step.usage


def _seen(messages: Sequence[Message]) -> str:
    """What came since the last reply."""
    new: list[str] = []
    for message in reversed(messages):
        if message.role == "assistant":
            break
        new.append(message.content)
    return "\n".join(reversed(new))
