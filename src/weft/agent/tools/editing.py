"""Tools that change what files say: edit_file, apply_patch, write_file."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from weft.agent.edits import Applied, Edit, EditError, SearchReplace, WholeFile, apply
from weft.agent.edits.encoding import Decoded
from weft.agent.edits.patch import parse, patched
from weft.agent.edits.patch_format import FilePatch
from weft.agent.policy import Access
from weft.agent.tools.landing import NO_FORMATTERS, FileChange, Formatters, formatting_accesses, land
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import Path, file_access, read_decoded
from weft.core.errors import NotFound


class EditFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Path
    search: Annotated[str, Meta(description="whole lines as they are in the file, enough to name one place")]
    replace: Annotated[str, Meta(description="what stands there afterwards, with the same indentation")]


class EditFile:
    name = "edit_file"
    description = "Replace one place of a file. Fails, and shows what is there, unless it finds exactly one."
    read_only = False
    arguments = EditFileArguments

    def __init__(self, formatters: Formatters = NO_FORMATTERS) -> None:
        self._formatters = formatters

    def accesses(self, arguments: EditFileArguments) -> list[Access]:
        files = [file_access("read", arguments.path), file_access("write", arguments.path)]
        return files + formatting_accesses([arguments.path], self._formatters)

    def run(self, arguments: EditFileArguments, context: ToolContext) -> Observation:
        before = read_decoded(context.box, arguments.path)
        after = _applied(arguments.path, before, SearchReplace(arguments.search, arguments.replace))
        return land(context, [FileChange(arguments.path, before, after)], self._formatters)


class ApplyPatchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patch: Annotated[
        str,
        Meta(
            description="a unified diff, a patch from `*** Begin Patch` to `*** End Patch`, or blocks below "
            "their file's path: `<<<<<<< SEARCH`, `=======`, `>>>>>>> REPLACE`"
        ),
    ]


class ApplyPatch:
    name = "apply_patch"
    description = "Change, add, move and delete files by one patch; all of it applies, or nothing."
    read_only = False
    arguments = ApplyPatchArguments

    def __init__(self, formatters: Formatters = NO_FORMATTERS) -> None:
        self._formatters = formatters

    def accesses(self, arguments: ApplyPatchArguments) -> list[Access]:
        accesses = []
        for part in parse(arguments.patch):
            if part.kind != "add":
                accesses.append(file_access("read", part.path))
            accesses += [file_access("write", path) for path in _paths(part)]
        written = [part.move_to or part.path for part in parse(arguments.patch) if part.kind != "delete"]
        return accesses + formatting_accesses(written, self._formatters)

    def run(self, arguments: ApplyPatchArguments, context: ToolContext) -> Observation:
        parts = parse(arguments.patch)
        before: dict[str, Decoded] = {}
        for path in dict.fromkeys(path for part in parts for path in _paths(part)):
            try:
                before[path] = read_decoded(context.box, path)
            except NotFound:
                continue
        try:
            after = patched({path: file.text for path, file in before.items()}, arguments.patch)
        except EditError as error:
            raise ToolError(error.report()) from error
        moves = [(part.move_to, part.path) for part in parts if part.move_to and part.move_to not in before]
        moved = {target: source for target, source in moves if source in before and not after.get(source)}
        changes = [
            FileChange(path, before.get(path), done, moved.get(path))
            for path, done in sorted(after.items(), key=lambda pair: pair[1] is None)
        ]
        return land(context, changes, self._formatters)


class WriteFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Path
    content: Annotated[str, Meta(description="the whole new content")]


class WriteFile:
    name = "write_file"
    description = "Create a file or replace its whole content; prefer edit_file for changes."
    read_only = False
    arguments = WriteFileArguments

    def __init__(self, formatters: Formatters = NO_FORMATTERS) -> None:
        self._formatters = formatters

    def accesses(self, arguments: WriteFileArguments) -> list[Access]:
        files = [file_access("write", arguments.path)]
        return files + formatting_accesses([arguments.path], self._formatters)

    def run(self, arguments: WriteFileArguments, context: ToolContext) -> Observation:
        try:
            before = read_decoded(context.box, arguments.path)
        except NotFound:
            change = FileChange(arguments.path, None, Applied(arguments.content, ()))
            return land(context, [change], self._formatters)
        after = _applied(arguments.path, before, WholeFile(arguments.content))
        return land(context, [FileChange(arguments.path, before, after)], self._formatters)


def _applied(path: str, before: Decoded, edit: Edit) -> Applied:
    try:
        return apply(before.text, edit)
    except EditError as error:
        raise ToolError(error.in_file(path).report()) from error


def _paths(part: FilePatch) -> list[str]:
    return [part.path, part.move_to] if part.move_to else [part.path]
