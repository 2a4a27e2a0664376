"""What happened in a session, in lines for people: as it happens, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from weft.agent.events import (
    AnyEvent,
    Compacted,
    Decided,
    Interrupted,
    Landed,
    LoopFound,
    ModelReplied,
    PersonSaid,
    RulesRead,
    ServerLeftOut,
    SessionEnded,
    SessionResumed,
    SessionStarted,
    ToolFinished,
    Undone,
    Verified,
)
from weft.cli.agent.screen import Line, diff_lines

_MAX_ARGUMENT_CHARS: Final = 90
_MAX_OUTPUT_LINES: Final = 30
# The argument of a call that says most about it.
_TELLING: Final = ("path", "command", "pattern", "query", "question", "name", "symbol", "source")


def as_it_happens(event: AnyEvent) -> list[Line]:
    """One line for most events; a reply's text was streamed already."""
    lines = list(_live(event))
    # What a sub-agent does stands below the call that sent it out.
    return [Line(f"    {line.text}", "dim") for line in lines] if "." in event.session else lines


def afterwards(event: AnyEvent, *, full: bool = False) -> list[Line]:
    """The event with what was said, decided and seen."""
    lines = list(_live(event))
    match event:
        case PersonSaid():
            lines = [Line(f"> {event.text}", "bold")]
        case ModelReplied():
            lines = [Line(""), *([Line(event.text)] if event.text.strip() else []), _spent(event)]
        case Decided():
            lines = [_decided(event)]
        case ToolFinished():
            lines += _output(event.output, full, diff=_changes_files(event))
        case Verified():
            lines += _output(event.output, full)
        case SessionEnded():
            lines = [Line(""), *diff_lines(event.diff)]
    return lines


def started_line(session: str, model: str, scripted: bool) -> Line:
    """Which session, and who replies in it."""
    return Line(f"session {session}, {named_model(model, scripted)}", "dim")


def named_model(model: str, scripted: bool) -> str:
    """A model's name; a script is never taken for one."""
    return f"{model} (a script, not a model)" if scripted else model


def seconds(duration_s: float) -> str:
    """A duration for people."""
    return f"{duration_s:.2f} s"


class Doing:
    """What goes on now, in a few words, told by the events of the session itself."""

    def __init__(self) -> None:
        self._running: dict[str, str] = {}

    def after(self, event: AnyEvent) -> str | None:
        """What goes on once this has happened; None for what went on before."""
        match event:
            case ModelReplied() if event.calls:
                self._running = {call.id: call.name for call in event.calls}
            case ModelReplied() if event.stop == "done":
                return "verifying"
            case ToolFinished():
                self._running.pop(event.call_id, None)
            case SessionEnded() | Interrupted() | Landed():
                return ""
            case Decided():
                return None
        if self._running:
            return f"running {', '.join(dict.fromkeys(self._running.values()))}"
        return "waiting for the model"


def counts(diff: str) -> str:
    """Lines added and removed."""
    lines = diff.splitlines()
    added = sum(line.startswith("+") and not line.startswith("+++ ") for line in lines)
    removed = sum(line.startswith("-") and not line.startswith("--- ") for line in lines)
    return f"+{added} -{removed}"


def _live(event: AnyEvent) -> Iterator[Line]:
    match event:
        case SessionStarted():
            yield started_line(event.session, event.model, event.scripted)
        case SessionResumed():
            yield Line(f"resumed with {named_model(event.model, event.scripted)}", "dim")
        case ModelReplied() if event.stop in ("cut", "refused"):
            yield Line(f"  the reply was {'cut off' if event.stop == 'cut' else 'a refusal'}", "yellow")
        case ModelReplied() if event.reason:
            yield Line(f"  {event.reason}", "dim")
        case Compacted():
            yield Line(f"  compacted: {event.replaced} messages became {len(event.messages)}", "dim")
        case LoopFound():
            yield Line(f"  in circles: {' and '.join(event.tools)}, {event.times} times over", "yellow")
        case Decided() if event.access.action in ("see", "run_outside"):
            yield _decided(event)
        case Decided() if event.effect == "deny" and not event.call_id:
            yield _decided(event)
        case RulesRead():
            yield Line(f"  told the rules of {event.path}", "dim")
        case ServerLeftOut():
            yield Line(f"  without the MCP server {event.name}: {event.reason}", "yellow")
        case ToolFinished():
            yield _call(event)
        case Verified():
            how = "verified" if event.ok else "not verified"
            style = "green" if event.ok else "red"
            yield Line(
                f"  {how}: `{event.command}` ended with {event.exit_code}, {seconds(event.duration_s)}", style
            )
        case Interrupted():
            yield Line(f"  interrupted: {event.reason}", "yellow")
        case Landed():
            yield Line(f"  landed: {', '.join(event.paths) or 'nothing to write'}", "green")
        case Undone():
            yield Line(f"  undone: everything after step {event.to_step}", "yellow")


def _call(event: ToolFinished) -> Line:
    what = f"  {event.tool} {_argument(event.arguments)}".rstrip()
    if event.outcome in ("denied", "invalid"):
        return Line(f"{what}: {event.output.strip().splitlines()[0]}", "red")
    told = []
    if event.command:
        told.append("out of time" if event.command.timed_out else f"exit {event.command.exit_code}")
        if event.outcome != "ok":
            told += [f"the sandbox refused {what}" for what in event.command.denied[:1]]
    elif event.outcome == "failed":
        told.append(f"failed: {next(iter(event.output.strip().splitlines()), '')}")
    elif _changes_files(event):
        told.append(counts(event.output))
    told.append(seconds(event.duration_s))
    return Line(f"{what}: {', '.join(told)}", "" if event.outcome == "ok" else "yellow")


def _argument(arguments: str) -> str:
    """What a call is about, in a few words."""
    try:
        decoded: Any = msgspec.json.decode(arguments)
    except msgspec.MsgspecError:
        decoded = None
    if not isinstance(decoded, dict):
        return _clipped(arguments)
    for name in _TELLING:
        if isinstance(decoded.get(name), str):
            return _clipped(decoded[name])
    return ""


def _clipped(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MAX_ARGUMENT_CHARS else f"{line[: _MAX_ARGUMENT_CHARS - 1]}…"


def _decided(event: Decided) -> Line:
    access = event.access
    # Sessions from before answers were kept have only that somebody was asked.
    by_person = event.answer or (event.asked and event.effect == "allow")
    who = "a person" if by_person else "the policy"
    how = "allowed" if event.effect == "allow" else "denied"
    style = "dim" if event.effect == "allow" else "red"
    action = access.action.replace("_", " ")
    return Line(f"  {who} {how}: {action} {_clipped(access.resource.name)} ({event.reason})", style)


def _changes_files(event: ToolFinished) -> bool:
    return event.command is None and any(use.how != "read" for use in event.files)


def _output(text: str, full: bool, *, diff: bool = False) -> list[Line]:
    lines = text.rstrip().splitlines()
    kept = lines if full else lines[:_MAX_OUTPUT_LINES]
    rest = len(lines) - len(kept)
    shown = diff_lines("\n".join(kept)) if diff else [Line(line, "dim") for line in kept]
    more = [Line(f"    … {rest} more lines, see --full", "dim")] if rest else []
    return [*(Line(f"    {line.text}", line.style) for line in shown), *more]


def _spent(event: ModelReplied) -> Line:
    usage = event.usage
    text = f"step {event.step}: {usage.input + usage.output:,} tokens, {seconds(event.duration_s)}"
    return Line(f"  {text}{f', {event.reason}' if event.reason else ''}", "dim")
