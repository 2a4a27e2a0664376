"""Any model, with what it replies written down as a script that `scripted:` replays."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from weft.agent.models.protocol import (
    DEFAULTS,
    Delta,
    Message,
    Model,
    Options,
    Reply,
    ToolCall,
    ToolSpec,
    collect,
)
from weft.agent.models.scripted import Script, ScriptedCall, ScriptedStep
from weft.agent.secrets import redact_struct
from weft.core.errors import Conflict


def recorded(model: Model, path: str | os.PathLike[str]) -> Model:
    """The model; after each reply the script at `path` has one step more. Secrets are taken out of it.

    The n-th reply of a session is the n-th step: asked again, it is written anew and those after it go.
    """
    return _Recorded(model, Path(path))


class _Recorded:
    def __init__(self, model: Model, path: Path) -> None:
        self._model = model
        self._path = path
        self.name = model.name
        self.scripted = model.scripted
        self.context_tokens = model.context_tokens

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        number = sum(message.role == "assistant" for message in messages)
        before = Script.load(self._path).steps if number else []
        if len(before) < number:
            raise Conflict(
                f"`{self._path}` has {len(before)} replies of a session that has {number}",
                hint="record a session from its beginning",
            )

        def write(reply: Reply) -> None:
            self._write([*before[:number], step_of(reply)])

        return _Recording(self._model.stream(messages, tools, options), write)

    def _write(self, steps: list[ScriptedStep]) -> None:
        script = msgspec.json.format(msgspec.json.encode(Script(steps, self.name)), indent=2)
        unfinished = self._path.with_name(self._path.name + ".new")
        unfinished.write_bytes(script + b"\n")
        unfinished.replace(self._path)


class _Recording:
    """The stream itself, also for whoever closes it from another thread; a reply that is left is not kept."""

    def __init__(self, deltas: Iterator[Delta], write: Callable[[Reply], None]) -> None:
        self._deltas = deltas
        self._write = write
        self._seen: list[Delta] = []
        self._open = True

    def __iter__(self) -> Iterator[Delta]:
        return self

    def __next__(self) -> Delta:
        try:
            delta = next(self._deltas)
        except StopIteration:
            if self._open:
                self._open = False
                self._write(collect(self._seen))
            raise
        self._seen.append(delta)
        return delta

    def close(self) -> None:
        self._open = False
        getattr(self._deltas, "close", lambda: None)()


def step_of(reply: Reply) -> ScriptedStep:
    """The step that replays a reply."""
    kept = redact_struct(reply)
    return ScriptedStep(
        say=kept.text,
        reasoning=kept.reasoning,
        calls=[_scripted(call) for call in kept.calls],
        usage=kept.usage,
        stop=kept.stop,
        opaque=kept.opaque,
    )


def _scripted(call: ToolCall) -> ScriptedCall:
    """As an object where that gives the same text again: scripts are read by people."""
    try:
        made = ScriptedCall(call.name, msgspec.json.decode(call.arguments, type=dict), call.id)
    except msgspec.MsgspecError:
        return ScriptedCall(call.name, call.arguments, call.id)
    return made if made.text() == call.arguments else ScriptedCall(call.name, call.arguments, call.id)
