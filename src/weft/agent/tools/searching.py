"""Tools that ask the index of the repository: search_code, find_symbol, find_references."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from weft.agent.context import CodeIndex, Hit
from weft.agent.policy import Access
from weft.agent.sandbox import Sandbox
from weft.agent.sandbox.changes import LINK
from weft.agent.tools.output import shortened
from weft.agent.tools.protocol import Observation, ToolContext
from weft.agent.tools.reading import file_access
from weft.core import limits

_LINES_PER_HIT: Final = 25
_MAX_RESULTS: Final = 30


class SearchCodeArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    query: Annotated[str, Meta(description="a question, or words that the code may use", min_length=1)]
    limit: Annotated[int, Meta(ge=1, le=_MAX_RESULTS)] = 8


class SearchCode:
    name = "search_code"
    description = "Find the code that a question is about, by words, names and paths; best first."
    read_only = True
    arguments = SearchCodeArguments

    def __init__(self, index: CodeIndex) -> None:
        self._index = index

    def accesses(self, arguments: SearchCodeArguments) -> list[Access]:
        return [file_access("read", ".")]

    def run(self, arguments: SearchCodeArguments, context: ToolContext) -> Observation:
        with self._index.seeing(changed_in(context.box)) as index:
            hits = index.search(arguments.query, arguments.limit, allowed=context.may_read)
            text = "\n\n".join(_shown(hit, index) for hit in hits)
        return Observation(context.outputs.shown(text) or "[nothing fits; try other words, or grep]")


class FindSymbolArguments(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: Annotated[str, Meta(description="as in `open` or `CodeIndex.open`", min_length=1)]


class FindSymbol:
    name = "find_symbol"
    description = "Where a function, class or other name is defined; names that are alike if there is none."
    read_only = True
    arguments = FindSymbolArguments

    def __init__(self, index: CodeIndex) -> None:
        self._index = index

    def accesses(self, arguments: FindSymbolArguments) -> list[Access]:
        return [file_access("read", ".")]

    def run(self, arguments: FindSymbolArguments, context: ToolContext) -> Observation:
        rows = []
        with self._index.seeing(changed_in(context.box)) as index:
            for path, found in index.symbols(arguments.name, allowed=context.may_read)[
                : limits.MAX_TOOL_ENTRIES
            ]:
                # The person may have shortened the file since it was looked at.
                line = _lines(index, path)[found.start_line - 1 : found.start_line]
                text = shortened("".join(line).strip())
                place = f"{path}:{found.start_line}-{found.end_line}"
                rows.append(f"{place} {found.kind} {found.qualified_name}: {text}")
        return Observation(context.outputs.listed(rows, limits.MAX_TOOL_HITS, "places") or "[no such name]")


class FindReferences:
    name = "find_references"
    description = "Every line where a name is defined, called, imported or mentioned."
    read_only = True
    arguments = FindSymbolArguments

    def __init__(self, index: CodeIndex) -> None:
        self._index = index

    def accesses(self, arguments: FindSymbolArguments) -> list[Access]:
        return [file_access("read", ".")]

    def run(self, arguments: FindSymbolArguments, context: ToolContext) -> Observation:
        with self._index.seeing(changed_in(context.box)) as index:
            uses = index.references(arguments.name, allowed=context.may_read)
        rows = [
            f"{use.path}:{use.line} {use.how}{f' in {use.enclosing}' if use.enclosing else ''}: "
            f"{shortened(use.text)}"
            for use in uses.lines
        ]
        if not uses.complete:
            rows.insert(0, "[the name is in more files than were looked at; grep finds all lines]")
        return Observation(context.outputs.listed(rows, limits.MAX_TOOL_HITS, "lines") or "[no such name]")


def changed_in(box: Sandbox) -> dict[str, bytes | None]:
    """What the sandbox changed, as an index sees it."""
    return {
        change.path: change.after.data if change.after and change.after.mode != LINK else None
        for change in box.changes()
    }


def _shown(hit: Hit, index: CodeIndex) -> str:
    first, last = hit.lines
    title = f"{hit.path}:{first}-{last} {hit.kind} {hit.name}".rstrip()
    lines = enumerate(_lines(index, hit.path)[first - 1 : last], first)
    body = [f"{number:6}\t{shortened(text)}" for number, text in lines]
    if len(body) > _LINES_PER_HIT:
        body[_LINES_PER_HIT:] = [f"[... to line {last}]"]
    return "\n".join([f"{title}  ({hit.why})", *body])


def _lines(index: CodeIndex, path: str) -> list[str]:
    return index.read(path).decode("utf-8", "replace").split("\n")
