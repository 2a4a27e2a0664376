"""What an edit makes of files, written to the sandbox as a whole or not at all, and shown to the model."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from weft.agent.edits import Applied, EditError
from weft.agent.edits.encoding import Decoded
from weft.agent.edits.syntax import new_syntax_error
from weft.agent.events import FileUse
from weft.agent.policy import Access
from weft.agent.sandbox import Sandbox
from weft.agent.tools.output import clipped
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import command_access, read_decoded
from weft.core.errors import WeftError

Formatters = Mapping[str, Sequence[str]]
"""The command that formats a file, by the suffix of its name; the path is added as the last argument."""
NO_FORMATTERS: Final[Formatters] = {}


class FileChange(NamedTuple):
    """One file before and after; None where there is none."""

    path: str
    before: Decoded | None
    after: Applied | None
    moved_from: str | None = None
    """Its path before, so that its mode goes with it; `before` is then None, as nothing was at `path`."""


def formatting_accesses(paths: Sequence[str], formatters: Formatters) -> list[Access]:
    """The commands that `land` may run."""
    commands = (_command(path, formatters) for path in paths)
    return [command_access(shlex.join(command)) for command in commands if command]


def land(context: ToolContext, changes: Sequence[FileChange], formatters: Formatters) -> Observation:
    """Write every change, format what has a formatter, and show the differences to the model."""
    files = {change.path: change.before for change in changes if change.before}
    texts = {}
    for change in changes:
        if change.after:
            source = change.before or files.get(change.moved_from or "") or Decoded("", "utf-8")
            try:
                texts[change.path] = source.encode(change.after.text)
            except EditError as error:
                raise ToolError(error.in_file(change.path).report()) from error
    _write(context.box, changes, texts)
    notes = [_format(context, path, formatters) for path in texts]
    return _shown(context, changes, notes)


def _write(box: Sandbox, changes: Sequence[FileChange], texts: Mapping[str, bytes]) -> None:
    """All of it; where one step fails, those before it are taken back and the error is raised."""
    undo: list[Callable[[], None]] = []
    try:
        moved = {change.moved_from for change in changes}
        for change in changes:
            if change.after or change.path not in moved:
                _write_one(box, change, texts, undo)
    except WeftError:
        for step in reversed(undo):
            step()
        raise


def _write_one(
    box: Sandbox, change: FileChange, texts: Mapping[str, bytes], undo: list[Callable[[], None]]
) -> None:
    path, source = change.path, change.moved_from
    if change.after is None:
        if change.before is not None:
            mode, data = box.stat(path).mode, box.read(path)
            box.delete(path)
            undo.append(lambda: _put_back(box, path, data, mode))
        return
    if source:
        box.move(source, path)
        undo.append(lambda: box.move(path, source))
    old = box.read(path) if source or change.before is not None else None
    box.write(path, texts[path])
    undo.append(lambda: box.delete(path) if old is None else box.write(path, old))


def _put_back(box: Sandbox, path: str, data: bytes, mode: int) -> None:
    box.write(path, data)
    box.run(["chmod", f"{mode & 0o777:o}", "--", path], timeout_s=10.0)


def _format(context: ToolContext, path: str, formatters: Formatters) -> str:
    command = _command(path, formatters)
    if not command:
        return ""
    result = context.box.run(command, timeout_s=context.deadline_s)
    if result.exit_code == 0:
        return ""
    return f"[{shlex.join(command)} failed: {result.output.strip()[:300]}]\n"


def _command(path: str, formatters: Formatters) -> list[str]:
    command = formatters.get(PurePosixPath(path).suffix, ())
    return [*command, path] if command else []


def _shown(context: ToolContext, changes: Sequence[FileChange], notes: Sequence[str]) -> Observation:
    """The tolerances that were needed, the diff, and what does not parse any more."""
    parts, uses = [], []
    for change in changes:
        steps = [step for hunk in (change.after.hunks if change.after else ()) for step in hunk.steps]
        if tolerated := list(dict.fromkeys(step for step in steps if step != "exact")):
            parts.append(f"[{change.path} placed by tolerance: {', '.join(tolerated)}]\n")
    parts += notes
    for change in changes:
        before = change.before.text if change.before else None
        after = read_decoded(context.box, change.path).text if change.after else None
        parts.append(_diff(change.path, before or "", after or ""))
        if after is not None and (error := new_syntax_error(change.path, before, after)):
            parts.append(f"[warning: {change.path} does not parse now: {error}]\n")
        uses.append(FileUse(change.path, "deleted" if after is None else "written"))
    return Observation(clipped("".join(parts)), files=tuple(uses))


def _diff(path: str, before: str, after: str) -> str:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    lines = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines)
