"""What a session knows at a point, gathered from its events: what must not get lost when its window shrinks.

Everything is made from all events and never from an earlier summary, so that nothing fades when a window is
compacted again and again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from weft.agent.events import (
    AnyEvent,
    Decided,
    LoopFound,
    ModelReplied,
    PersonSaid,
    RulesRead,
    SessionStarted,
    ToolFinished,
    Undone,
    Verified,
)
from weft.agent.tools.reports import parse

# As `tools.reports.summarise` writes a failure: `- test (place): message`.
_FAILURE: Final = re.compile(r"^- (\S.*?)(?: \(([^()\s]+:\d+)\))?(?:: (.*))?$")
_ERROR: Final = re.compile(
    r"\b(?:[a-z_]\w{0,80}\.){0,8}[A-Z]\w{0,80}(?:Error|Exception|Warning|Fault|Interrupt)\b(?::[^\n]*)?"
)
_FRAME: Final = re.compile(
    r'(?:File "([^"\n]+)", line (\d+)|^[ \t]*(?:at )?([\w./\\-]{1,400}\.\w+):(\d+))', re.MULTILINE
)
_LIBRARY: Final = re.compile(r"(?:^|/)(?:usr|lib|site-packages|node_modules|\.cargo|\.venv)/|^<")
_DECISION_CHARS: Final = 400
_REFUSED_CHARS: Final = 300
_FRAMES_PER_RUN: Final = 12


class Failing(msgspec.Struct, frozen=True):
    """A test that failed when it was last run."""

    test: str
    place: str
    message: str


class Run(msgspec.Struct, frozen=True):
    """The last time that one command ran, or one verification."""

    step: int
    command: str
    ok: bool
    exit_code: int
    output: str
    failing: tuple[Failing, ...]
    errors: tuple[str, ...]
    """Types of errors, and what they say."""
    frames: tuple[str, ...]
    """Places in the repository that tracebacks name, the innermost last."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Each in the order in which it happened."""

    said: tuple[str, ...]
    """What the person said after the task."""
    rules: tuple[str, ...]
    """Of the repository, by folder."""
    todo: str
    """The plan as last written down."""
    runs: tuple[Run, ...]
    open_edits: tuple[str, ...]
    """Files that differ from the workspace, or whose last edit failed, with the step and how."""
    decisions: tuple[str, ...]
    """What the model said beside its calls."""
    dead_ends: tuple[str, ...]
    read: tuple[str, ...]
    verified: str
    """How the last verification ended, if there was one."""


def facts(events: Iterable[AnyEvent]) -> Facts:
    """What the events tell."""
    gathered = _Gathered()
    for event in events:
        gathered.take(event)
    return gathered.facts()


class _Gathered:
    def __init__(self) -> None:
        self._said: list[str] = []
        self._rules: list[str] = []
        self._todo = ""
        self._runs: dict[str, Run] = {}
        self._edits: dict[str, str] = {}
        self._changed: set[str] = set()
        self._decisions: list[str] = []
        self._dead_ends: list[str] = []
        self._read: dict[str, None] = {}
        self._verified = ""

    def take(self, event: AnyEvent) -> None:
        match event:
            case PersonSaid(text=text):
                self._said.append(text)
            case RulesRead():
                self._rules.append(f"{event.path}:\n{event.text}")
            case ModelReplied(text=text, step=step) if text.strip():
                self._decisions.append(f"step {step}: {_one_line(text, _DECISION_CHARS)}")
            case ToolFinished():
                self._finished(event)
            case Verified():
                self._changed = {file.path for file in event.saved}
                self._ran(_run(event.step, event.command, event.ok, event.exit_code, event.output))
                self._verified = (
                    f"`{event.command}` {'passed' if event.ok else 'failed'} at step {event.step}"
                )
            case Decided(effect="deny"):
                access = event.access
                what = f"{event.tool or 'the session'}: {access.action} {access.resource.name}"
                self._dead_ends.append(f"step {event.step}: {what} was denied: {event.reason}")
            case LoopFound(step=step, tools=tools):
                self._dead_ends.append(f"step {step}: went in circles with {' and '.join(tools)}")
            case Undone(to_step=step):
                self._changed = {file.path for file in event.saved}
                self._dead_ends.append(f"the person took back what was changed after step {step}")
            case SessionStarted():
                pass
            case _:
                pass

    def _finished(self, event: ToolFinished) -> None:
        if event.saved is not None:
            self._changed = {file.path for file in event.saved}
        for use in event.files:
            if use.how == "read":
                self._read[use.path] = None
            else:
                self._edits[use.path] = f"{use.path}: {use.how} by {event.tool} at step {event.step}"
        if event.tool == "todo" and event.outcome == "ok":
            self._todo = event.output
        if event.command is not None:
            command = event.command
            ok = command.exit_code == 0 and not command.timed_out
            self._ran(_run(event.step, command.command, ok, command.exit_code, event.output))
        elif event.outcome in ("failed", "invalid"):
            said = _one_line(event.output, _REFUSED_CHARS)
            self._dead_ends.append(f"step {event.step}: {event.tool} failed: {said}")

    def _ran(self, run: Run) -> None:
        # Behind the others: what ran last is told last.
        self._runs.pop(run.command, None)
        self._runs[run.command] = run

    def facts(self) -> Facts:
        unknown = sorted(self._changed - self._edits.keys())
        edits = [text for path, text in self._edits.items() if path in self._changed]
        return Facts(
            said=tuple(self._said),
            rules=tuple(self._rules),
            todo=self._todo,
            runs=tuple(self._runs.values()),
            open_edits=(*edits, *(f"{path}: changed by a command" for path in unknown)),
            decisions=tuple(self._decisions),
            dead_ends=tuple(dict.fromkeys(self._dead_ends)),
            read=tuple(self._read),
            verified=self._verified,
        )


def _run(step: int, command: str, ok: bool, exit_code: int, output: str) -> Run:
    failing = () if ok else tuple(_failing(output))
    errors = () if ok else tuple(dict.fromkeys(match[0].strip() for match in _ERROR.finditer(output)))
    return Run(step, command, ok, exit_code, output, failing, errors, () if ok else tuple(_frames(output)))


def _failing(output: str) -> Iterator[Failing]:
    """As a test tool lists them on top of its answer; else as the runner does."""
    listed = list(_listed(output.splitlines()))
    if listed:
        yield from listed
        return
    report = parse(output)
    for failure in report.failures if report else ():
        yield Failing(failure.test, failure.place, failure.message)


def _listed(lines: Sequence[str]) -> Iterator[Failing]:
    for line in lines[1:]:
        match = _FAILURE.match(line)
        if match is None:
            return
        yield Failing(match[1], match[2] or "", match[3] or "")


def _frames(output: str) -> list[str]:
    found = (f"{match[1] or match[3]}:{match[2] or match[4]}" for match in _FRAME.finditer(output))
    own = [place for place in dict.fromkeys(found) if not _LIBRARY.search(place)]
    return own[-_FRAMES_PER_RUN:]


def _one_line(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most] + " ..."
