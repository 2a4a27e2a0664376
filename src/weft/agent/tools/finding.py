"""Tools that find files and lines: glob, grep."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from weft.agent.context.globs import alternatives, glob_pattern
from weft.agent.context.ignore import IGNORE_FILE, Found, Ignored, walk
from weft.agent.policy import Access
from weft.agent.sandbox import Result, Sandbox
from weft.agent.tools.output import shortened
from weft.agent.tools.protocol import Observation, ToolContext, ToolError
from weft.agent.tools.reading import file_access
from weft.core import limits
from weft.core.errors import NotFound, WeftError

_NOT_INSTALLED: Final = 127
_NO_MATCH: Final = 1
_KINDS: Final[dict[str, Literal["file", "folder"]]] = {"file": "file", "folder": "folder"}
_NUMBERED: Final = re.compile(r"(\d+)[\0:-](.*)", re.DOTALL)
# Repositories are of other owners inside, and their settings could start programs or wait for a lock.
GIT: Final = ("env", "GIT_OPTIONAL_LOCKS=0", "git", "--no-pager", "-c", "safe.directory=*")


class GlobArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pattern: Annotated[str, Meta(description="as in `src/**/*.{ts,tsx}` or `*_test.go`", min_length=1)]
    path: Annotated[str, Meta(description="folder to start from")] = "."


class Glob:
    name = "glob"
    description = "Find files by name. Leaves out what .gitignore names, .git and caches."
    read_only = True
    arguments = GlobArguments

    def accesses(self, arguments: GlobArguments) -> list[Access]:
        return [file_access("read", arguments.path)]

    def run(self, arguments: GlobArguments, context: ToolContext) -> Observation:
        start = posixpath.normpath(arguments.path)
        fits = glob_pattern(arguments.pattern)
        prefix = "" if start == "." else start + "/"
        found = [
            path
            for path in files_in(context.box, start)
            if fits.match(path.removeprefix(prefix)) and context.may_read(path)
        ]
        return Observation(
            context.outputs.listed(found, limits.MAX_TOOL_ENTRIES, "files") or "[no file fits]"
        )


class GrepArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pattern: Annotated[str, Meta(description="Perl-style regular expression, line by line", min_length=1)]
    path: Annotated[str, Meta(description="file or folder")] = "."
    glob: Annotated[str, Meta(description="only files that fit, as in `*.{js,ts}`")] = ""
    show: Literal["lines", "files", "counts"] = "lines"
    context: Annotated[int, Meta(ge=0, le=20, description="lines around each match")] = 0
    ignore_case: bool = False


class Grep:
    name = "grep"
    description = (
        "Search file contents as ripgrep does: no binary, hidden or ignored files. Gives path:line:text."
    )
    read_only = True
    arguments = GrepArguments

    def accesses(self, arguments: GrepArguments) -> list[Access]:
        return [file_access("read", arguments.path)]

    def run(self, arguments: GrepArguments, context: ToolContext) -> Observation:
        start = posixpath.normpath(arguments.path)
        context.box.stat(start)
        result = _searched(arguments, start, context)
        if result.timed_out:
            raise ToolError("the search took too long", hint="name a smaller folder or a simpler pattern")
        if result.exit_code > _NO_MATCH:
            raise ToolError(f"grep failed: {result.output.strip()[:300]}", hint="check the pattern")
        rows = list(_rows(result.output, arguments.show))
        readable = {path for path in dict.fromkeys(path for path, _ in rows) if context.may_read(path)}
        shown = [text for path, text in rows if not path or path in readable]
        while shown and shown[-1] == "--":
            shown.pop()
        if result.truncated:
            shown.append("[there is more than can be kept; narrow the pattern or the path]")
        return Observation(context.outputs.listed(shown, limits.MAX_TOOL_HITS, "rows") or "[no line matches]")


def files_in(box: Sandbox, start: str) -> Iterator[str]:
    """The files of the sandbox's copy that count, below a folder."""
    ignored = Ignored()

    def entries(folder: str) -> list[Found]:
        return [Found(entry.name, _KINDS.get(entry.kind, "other")) for entry in box.entries(folder)]

    def rules(folder: str) -> str | None:
        try:
            return box.read(posixpath.join(folder, IGNORE_FILE)).decode("utf-8", "replace")
        except WeftError:
            return None

    above = start
    while above != ".":
        above = posixpath.dirname(above) or "."
        try:
            ignored.learn(above, rules(above))
        except NotFound:
            continue
    return walk(entries, rules, ignored, start)


def _searched(arguments: GrepArguments, start: str, context: ToolContext) -> Result:
    shape = {"lines": [f"-C{arguments.context}"], "files": ["-l"], "counts": ["-c"]}[arguments.show]
    options = [*shape, *["-i"] * arguments.ignore_case, "-e", arguments.pattern, "--"]
    by_git = [*GIT, "grep", "--no-index", "--exclude-standard", "--full-name", "--no-color", "-nIPz"]
    result = _run([*by_git, *options, *_paths(start, arguments.glob)], context)
    if result.exit_code != _NOT_INSTALLED:
        return result
    # Without git nothing knows what is ignored.
    only = [f"--include={glob.rpartition('/')[2]}" for glob in alternatives(arguments.glob) if glob]
    only += [f"--exclude-dir={name}" for name in (".git", "__pycache__", "node_modules")]
    return _run(["grep", "-rnHIPZ", *only, *options, start], context)


def _run(command: list[str], context: ToolContext) -> Result:
    return context.box.run(command, timeout_s=context.deadline_s, output_bytes=limits.MAX_SEARCH_BYTES)


def _paths(start: str, glob: str) -> list[str]:
    """What to search, as git's pathspecs; hidden files only below a folder that is itself hidden."""
    prefix = "" if start == "." else re.sub(r"([*?\[\]\\])", r"\\\1", start) + "/"
    specs = [f":(glob){prefix}{'' if '/' in each else '**/'}{each}" for each in alternatives(glob) if each]
    hidden = any(part.startswith(".") and part != "." for part in start.split("/"))
    excludes = [] if hidden else [":(exclude,glob)**/.*", ":(exclude,glob)**/.*/**"]
    return [*(specs or [f":(literal){start}" if start != "." else "."]), *excludes]


def _rows(output: str, show: str) -> Iterator[tuple[str, str]]:
    """(path, row) of each row; the path is empty for a mark between groups."""
    if show == "files":
        yield from ((path, path) for path in output.split("\0") if path)
        return
    for line in output.splitlines():
        path, nul, rest = line.removeprefix("./").partition("\0")
        numbered = _NUMBERED.match(rest)
        if not nul:
            yield "", line
        elif show == "lines" and numbered:
            yield path, f"{path}:{numbered[1]}:{shortened(numbered[2])}"
        else:
            yield path, f"{path}:{rest}"
