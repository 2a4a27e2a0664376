"""The tool that asks the project's own linters and type checkers: diagnostics."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from weft.agent.policy import Access
from weft.agent.tools.protocol import Observation, ToolContext
from weft.agent.tools.reading import command_access
from weft.agent.tools.running import run_in
from weft.core import limits


class Diagnostic(msgspec.Struct, frozen=True, order=True):
    path: str
    line: int
    message: str
    checker: str


class Checker(msgspec.Struct, frozen=True):
    """One program: the condition under which the project uses it, and how it is run on "$@", both for sh."""

    name: str
    when: str
    command: str
    pattern: str = r"^(?P<path>[^\s:][^:\n]*):(?P<line>\d+):(?:\d+:)? *(?P<message>.+)$"


# Compiles without writing anything; prints as the other checkers do.
_COMPILE: Final = r"""
import os, sys
skip = {"node_modules", "__pycache__", "venv", "build"}
for top in sys.argv[1:]:
    files = [top] if os.path.isfile(top) else (
        os.path.join(folder, name) for folder, below, names in os.walk(top)
        if not below.__setitem__(slice(None), [b for b in below if b not in skip and b[0] != "."])
        for name in names)
    for path in files:
        if path.endswith(".py"):
            try:
                compile(open(path, "rb").read(), path, "exec", dont_inherit=True)
            except (SyntaxError, ValueError) as error:
                print(f"{os.path.normpath(path)}:{getattr(error, 'lineno', 1) or 1}:1: {error}")
"""

CHECKERS: Final = (
    Checker(
        "python",
        "command -v python3 >/dev/null",
        f'python3 -W ignore -c {shlex.quote(_COMPILE)} "$@"',
    ),
    Checker(
        "ruff",
        "command -v ruff >/dev/null && { [ -f ruff.toml ] || [ -f .ruff.toml ]"
        " || grep -qs '^.tool.ruff' pyproject.toml; }",
        'ruff check --no-cache --quiet --output-format concise "$@"',
    ),
    Checker(
        "mypy",
        "command -v mypy >/dev/null && { [ -f mypy.ini ] || [ -f .mypy.ini ]"
        " || grep -qs '^.tool.mypy' pyproject.toml || grep -qs '^.mypy' setup.cfg; }",
        'if [ "$*" = . ]; then set --; fi; mypy --cache-dir=/dev/null --no-error-summary --no-color-output'
        ' --hide-error-context --no-pretty "$@"',
    ),
    Checker(
        "eslint",
        "[ -x node_modules/.bin/eslint ]",
        'node_modules/.bin/eslint --format json "$@" 2>/dev/null',
    ),
    Checker(
        "tsc",
        "[ -f tsconfig.json ] && [ -x node_modules/.bin/tsc ]",
        "node_modules/.bin/tsc --noEmit --pretty false",
        r"^(?P<path>[^\s(][^(\n]*)\((?P<line>\d+),\d+\): (?P<message>.+)$",
    ),
    Checker(
        "go vet",
        "[ -f go.mod ] && command -v go >/dev/null",
        "go vet ./...",
        r"^(?:vet: )?(?P<path>[^\s:#][^:\n]*\.go):(?P<line>\d+):(?:\d+:)? *(?P<message>.+)$",
    ),
    Checker(
        "cargo check",
        "[ -f Cargo.toml ] && command -v cargo >/dev/null",
        "cargo check --quiet --offline --message-format short --target-dir /tmp/weft-cargo",
    ),
)
_HEADING: Final = re.compile(r"^== weft (.+) ==$", re.MULTILINE)


class DiagnosticsArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    paths: Annotated[list[str], Meta(description="files or folders; everything if empty")] = []


class Diagnostics:
    name = "diagnostics"
    description = "Run the linters and type checkers that the project uses; gives path:line: message."
    read_only = False
    arguments = DiagnosticsArguments

    def accesses(self, arguments: DiagnosticsArguments) -> list[Access]:
        return [command_access(asked(arguments.paths))]

    def run(self, arguments: DiagnosticsArguments, context: ToolContext) -> Observation:
        result = run_in(context.box, script(arguments.paths), context.deadline_s)
        ran = _HEADING.findall(result.output)
        wanted = [posixpath.normpath(path) for path in arguments.paths]
        found = [
            each
            for each in parse(result.output, context.box.workspace)
            if not wanted or any(_below(each.path, path) for path in wanted)
        ]
        rows = [f"{each.path}:{each.line}: {each.message} [{each.checker}]" for each in found]
        notes = [f"[{len(rows)} findings of {', '.join(ran) or 'no checker: none is set up here'}]"]
        notes += ["[stopped: it took too long; name fewer paths]"] * result.timed_out
        if not rows and result.exit_code != 0:
            notes.append(result.output.strip())
        text = context.outputs.listed(rows, limits.MAX_TOOL_HITS, "findings")
        return Observation(
            "\n".join([*filter(None, [text]), *map(context.outputs.shown, notes)]), ok=not rows
        )


def asked(paths: Sequence[str]) -> str:
    """What the policy is asked and the record says: the programs that `script` may start, and on what."""
    return f"{'; '.join(checker.name for checker in CHECKERS)} # on {_given(paths)}"


def script(paths: Sequence[str]) -> str:
    """What is run: every checker whose condition holds, each under its heading."""
    given = _given(paths)
    parts = [f"set -- {given}; failed=0"]
    parts += [
        f"if {c.when}; then echo '== weft {c.name} =='; ( {c.command} ) 2>&1 || failed=1; echo; fi"
        for c in CHECKERS
    ]
    return "\n".join([*parts, "exit $failed"])


def parse(output: str, workspace: str) -> list[Diagnostic]:
    """The findings in what the script printed, each once, by file and line, below the workspace."""
    checkers = {checker.name: checker for checker in CHECKERS}
    pieces = _HEADING.split(output)
    found: set[Diagnostic] = set()
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        if name in checkers:
            read: Callable[[str, Checker], Iterator[Diagnostic]] = _eslint if name == "eslint" else _lines
            found |= {
                msgspec.structs.replace(each, path=_relative(each.path, workspace))
                for each in read(text, checkers[name])
            }
    return sorted(found)


def _given(paths: Sequence[str]) -> str:
    return shlex.join(paths) or "."


def _lines(text: str, checker: Checker) -> Iterator[Diagnostic]:
    for m in re.finditer(checker.pattern, text, re.MULTILINE):
        yield Diagnostic(m["path"], int(m["line"]), m["message"].strip(), checker.name)


class _EslintMessage(msgspec.Struct):
    message: str
    line: int = 1
    ruleId: str | None = None  # noqa: N815 (as eslint writes it)


class _EslintFile(msgspec.Struct):
    filePath: str  # noqa: N815 (as eslint writes it)
    messages: list[_EslintMessage] = []


def _eslint(text: str, checker: Checker) -> Iterator[Diagnostic]:
    try:
        files: Any = msgspec.json.decode(text.strip() or "[]", type=list[_EslintFile])
    except msgspec.MsgspecError:
        return
    for file in files:
        for each in file.messages:
            rule = f" ({each.ruleId})" if each.ruleId else ""
            yield Diagnostic(file.filePath, each.line, each.message + rule, checker.name)


def _relative(path: str, workspace: str) -> str:
    return posixpath.normpath(path.removeprefix(workspace.rstrip("/") + "/"))


def _below(path: str, folder: str) -> bool:
    return folder == "." or path == folder or path.startswith(folder + "/")
