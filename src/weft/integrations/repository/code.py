"""What calls what: the source files at a repository's HEAD as a stream, and the job that reads it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec

from weft.agent.context.languages import language_of
from weft.agent.context.parse import ParsedFile, parse_source
from weft.core.clock import SYSTEM_CLOCK, Clock
from weft.core.limits import MAX_FUTURE_SKEW_US
from weft.graph import Edge, EdgeRef, Node, NodeRef, Remove, job
from weft.graph.ingest.job import Output
from weft.graph.ingest.model import Event, Offset
from weft.integrations.repository.tree import Blob, Head, list_blobs, read_blobs, read_head
from weft.integrations.repository.types import node_id, symbol_id

_CALLABLE: Final = frozenset({"function", "method", "class", "struct", "macro"})


class Symbol(msgspec.Struct, frozen=True):
    """A definition; `id` names it in the graph."""

    id: str
    name: str
    kind: str
    line: int


class FileCode(msgspec.Struct, frozen=True):
    """What a file defines, and which definition calls which (of this or another file), by symbol id."""

    symbols: tuple[Symbol, ...] = ()
    calls: frozenset[tuple[str, str]] = frozenset()


class FileChange(msgspec.Struct, frozen=True):
    """A file's code in the tree that was read before, and in this one."""

    path: str
    before: FileCode
    after: FileCode


class TreeRead(msgspec.Struct, frozen=True):
    """All changes of a tree have been told."""

    repository: str
    tree: str


class _Mark(msgspec.Struct, frozen=True):
    """A span: what differs between two trees. It never changes, so a place in it can be found again."""

    base: str
    tree: str
    start: int
    """The position before the span's first event."""
    time_us: int
    finished: bool = False


class CodeSource:
    """The files whose definitions or calls changed since the tree that was read last; then a `TreeRead`.

    Calls are resolved by name: to a definition of the same file, else to the only one of that name in the
    repository; others are left out. `on_parsed` hears how many files have been parsed, of how many.
    """

    def __init__(
        self,
        repository: str | Path,
        *,
        on_parsed: Callable[[int, int], object] = lambda done, total: None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._path = Path(repository)
        self._on_parsed = on_parsed
        self._clock = clock
        self._parsed: dict[Blob, ParsedFile | None] = {}
        self.name = f"code:{self._path.resolve()}"

    def events(self, after: Mapping[int, Offset]) -> Iterator[Event | None]:
        head = read_head(self._path)
        position, mark = 0, None
        if done := after.get(0):
            position, mark = done.position, msgspec.json.decode(done.mark, type=_Mark)
            if not mark.finished:
                for event in self._span(mark, position):
                    position = event.offset.position
                    yield event
        if mark is None or mark.tree != head.tree:
            base = mark.tree if mark else ""
            yield from self._span(_Mark(base, head.tree, position, self._time_us(head, mark)), position)

    def pending(self, after: Mapping[int, Offset]) -> int | None:
        return None

    def _span(self, mark: _Mark, done: int) -> Iterator[Event]:
        """The events of a span behind position `done`."""
        before, after = self._code(mark.base), self._code(mark.tree)
        nothing = FileCode()
        position = mark.start
        for path in sorted(before.keys() | after.keys()):
            old, new = before.get(path, nothing), after.get(path, nothing)
            if old != new:
                position += 1
                if position > done:
                    yield _event(position, mark, FileChange(path, old, new))
        finished = msgspec.structs.replace(mark, finished=True)
        yield _event(position + 1, finished, TreeRead(self.name, mark.tree))

    def _time_us(self, head: Head, before: _Mark | None) -> int:
        """When the tree was committed, but later than the tree before and not in the future."""
        earliest_us = before.time_us + 1 if before else 0
        latest_us = self._clock.now_us() + MAX_FUTURE_SKEW_US
        return max(earliest_us, min(head.commit_time_us, latest_us))

    def _code(self, tree: str) -> dict[str, FileCode]:
        """The code of every file of a tree, calls resolved; of none for the empty name."""
        blobs = [blob for blob in list_blobs(self._path, tree) if language_of(blob.path)] if tree else []
        new = [blob for blob in blobs if blob not in self._parsed]
        self._on_parsed(0, len(new))
        for done, (blob, data) in enumerate(read_blobs(self._path, new), 1):
            self._parsed[blob] = parse_source(blob.path, data)
            self._on_parsed(done, len(new))
        return _resolved({blob.path: parsed for blob in blobs if (parsed := self._parsed[blob])})


@job
def code(event: Event) -> Iterator[Output]:
    """Files define symbols, symbols call symbols; what a file no longer says is removed."""
    value: FileChange | TreeRead = event.value
    if isinstance(value, TreeRead):
        yield Node("repository", node_id(value.repository), {"tree": value.tree})
        return
    file, before, after = node_id(value.path), value.before, value.after
    kept = {symbol.id for symbol in after.symbols}
    for symbol in before.symbols:
        if symbol.id not in kept:
            yield Remove(EdgeRef("defines", file, symbol.id))
            yield Remove(NodeRef("symbol", symbol.id))
    for caller, called in sorted(before.calls - after.calls):
        yield Remove(EdgeRef("calls", caller, called))
    for symbol in after.symbols:
        facts = {"name": symbol.name, "kind": symbol.kind, "file": value.path, "line": symbol.line}
        yield Node("symbol", symbol.id, facts)
        yield Edge("defines", file, symbol.id)
    for caller, called in sorted(after.calls):
        yield Edge("calls", caller, called)


def _event(position: int, mark: _Mark, value: FileChange | TreeRead) -> Event:
    return Event(Offset(position, msgspec.json.encode(mark).decode()), mark.time_us, value)


def _resolved(files: Mapping[str, ParsedFile]) -> dict[str, FileCode]:
    local: dict[tuple[str, str], str] = {}
    everywhere: dict[str, set[str]] = defaultdict(set)
    for path, parsed in files.items():
        for definition in parsed.definitions:
            if definition.kind in _CALLABLE:
                target = symbol_id(path, definition.qualified_name)
                local.setdefault((path, definition.name), target)
                everywhere[definition.name].add(target)
    only = {name: next(iter(targets)) for name, targets in everywhere.items() if len(targets) == 1}
    return {path: _file_code(path, parsed, local, only) for path, parsed in files.items()}


def _file_code(
    path: str, parsed: ParsedFile, local: Mapping[tuple[str, str], str], only: Mapping[str, str]
) -> FileCode:
    symbols: dict[str, Symbol] = {}
    for one in parsed.definitions:
        target = symbol_id(path, one.qualified_name)
        symbols.setdefault(target, Symbol(target, one.name, one.kind, one.start_line))
    calls = frozenset(
        (symbol_id(path, call.enclosing), called)
        for call in parsed.references
        if call.enclosing and (called := local.get((path, call.name)) or only.get(call.name))
    )
    return FileCode(tuple(symbols.values()), calls)
