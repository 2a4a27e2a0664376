"""The index of a repository: what is where, by words, names and paths; as fresh as the files are."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec
import xxhash

from weft.agent.context.bm25 import Bm25
from weft.agent.context.chunks import Chunk, chunks_of
from weft.agent.context.files import Folder, Stamp
from weft.agent.context.parse import Definition, ParsedFile, parse_source
from weft.agent.context.terms import name_terms, of_word, query_terms, terms
from weft.core.limits import MAX_INDEX_BYTES, MAX_SOURCE_BYTES

# What each signal counts for; they add up to 1. A name that fits says more than a text that mentions.
WEIGHTS: Final = {"text": 0.55, "name": 0.3, "path": 0.15}
# Longer lines on average are data or minified code: found by path alone.
_MAX_MEAN_LINE_CHARS: Final = 300
# Room for postings of units that are gone, before the rest is renumbered.
_GONE_SHARE: Final = 0.3
_MIN_GONE: Final = 1_000
# A name that is in more files than this is found by grep.
_MAX_FILES_WITH_NAME: Final = 400


class Hit(msgspec.Struct, frozen=True):
    """A place in the repository. `lines` are its first and last, counted from 1."""

    path: str
    lines: tuple[int, int]
    score: float
    """From 0 to 1; 1 would be a place that says nothing but what was asked."""
    why: str
    """Which words of the question are in its text, name and path."""
    name: str = ""
    """The qualified name of the definition that it is."""
    kind: str = ""


class Symbol(NamedTuple):
    """A definition, and the file that it is in."""

    path: str
    definition: Definition


class Use(msgspec.Struct, frozen=True):
    """A line on which a name stands: as its definition, a call, an import, or otherwise (mention)."""

    path: str
    line: int
    how: str
    text: str
    enclosing: str = ""


class Uses(NamedTuple):
    """Lines on which a name stands; not all of them where it is in too many files to look at."""

    lines: list[Use]
    complete: bool


class _File(msgspec.Struct):
    stamp: Stamp | None
    digest: int
    size_bytes: int
    units: range
    definitions: tuple[Definition, ...]


class CodeIndex:
    """Words, names and paths of a repository's files. From several threads one call runs at a time.

    Every question begins by looking which files changed. `allowed` says which paths the asker may see; the
    others do not count.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[str, _File] = {}
        self._paths: list[str | None] = []
        self._chunks: list[Chunk] = []
        self._signals = {name: Bm25() for name in WEIGHTS}
        self._overlay: dict[str, bytes | None] = {}
        self._gone = 0
        self._size_bytes = 0
        self._lock = threading.RLock()

    @classmethod
    def open(cls, repository: str | os.PathLike[str]) -> CodeIndex:
        """An index of the repository; it is read when the first question comes."""
        return cls(Folder(repository))

    @contextlib.contextmanager
    def seeing(self, overlay: Mapping[str, bytes | None]) -> Iterator[CodeIndex]:
        """For several questions, with contents that stand in place of the folder's (None for a file that is
        gone), such as the changes of a sandbox. Others wait, and do not see them."""
        with self._lock:
            self._overlay = dict(overlay)
            try:
                yield self
            finally:
                self._overlay = {}

    def refresh(self) -> int:
        """Take in what changed; how many files were read anew. Every question begins with this."""
        with self._lock:
            stamps = dict(self._folder.files())
            there = stamps.keys() - self._overlay.keys()
            there |= {path for path, data in self._overlay.items() if data is not None}
            gone = self._files.keys() - there
            for path in gone:
                self._drop(path)
            changed = len(gone)
            for path, data in self._overlay.items():
                if data is not None:
                    changed += self._take(path, None, data)
            for path, stamp in stamps.items():
                known = self._files.get(path)
                if path not in self._overlay and (known is None or known.stamp != stamp):
                    changed += self._take(path, stamp, self._folder.read(path))
            if self._gone > max(_MIN_GONE, _GONE_SHARE * len(self._paths)):
                self._compact()
            return changed

    def search(
        self,
        query: str,
        limit: int = 20,
        *,
        allowed: Callable[[str], bool] = lambda path: True,
    ) -> list[Hit]:
        """The places that fit the question best, the best first."""
        with self._lock:
            self.refresh()
            asked = query_terms(query)
            by_signal = {name: signal.scores(asked) for name, signal in self._signals.items()}
            fused: dict[int, float] = {}
            for name, scores in by_signal.items():
                for unit, score in scores.items():
                    fused[unit] = fused.get(unit, 0.0) + WEIGHTS[name] * score
            may: dict[str, bool] = {}
            hits: list[Hit] = []
            ranked = [(-score, unit) for unit, score in fused.items() if self._paths[unit] is not None]
            heapq.heapify(ranked)
            while ranked and len(hits) < limit:
                score, unit = heapq.heappop(ranked)
                path = self._paths[unit] or ""
                if path not in may:
                    may[path] = allowed(path)
                if may[path]:
                    hits.append(self._hit(path, unit, -score, asked))
            return hits

    def symbols(self, name: str, *, allowed: Callable[[str], bool] = lambda path: True) -> list[Symbol]:
        """Definitions of a name: `open` or `CodeIndex.open`. If none fits exactly, those that are alike."""
        with self._lock:
            self.refresh()
            wanted = name.replace("::", ".").strip(".")
            every = [
                Symbol(path, definition)
                for path, file in sorted(self._files.items())
                for definition in file.definitions
            ]
            for fits in (_same, _same_but_case, _contains):
                alike = [symbol for symbol in every if fits(symbol.definition, wanted)]
                may = {path: allowed(path) for path in dict.fromkeys(symbol.path for symbol in alike)}
                found = [symbol for symbol in alike if may[symbol.path]]
                if found:
                    return sorted(found, key=lambda symbol: len(symbol.definition.name))
            return []

    def references(self, name: str, *, allowed: Callable[[str], bool] = lambda path: True) -> Uses:
        """The lines on which a name stands, definitions and calls first."""
        with self._lock:
            self.refresh()
            bare = re.split(r"\.|::", name)[-1]
            paths = [path for path in self._files_with(bare) if allowed(path)]
            uses = [use for path in paths[:_MAX_FILES_WITH_NAME] for use in self._uses(path, bare)]
        order = {"definition": 0, "call": 1, "import": 2, "mention": 3}
        uses.sort(key=lambda use: (order[use.how], use.path, use.line))
        return Uses(uses, len(paths) <= _MAX_FILES_WITH_NAME)

    def read(self, path: str) -> bytes:
        """The content that is indexed."""
        data = self._overlay[path] if path in self._overlay else self._folder.read(path)
        return data or b""

    def _hit(self, path: str, unit: int, score: float, asked: Mapping[str, str]) -> Hit:
        chunk = self._chunks[unit]
        body = set(self._body_terms(path, chunk))
        told = {
            "name": set(name_terms(chunk.name)),
            "text": body,
            "path": set(name_terms(path)),
        }
        why = [
            f"{what}: {', '.join(dict.fromkeys(both))}"
            for what, words in told.items()
            if (both := [word for term, word in asked.items() if term in words])
        ]
        lines = (chunk.start_line, chunk.end_line)
        return Hit(path, lines, round(score, 4), "; ".join(why), chunk.name, chunk.kind)

    def _body_terms(self, path: str, chunk: Chunk) -> list[str]:
        lines = _lines(self.read(path))
        return terms("\n".join(lines[chunk.start_line - 1 : chunk.end_line]))

    def _take(self, path: str, stamp: Stamp | None, data: bytes) -> bool:
        """Index a file, unless its bytes are those that are indexed; whether it was read anew."""
        digest = xxhash.xxh3_64_intdigest(data)
        known = self._files.get(path)
        if known is not None:
            if known.digest == digest:
                known.stamp = stamp
                return False
            self._drop(path)
        lines = _lines(data) if self._size_bytes + len(data) <= MAX_INDEX_BYTES else []
        size_bytes = len(data) if lines else 0
        self._size_bytes += size_bytes
        parsed = parse_source(path, data) if lines else None
        definitions = parsed.definitions if parsed else ()
        chunks = chunks_of(lines, definitions) or [Chunk(1, 1)]
        first = len(self._paths)
        of_path = list(name_terms(path))
        for unit, chunk in enumerate(chunks, first):
            text = "\n".join(lines[chunk.start_line - 1 : chunk.end_line])
            self._signals["text"].add(unit, terms(text))
            self._signals["name"].add(unit, name_terms(chunk.name))
            self._signals["path"].add(unit, of_path)
            self._paths.append(path)
            self._chunks.append(chunk)
        units = range(first, len(self._paths))
        self._files[path] = _File(stamp, digest, size_bytes, units, definitions)
        return True

    def _drop(self, path: str) -> None:
        file = self._files.pop(path)
        self._size_bytes -= file.size_bytes
        for unit in file.units:
            for signal in self._signals.values():
                signal.drop(unit)
            self._paths[unit] = None
            self._gone += 1

    def _compact(self) -> None:
        alive = [unit for unit, path in enumerate(self._paths) if path is not None]
        numbers = {old: new for new, old in enumerate(alive)}
        for signal in self._signals.values():
            signal.compact(numbers)
        self._paths = [self._paths[unit] for unit in alive]
        self._chunks = [self._chunks[unit] for unit in alive]
        for file in self._files.values():
            first = numbers[file.units.start]
            file.units = range(first, first + len(file.units))
        self._gone = 0

    def _files_with(self, name: str) -> list[str]:
        found = of_word(name)
        units = self._signals["text"].units(found[0]) if found else []
        return sorted({path for unit in units if (path := self._paths[unit]) is not None})

    def _uses(self, path: str, name: str) -> Iterable[Use]:
        data = self.read(path)
        lines = _lines(data)
        if not any(name in line for line in lines):
            return
        known = _known_lines(parse_source(path, data), name)
        whole = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        for number, text in enumerate(lines, 1):
            if whole.search(text):
                how, enclosing = known.get(number, ("mention", ""))
                yield Use(path, number, how, text.strip(), enclosing)


def _known_lines(parsed: ParsedFile | None, name: str) -> dict[int, tuple[str, str]]:
    """What stands on the lines of which the parser knows it."""
    known: dict[int, tuple[str, str]] = {}
    if parsed:
        known |= {i.line: ("import", "") for i in parsed.imports if name in i.names or name in i.module}
        known |= {r.line: ("call", r.enclosing or "") for r in parsed.references if r.name == name}
        known |= {d.start_line: ("definition", "") for d in parsed.definitions if d.name == name}
    return known


def _lines(data: bytes) -> list[str]:
    """The lines of a text; none of what is binary, too long, or not written by people."""
    if len(data) > MAX_SOURCE_BYTES or b"\0" in data[:8_192]:
        return []
    lines = data.decode("utf-8", "replace").split("\n")
    return lines if len(data) <= _MAX_MEAN_LINE_CHARS * len(lines) + 2_000 else []


def _same(definition: Definition, wanted: str) -> bool:
    return definition.name == wanted or f".{definition.qualified_name}".endswith(f".{wanted}")


def _same_but_case(definition: Definition, wanted: str) -> bool:
    return f".{definition.qualified_name}".lower().endswith(f".{wanted.lower()}")


def _contains(definition: Definition, wanted: str) -> bool:
    return wanted.lower() in definition.qualified_name.lower()
