"""Tools that change files: edit_file, apply_patch, write_file."""

from __future__ import annotations

import difflib
from typing import Annotated

import msgspec
from msgspec import Meta

from weft.agent.edits import EditError, SearchReplace, apply, apply_patch
from weft.agent.edits.patch import parse
from weft.agent.events import FileUse
from weft.agent.policy import Access
from weft.agent.tools.output import clipped
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import Path, file_access, read_text, to_bytes
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

    def accesses(self, arguments: EditFileArguments) -> list[Access]:
        return [file_access("read", arguments.path), file_access("write", arguments.path)]

    def run(self, arguments: EditFileArguments, context: ToolContext) -> Observation:
        before = read_text(context.box, arguments.path)
        try:
            applied = apply(before, [SearchReplace(arguments.search, arguments.replace)])
        except EditError as error:
            raise ToolError(error.in_file(arguments.path).report()) from error
        context.box.write(arguments.path, to_bytes(applied.text))
        steps = ", ".join(step for hunk in applied.hunks for step in hunk.steps if step != "exact")
        note = f"[placed by tolerance: {steps}]\n" if steps else ""
        return _changed({arguments.path: (before, applied.text)}, note)


class ApplyPatchArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patch: Annotated[
        str, Meta(description="a unified diff, or a patch from `*** Begin Patch` to `*** End Patch`")
    ]


class ApplyPatch:
    name = "apply_patch"
    description = "Change, add, move and delete files by one patch; all of it applies, or nothing."
    read_only = False
    arguments = ApplyPatchArguments

    def accesses(self, arguments: ApplyPatchArguments) -> list[Access]:
        accesses = []
        for part in parse(arguments.patch):
            if part.kind != "add":
                accesses.append(file_access("read", part.path))
            accesses += [file_access("write", path) for path in (part.path, part.move_to) if path]
        return accesses

    def run(self, arguments: ApplyPatchArguments, context: ToolContext) -> Observation:
        before: dict[str, str] = {}
        for part in parse(arguments.patch):
            for path in (part.path, part.move_to):
                if path and path not in before:
                    try:
                        before[path] = read_text(context.box, path)
                    except NotFound:
                        continue
        try:
            after = apply_patch(before, arguments.patch)
        except EditError as error:
            raise ToolError(error.report()) from error
        for path, text in after.items():
            if text is not None:
                context.box.write(path, to_bytes(text))
        for path, text in after.items():
            if text is None and path in before:
                context.box.delete(path)
        return _changed({path: (before.get(path), text) for path, text in after.items()})


class WriteFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Path
    content: Annotated[str, Meta(description="the whole new content")]


class WriteFile:
    name = "write_file"
    description = "Create a file or replace its whole content; prefer edit_file for changes."
    read_only = False
    arguments = WriteFileArguments

    def accesses(self, arguments: WriteFileArguments) -> list[Access]:
        return [file_access("write", arguments.path)]

    def run(self, arguments: WriteFileArguments, context: ToolContext) -> Observation:
        try:
            before: str | None = read_text(context.box, arguments.path)
        except NotFound:
            before = None
        if before == arguments.content:
            raise ToolError(f"`{arguments.path}` has this content already", hint="go on with the next step")
        context.box.write(arguments.path, to_bytes(arguments.content))
        return _changed({arguments.path: (before, arguments.content)})


def _changed(files: dict[str, tuple[str | None, str | None]], note: str = "") -> Observation:
    """The diff back to the model, with a warning where Python does not parse any more."""
    parts, uses = [note], []
    for path, (before, after) in files.items():
        old, new = (before or "").splitlines(keepends=True), (after or "").splitlines(keepends=True)
        lines = difflib.unified_diff(old, new, f"a/{path}", f"b/{path}")
        parts.append("".join(line if line.endswith("\n") else line + "\n" for line in lines))
        parts.append(_syntax_warning(path, after))
        uses.append(FileUse(path, "deleted" if after is None else "written"))
    return Observation(clipped("".join(parts)), files=tuple(uses))


def _syntax_warning(path: str, text: str | None) -> str:
    if text is None or not path.endswith(".py"):
        return ""
    try:
        compile(text.removeprefix("\ufeff"), path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        return f"[warning: {path} does not parse now: {getattr(error, 'msg', error)}, line {line}]\n"
    return ""
