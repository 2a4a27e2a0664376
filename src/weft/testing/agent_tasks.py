"""Recorded tasks on real source trees: what a workspace is made of, what a model said, what holds at the end.

A task is a TOML file:

    instruction = "..."                          what the person asks for
    [workspace]
    copy = {"colours/spaces.py" = "stdlib:colorsys.py"}    also `package:NAME`; files, or folders of Python
    write = {"test_spaces.py" = "..."}
    seed = [{path = "...", find = "...", put = "..."}]     a bug; `find` is there exactly once
    commits = ["first", "last"]                  a git repository: one commit before the seeds, one after
    [[steps]]                                    the replies, as in a script, in the order of the requests
    [end]
    changed = {"a.py" = [["find", "put"], ...]}  the file is what it was, with these texts replaced
    added = {"b.py" = "..."}                     the whole new file
    gone = ["c.py"]
    moved = {"old.py" = "new.py"}
    outcomes = ["failed", "denied", ...]         of all calls that are no successes, in order
    verified = [false, true]                     each verification
    compactions = 1
    landed = false                               it ended badly: the diff is there, the workspace as it was

Nothing of the trees is kept: they are copied from the running interpreter and its environment.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from weft.agent.models.protocol import (
    DEFAULTS,
    CallDelta,
    Delta,
    Message,
    Options,
    ReasoningDelta,
    Stopped,
    TextDelta,
    ToolSpec,
    Usage,
)
from weft.agent.models.scripted import Script, ScriptedModel, ScriptedStep
from weft.core.errors import Invalid, NotFound
from weft.testing.git import Repository
from weft.testing.model_server import Answer

VERIFY: Final = f"{shlex.quote(sys.executable)} -S -B -m unittest -q"
"""With the workspace and the standard library alone, and no bytecode that could outlive a quick edit."""
_PIECES: Final = (3, 1, 17, 64, 7)
_CHUNKS: Final = (1, 7, 300, 13, 1_024)
_OF_ONE_RUN: Final = (
    *("id", "at_us", "duration_s", "first_delta_s", "timings"),
    *("model", "scripted", "opaque", "cost_usd"),
)
_TIME: Final = re.compile(r"in \d+\.\d+s")


class Seed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: str
    find: str
    put: str


class Made(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the workspace is made of."""

    copy: dict[str, str] = {}
    write: dict[str, str] = {}
    seed: list[Seed] = []
    commits: tuple[str, str] | None = None


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds at the end."""

    verified: list[bool]
    changed: dict[str, list[tuple[str, str]]] = {}
    added: dict[str, str] = {}
    gone: list[str] = []
    moved: dict[str, str] = {}
    outcomes: list[str] = []
    compactions: int = 0
    landed: bool = True


class RecordedTask(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    instruction: str
    workspace: Made
    steps: list[ScriptedStep]
    end: End

    @classmethod
    def load(cls, path: Path) -> Self:
        """The task of a file; its calls get ids, and its replies a usage, where they have none."""
        try:
            task = msgspec.toml.decode(path.read_bytes(), type=cls)
        except msgspec.MsgspecError as error:
            raise Invalid(
                f"`{path}` is not a recorded task: {error}", hint="see weft.testing.agent_tasks"
            ) from error
        return msgspec.structs.replace(task, steps=[_named(*pair) for pair in enumerate(task.steps, 1)])

    def make(self, folder: Path) -> dict[str, bytes]:
        """Make the workspace, and return its files; `Invalid` where a tree lacks what is to be changed."""
        repository = Repository(folder) if self.workspace.commits else None
        folder.mkdir(parents=True, exist_ok=True)
        for target, source in self.workspace.copy.items():
            _copy(found(source), folder / target)
        for name, text in self.workspace.write.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        if repository and self.workspace.commits:
            repository.commit({}, message=self.workspace.commits[0])
        for seed in self.workspace.seed:
            path = folder / seed.path
            path.write_text(_replaced(path.read_text(), seed.find, seed.put, path, once=True))
        if repository and self.workspace.commits:
            repository.commit({}, message=self.workspace.commits[1])
        return contents(folder)

    def expected(self, before: dict[str, bytes]) -> dict[str, bytes]:
        """What the workspace holds once the task is done."""
        after = {self.end.moved.get(name, name): data for name, data in before.items()}
        for name in self.end.gone:
            del after[name]
        for name, replacements in self.end.changed.items():
            text = after[name].decode()
            for find, put in replacements:
                text = _replaced(text, find, put, name, once=False)
            after[name] = text.encode()
        return after | {name: text.encode() for name, text in self.end.added.items()}


class InTurn:
    """The scripted model with one reply for each request, whoever asks and however its history was shortened:
    a sub-agent's replies stand where it asks for them, as a server's answers do."""

    scripted = True
    context_tokens: int | None = None
    name = "scripted:task"

    def __init__(self, steps: Sequence[ScriptedStep]) -> None:
        self._steps = iter(steps)

    def stream(
        self, messages: Sequence[Message], tools: Sequence[ToolSpec], options: Options = DEFAULTS
    ) -> Iterator[Delta]:
        last = max((n for n, message in enumerate(messages, 1) if message.role == "assistant"), default=0)
        step = next(self._steps, None)
        return ScriptedModel(Script([step] if step else [], "task")).stream(messages[last:], tools, options)


def served(step: ScriptedStep) -> Answer:
    """The reply for a `ModelServer`, made in small pieces and sent in others."""
    deltas: list[Delta] = [ReasoningDelta(piece) for piece in _pieces(step.reasoning)]
    deltas += [TextDelta(piece) for piece in _pieces(step.say)]
    for index, call in enumerate(step.calls):
        deltas.append(CallDelta(index, id=call.id, name=call.tool))
        deltas += [CallDelta(index, arguments=piece) for piece in _pieces(call.text())]
    deltas += [Stopped(step.stop or ("calls" if step.calls else "done")), step.usage]
    expect = (step.expect,) if isinstance(step.expect, str) else tuple(step.expect)
    return Answer(deltas=tuple(deltas), expect=expect, chunks=_CHUNKS)


def found(source: str) -> Path:
    """A file or folder of the standard library (`stdlib:`) or of an installed package (`package:`)."""
    kind, _, name = source.partition(":")
    if kind == "stdlib":
        path = Path(sysconfig.get_path("stdlib")) / name
    elif kind == "package":
        spec = importlib.util.find_spec(name)
        path = Path(spec.origin).parent if spec and spec.origin else Path(name)
    else:
        raise Invalid(f"`{source}` names no tree", hint="write `stdlib:NAME` or `package:NAME`")
    if not path.exists():
        raise NotFound(f"`{source}` is not installed", hint="use an interpreter and packages that have it")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    """Every file's bytes by its path, without git's own and caches."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {".git", "__pycache__"} & set(path.relative_to(folder).parts)
    }


def applied(diff: str, before: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """What git makes of the files by a diff: a second opinion on it."""
    for name, data in before.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    subprocess.run(["git", "apply", "-"], cwd=folder, input=diff.encode(), check=True, capture_output=True)
    return contents(folder)


def comparable(event: Any, session: str) -> Any:
    """An event without what differs from one run, or one model, to the next: ids, times, prices, names."""
    left = msgspec.to_builtins(event)
    for field in _OF_ONE_RUN:
        left.pop(field, None)
    if left.get("command") and isinstance(left["command"], dict):
        left["command"].pop("duration_s")
    text = msgspec.json.encode(left).decode().replace(session, "SESSION")
    return msgspec.json.decode(_TIME.sub("in 0.000s", text))


def _named(number: int, step: ScriptedStep) -> ScriptedStep:
    calls = [
        msgspec.structs.replace(call, id=call.id or f"call_{number}_{index}")
        for index, call in enumerate(step.calls, 1)
    ]
    usage = step.usage if step.usage.input else Usage(1_000 * number, 10)
    return msgspec.structs.replace(step, calls=calls, usage=usage)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copyfile(source, target)
        return
    for path in sorted(source.rglob("*.py")):
        into = target / path.relative_to(source)
        into.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, into)


def _replaced(text: str, find: str, put: str, where: object, *, once: bool) -> str:
    count = text.count(find)
    if count == 0 or (once and count > 1):
        raise Invalid(
            f"`{where}` has `{find}` {count} times",
            hint="this version's tree is another; find a text that all versions have",
        )
    return text.replace(find, put)


def _pieces(text: str) -> Iterator[str]:
    at, sizes = 0, cycle(_PIECES)
    while at < len(text):
        size = next(sizes)
        yield text[at : at + size]
        at += size
