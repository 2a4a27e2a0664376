"""Tools that look at one place: read_file, list_dir, read_output."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Annotated

import msgspec
from msgspec import Meta

from weft.agent.edits.encoding import Decoded, decode
from weft.agent.events import FileUse
from weft.agent.policy import Access, Resource
from weft.agent.sandbox import Sandbox
from weft.agent.tools.output import shortened
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.core import limits

Path = Annotated[str, Meta(description="path in the workspace, as in `src/app.py`", min_length=1)]


class ReadFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Path
    start_line: Annotated[int, Meta(ge=1, description="first line to show, from 1")] = 1
    lines: Annotated[int, Meta(ge=1, le=limits.MAX_TOOL_LINES, description="how many lines")] = (
        limits.MAX_TOOL_LINES
    )


class ReadFile:
    name = "read_file"
    description = "Show a file with line numbers. The number and the tab after it are not part of the file."
    read_only = True
    arguments = ReadFileArguments

    def accesses(self, arguments: ReadFileArguments) -> list[Access]:
        return [file_access("read", arguments.path)]

    def run(self, arguments: ReadFileArguments, context: ToolContext) -> Observation:
        lines = read_text(context.box, arguments.path).split("\n")
        if not lines[-1]:
            lines.pop()
        first = arguments.start_line
        if first > max(1, len(lines)):
            raise ToolError(f"`{arguments.path}` has {len(lines)} lines", hint="start at a line that it has")
        shown = lines[first - 1 : first - 1 + arguments.lines]
        rows = [f"{number:6}\t{shortened(text)}" for number, text in enumerate(shown, first)]
        rest = len(lines) - (first - 1 + len(shown))
        if rest > 0:
            rows.append(f"[{rest:,} more lines; read on with start_line={first + len(shown)}]")
        text = context.outputs.shown("\n".join(rows)) if rows else "[the file is empty]"
        return Observation(text, files=(FileUse(arguments.path, "read"),))


class ListDirArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(description="folder in the workspace; `.` for its root")] = "."
    depth: Annotated[int, Meta(ge=1, le=5, description="how many levels of folders to open")] = 2


class ListDir:
    name = "list_dir"
    description = "List the files and folders below a folder; folders end with a slash."
    read_only = True
    arguments = ListDirArguments

    def accesses(self, arguments: ListDirArguments) -> list[Access]:
        return [file_access("read", arguments.path)]

    def run(self, arguments: ListDirArguments, context: ToolContext) -> Observation:
        rows: list[str] = []
        for row in _entries(context, arguments.path, arguments.depth, ""):
            if len(rows) == limits.MAX_TOOL_ENTRIES:
                rows.append(f"[more than {limits.MAX_TOOL_ENTRIES} entries; list a folder further down]")
                break
            rows.append(row)
        return Observation("\n".join(rows) or "[the folder is empty]")


class ReadOutputArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    handle: str
    start_line: Annotated[int, Meta(ge=1)] = 1
    lines: Annotated[int, Meta(ge=1, le=limits.MAX_TOOL_LINES)] = 200
    contains: Annotated[str, Meta(description="only lines with this text")] = ""


class ReadOutput:
    name = "read_output"
    description = "Read on in an output that was shown in part, by the handle that its note gives."
    read_only = True
    arguments = ReadOutputArguments

    def accesses(self, arguments: ReadOutputArguments) -> list[Access]:
        return []

    def run(self, arguments: ReadOutputArguments, context: ToolContext) -> Observation:
        rows = list(enumerate(context.outputs.rows(arguments.handle), 1))
        after = [row for row in rows if row[0] >= arguments.start_line and arguments.contains in row[1]]
        if not after:
            raise ToolError(
                f"the output has {len(rows)} lines, and none to show from line {arguments.start_line} on",
                hint="start earlier, or leave out `contains`",
            )
        shown, size = [], 0
        for number, text in after[: arguments.lines]:
            size += len(text) + 8
            if size > limits.MAX_TOOL_OUTPUT_CHARS:
                break
            shown.append(f"{number:6}\t{text}")
        if len(after) > len(shown):
            rest = len(after) - len(shown)
            shown.append(f"[{rest:,} more lines; read on with start_line={after[len(shown)][0]}]")
        return Observation("\n".join(shown))


def file_access(action: str, path: str) -> Access:
    return msgspec.convert({"action": action, "resource": {"kind": "file", "name": path}}, Access)


def command_access(command: str) -> Access:
    return Access("run", Resource("command", command))


def read_text(box: Sandbox, path: str) -> str:
    """The file as text."""
    return read_decoded(box, path).text


def read_decoded(box: Sandbox, path: str) -> Decoded:
    """The file as text that, encoded again, gives the same bytes."""
    decoded = decode(box.read(path))
    if "\x00" in decoded.text[:8_192]:
        raise ToolError(f"`{path}` is a binary file", hint="use run_command to look into it")
    return decoded


def _entries(context: ToolContext, path: str, depth: int, above: str) -> Iterator[str]:
    for entry in context.box.entries(path):
        inside = posixpath.normpath(posixpath.join(path, entry.name))
        if entry.name in (".git", "__pycache__") or not context.may_read(inside):
            continue
        if entry.kind != "folder":
            yield f"{above}{entry.name}"
            continue
        yield f"{above}{entry.name}/"
        if depth > 1:
            yield from _entries(context, inside, depth - 1, f"{above}{entry.name}/")
