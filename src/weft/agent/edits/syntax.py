"""Whether a file still parses: by its own language's parser where there is one, else by tree-sitter."""

from __future__ import annotations

import json
import tomllib
import warnings
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from weft.agent.context.languages import language_of, load
from weft.agent.edits.lines import BOM
from weft.core.errors import MissingExtra
from weft.core.extras import require
from weft.core.limits import MAX_SOURCE_BYTES

if TYPE_CHECKING:
    from tree_sitter import Node


def syntax_error(path: str, text: str) -> str | None:
    """The first error with its line, as `line 3: ...`; None where the text parses or nothing can parse it."""
    text = text.removeprefix(BOM)
    if len(text) > MAX_SOURCE_BYTES:
        return None
    match PurePosixPath(path).suffix:
        case ".py" | ".pyi":
            return _python(path, text)
        case ".json":
            return _json(text)
        case ".toml":
            return _toml(text)
    return _tree_sitter(path, text)


def new_syntax_error(path: str, before: str | None, after: str) -> str | None:
    """The first error of a text, unless what it was made from had one too: then the edit is not to blame."""
    error = syntax_error(path, after)
    return error if error and (before is None or not syntax_error(path, before)) else None


def _python(path: str, text: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        return f"line {getattr(error, 'lineno', None) or 1}: {getattr(error, 'msg', error)}"
    return None


def _json(text: str) -> str | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return f"line {error.lineno}: {error.msg}"
    return None


def _toml(text: str) -> str | None:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return str(error)
    return None


def _tree_sitter(path: str, text: str) -> str | None:
    name = language_of(path)
    if name is None:
        return None
    try:
        language, _ = load(name)
        root = (
            require("tree_sitter", "agent").Parser(language).parse(text.encode("utf-8", "replace")).root_node
        )
    except MissingExtra:
        return None
    return _first_error(root) if root.has_error else None


def _first_error(node: Node) -> str:
    while not node.is_missing and node.type != "ERROR":
        node = next(child for child in node.children if child.has_error or child.is_missing)
    line = node.start_point[0] + 1
    return (
        f"line {line}: `{node.type}` is missing" if node.is_missing else f"line {line}: this does not parse"
    )
