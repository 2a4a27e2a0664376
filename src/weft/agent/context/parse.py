"""Definitions, calls and imports of one source file, by tree-sitter; also of code that does not compile."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from weft.agent.context.languages import KINDS, language_of, load
from weft.core.extras import require
from weft.core.limits import MAX_SOURCE_BYTES, MAX_SOURCE_RESULTS

if TYPE_CHECKING:
    from tree_sitter import Node


class Definition(msgspec.Struct, frozen=True, gc=False):
    """Something that has a name; lines count from 1, the last one included."""

    name: str
    kind: str
    """class, function, method, interface, struct, enum, trait, type, module, macro or variable."""
    qualified_name: str
    """The names of what it stands in, joined by dots."""
    start_line: int
    end_line: int


class Reference(msgspec.Struct, frozen=True, gc=False):
    """A call or instantiation of `name`; `enclosing` is the qualified name of the definition around it."""

    name: str
    line: int
    enclosing: str | None


class Import(msgspec.Struct, frozen=True):
    """What a file imports, as it is written: module, path or header. `names` are given for Python."""

    module: str
    line: int
    names: tuple[str, ...] = ()


class ParsedFile(msgspec.Struct, frozen=True):
    """All three, in the order of the file. `complete` is false where the file was too long to look at."""

    language: str
    definitions: tuple[Definition, ...] = ()
    references: tuple[Reference, ...] = ()
    imports: tuple[Import, ...] = ()
    has_errors: bool = False
    complete: bool = True


class _Scope(NamedTuple):
    start: int
    end: int
    name: str
    kind: str
    first_line: int
    last_line: int


def parse_source(path: str, source: str | bytes) -> ParsedFile | None:
    """What a file defines, calls and imports; None for a language that is not known by the file's suffix."""
    name = language_of(path)
    if name is None:
        return None
    data = source.encode("utf-8", "surrogateescape") if isinstance(source, str) else source
    if len(data) > MAX_SOURCE_BYTES:
        return ParsedFile(name, complete=False)
    language, query = load(name)
    binding = require("tree_sitter", "agent")
    root = binding.Parser(language).parse(data).root_node
    scopes: dict[tuple[int, int], _Scope] = {}
    calls: dict[int, tuple[str, int]] = {}
    imports: dict[int, Import] = {}
    for _, captures in binding.QueryCursor(query).matches(root):
        if names := captures.get("name"):
            scope = _scope(data, captures, names[0])
            scopes.setdefault((scope.start, scope.end), scope)
        for node in captures.get("call", ()):
            calls[node.start_byte] = (_text(data, node), node.start_point[0] + 1)
        for node in captures.get("import", ()):
            for found in _imports(data, node):
                imports[node.start_byte + len(imports)] = found
    definitions, references = _nested(sorted(scopes.values(), key=lambda s: (s.start, -s.end)), calls)
    return ParsedFile(
        name,
        definitions[:MAX_SOURCE_RESULTS],
        references[:MAX_SOURCE_RESULTS],
        tuple(sorted(imports.values(), key=lambda found: found.line))[:MAX_SOURCE_RESULTS],
        root.has_error,
        max(len(definitions), len(references)) <= MAX_SOURCE_RESULTS,
    )


def _scope(data: bytes, captures: dict[str, list[Node]], name: Node) -> _Scope:
    kind = next(kind for kind in captures if kind in KINDS or kind == "scope")
    node = captures[kind][0]
    text = _text(data, name)
    if owner := captures.get("owner"):
        text = f"{_text(data, owner[0]).lstrip('*').split('[')[0]}.{text}"
    return _Scope(node.start_byte, node.end_byte, text, kind, node.start_point[0] + 1, _last_line(node))


def _nested(
    scopes: Iterable[_Scope], calls: dict[int, tuple[str, int]]
) -> tuple[tuple[Definition, ...], tuple[Reference, ...]]:
    """One sweep over the file: what is open at each definition and each call is what it stands in."""
    marks: list[tuple[int, int, _Scope | None]] = [(scope.start, -scope.end, scope) for scope in scopes]
    marks += [(start, 0, None) for start in calls]
    definitions, references = [], []
    open_scopes: list[tuple[_Scope, str]] = []
    for start, _, scope in sorted(marks, key=lambda mark: mark[:2]):
        while open_scopes and open_scopes[-1][0].end <= start:
            open_scopes.pop()
        around = open_scopes[-1][1] if open_scopes else None
        if scope is None:
            name, line = calls[start]
            references.append(Reference(name, line, around))
            continue
        qualified = f"{around}.{scope.name}" if around else scope.name
        in_class = bool(open_scopes) and open_scopes[-1][0].kind in ("class", "scope", "trait")
        kind = "method" if scope.kind == "function" and in_class else scope.kind
        if kind != "scope":
            name = scope.name.rpartition(".")[2]
            definitions.append(Definition(name, kind, qualified, scope.first_line, scope.last_line))
        if kind != "variable":
            open_scopes.append((scope, qualified))
    return tuple(definitions), tuple(references)


def _imports(data: bytes, node: Node) -> list[Import]:
    line = node.start_point[0] + 1
    if node.type == "import_statement":
        return [Import(_bare(data, name), line) for name in node.children_by_field_name("name")]
    if node.type in ("import_from_statement", "future_import_statement"):
        module = node.child_by_field_name("module_name")
        names = tuple(_bare(data, name) for name in node.children_by_field_name("name"))
        star = any(child.type == "wildcard_import" for child in node.children)
        return [Import(_text(data, module) if module else "__future__", line, ("*",) if star else names)]
    return [Import(_text(data, node).strip("\"'`<>"), line)]


def _bare(data: bytes, node: Node) -> str:
    """The name that is imported, without the name it is given."""
    inner = node.child_by_field_name("name") if node.type == "aliased_import" else None
    return _text(data, inner or node)


def _text(data: bytes, node: Node) -> str:
    return data[node.start_byte : node.end_byte].decode("utf-8", "replace")


def _last_line(node: Node) -> int:
    row, column = node.end_point
    return row if column == 0 and row > node.start_point[0] else row + 1
