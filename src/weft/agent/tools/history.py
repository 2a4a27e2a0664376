"""Tools that look at changes: git_diff, git_log; both in the sandbox's copy."""

from __future__ import annotations

import posixpath
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from weft.agent.policy import Access
from weft.agent.sandbox.diff import unified
from weft.agent.tools.finding import GIT
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import file_access
from weft.core import limits

_NOT_INSTALLED: Final = 127
_FORMAT: Final = "--format=%h %ad %an: %s"
# `git diff` would write the index anew, whatever GIT_OPTIONAL_LOCKS says.
_SETTINGS: Final = ("-c", "core.quotePath=false", "-c", "diff.autoRefreshIndex=false")


class GitDiffArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    revision: Annotated[
        str, Meta(description="`HEAD~2`, `main...` or `a..b`; what this session changed if empty")
    ] = ""
    path: Annotated[str, Meta(description="file or folder")] = "."


class GitDiff:
    name = "git_diff"
    description = "Show changes as a unified diff: this session's, or those since or between commits."
    read_only = True
    arguments = GitDiffArguments

    def accesses(self, arguments: GitDiffArguments) -> list[Access]:
        return [file_access("read", arguments.path)]

    def run(self, arguments: GitDiffArguments, context: ToolContext) -> Observation:
        path = posixpath.normpath(arguments.path)
        if arguments.revision:
            text = _between(arguments.revision, path, context)
        else:
            text = unified(
                [
                    change
                    for change in context.box.changes()
                    if _below(change.path, path) and context.may_read(change.path)
                ]
            )
        return Observation(context.outputs.shown(text) or "[no changes]")


class GitLogArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: Annotated[str, Meta(description="only commits that changed it")] = "."
    contains: Annotated[str, Meta(description="only commits whose message has this text")] = ""
    revision: str = "HEAD"
    limit: Annotated[int, Meta(ge=1, le=200)] = 20


class GitLog:
    name = "git_log"
    description = "List commits, newest first: hash, date, author, subject. git_diff shows what one changed."
    read_only = True
    arguments = GitLogArguments

    def accesses(self, arguments: GitLogArguments) -> list[Access]:
        return [file_access("read", arguments.path)]

    def run(self, arguments: GitLogArguments, context: ToolContext) -> Observation:
        path = posixpath.normpath(arguments.path)
        options = ["--date=short", _FORMAT, f"-n{arguments.limit}"]
        if arguments.contains:
            options += ["-F", "-i", f"--grep={arguments.contains}"]
        text = _git(["log", *options, *_revision(arguments.revision)], [path] * (path != "."), context)
        return Observation(context.outputs.shown(text.rstrip()) or "[no commit fits]")


def _between(revision: str, path: str, context: ToolContext) -> str:
    """The diff without the files that may not be read."""
    options = ["diff", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames"]
    asked = _revision(revision)
    names = _git([*options, "--name-only", "-z", *asked], [path], context).split("\0")
    hidden = [name for name in names if name and not context.may_read(name)]
    excludes = [f":(exclude,literal,top){name}" for name in hidden]
    return _git([*options, *asked], [path, *excludes], context)


def _revision(revision: str) -> list[str]:
    words = revision.split()
    if not words or any(word.startswith("-") for word in words):
        raise ToolError(f"`{revision}` is no revision", hint="name a commit, a branch or a range")
    return words


def _git(words: list[str], paths: list[str], context: ToolContext) -> str:
    result = context.box.run(
        [*GIT, *_SETTINGS, *words, "--", *paths],
        timeout_s=context.deadline_s,
        output_bytes=limits.MAX_SEARCH_BYTES,
    )
    if result.exit_code == _NOT_INSTALLED:
        raise ToolError("git is not installed in the sandbox", hint="leave `revision` empty, or use grep")
    if result.exit_code != 0:
        raise ToolError(f"git failed: {result.output.strip()[:500]}", hint="check the revision and the path")
    return result.output


def _below(path: str, folder: str) -> bool:
    return folder == "." or path == folder or path.startswith(folder + "/")
