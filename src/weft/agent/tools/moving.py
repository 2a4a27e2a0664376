"""Tools that take files away or elsewhere: delete_file, move_file."""

from __future__ import annotations

import posixpath
from typing import Annotated

import msgspec
from msgspec import Meta

from weft.agent.events import FileUse
from weft.agent.policy import Access
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import Path, file_access
from weft.core.errors import NotFound


class DeleteFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Path


class DeleteFile:
    name = "delete_file"
    description = "Delete one file."
    read_only = False
    arguments = DeleteFileArguments

    def accesses(self, arguments: DeleteFileArguments) -> list[Access]:
        return [file_access("write", arguments.path)]

    def run(self, arguments: DeleteFileArguments, context: ToolContext) -> Observation:
        if context.box.stat(arguments.path).kind == "folder":
            raise ToolError(f"`{arguments.path}` is a folder", hint="delete its files one by one")
        context.box.delete(arguments.path)
        return Observation(f"deleted {arguments.path}", files=(FileUse(arguments.path, "deleted"),))


class MoveFileArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Path
    target: Annotated[str, Meta(description="its new path, where nothing is yet", min_length=1)]


class MoveFile:
    name = "move_file"
    description = "Move or rename one file; folders above the target are made."
    read_only = False
    arguments = MoveFileArguments

    def accesses(self, arguments: MoveFileArguments) -> list[Access]:
        return [
            file_access("read", arguments.path),
            file_access("write", arguments.path),
            file_access("write", arguments.target),
        ]

    def run(self, arguments: MoveFileArguments, context: ToolContext) -> Observation:
        path, target = posixpath.normpath(arguments.path), posixpath.normpath(arguments.target)
        if context.box.stat(path).kind == "folder":
            raise ToolError(f"`{path}` is a folder", hint="move its files one by one")
        if arguments.target.endswith("/"):
            raise ToolError(f"`{arguments.target}` names a folder", hint="give the file's new path")
        try:
            context.box.stat(target)
        except NotFound:
            context.box.move(path, target)
            uses = (FileUse(path, "deleted"), FileUse(target, "written"))
            return Observation(f"moved {path} to {target}", files=uses)
        raise ToolError(f"`{target}` exists already", hint="delete it first, or name another target")
