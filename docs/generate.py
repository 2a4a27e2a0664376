"""Write docs/authz/reference.md from the docstrings: `make docs`. Reads the source, imports nothing of it."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs/authz/reference.md"
HEAD: Final = """\
# Reference: weft.authz

Made from the docstrings; to refresh it, run `make docs`. Errors are those of `weft.core.errors`: the kind
says what to do about it, the message what is wrong, and `hint` the remedy.
"""
# Title, module, and names in the order shown.
SECTIONS: Final = (
    ("Opening, writing, watching", "weft.authz.authz", "Authz"),
    ("Checks", "weft.authz.checks", "Checks"),
    ("Lists", "weft.authz.listing", "Lists"),
    ("Further questions", "weft.authz.questions", "Questions"),
    ("Serving layers", "weft.authz.serving.settings", "Serving"),
    ("For asyncio", "weft.authz.aio", "AsyncAuthz"),
    (
        "What the questions take and give",
        "weft.authz.results",
        "Check Decision Page ConditionalItem Permission SchemaVersion SchemaDifference WatchEvent",
    ),
    ("Explanations", "weft.authz.explain", "Explanation Reason"),
    ("Trees", "weft.authz.expand", "Tree"),
    ("Imports", "weft.authz.transfer", "Imported"),
    (
        "Zookies",
        "weft.authz.zookie",
        "Zookie EXACT LATEST Consistency BadZookie ForeignZookie ExpiredZookie FutureZookie",
    ),
    (
        "Relation tuples",
        "weft.authz.tuples",
        "RelationTuple ObjectRef User TupleCondition TupleFilter "
        "parse_tuple parse_object parse_user parse_instant format_instant",
    ),
    (
        "Changes, and what a write may meet",
        "weft.authz.store",
        "Change TupleExists PreconditionFailed IdempotencyConflict SchemaMoved OrphanedTuples",
    ),
    ("Schemas", "weft.authz.schema", "Language parse_schema print_schema"),
    ("Errors in schemas", "weft.authz.schema.errors", "SchemaError Problem"),
)


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(line for section in SECTIONS for line in _section(*section))])


def _section(title: str, dotted: str, names: str) -> Iterator[str]:
    module = ast.parse(_source(dotted).read_text())
    documented = dict(_documented(module.body))
    yield f"## {title}\n\nModule `{dotted}`. {ast.get_docstring(module)}\n"
    for name in names.split():
        node, text = documented[name]
        yield from _entry(f"### {name}", node, text)
        if isinstance(node, ast.ClassDef):
            for inner, (member, below) in _documented(node.body):
                if isinstance(member, ast.FunctionDef):
                    yield from _entry(f"#### {inner}", member, below)


def _source(dotted: str) -> Path:
    path = ROOT / "src" / dotted.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


_Documented = tuple[ast.stmt, str]


def _documented(body: list[ast.stmt]) -> Iterator[tuple[str, _Documented]]:
    """The public names of a body, each with its node and the text that documents it."""
    for node, following in zip(body, [*body[1:], None], strict=True):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                text = ast.get_docstring(node) or ""
            case ast.AnnAssign(target=ast.Name(id=name)):
                text = _string(following)
            case ast.Assign(targets=[ast.Name(id=name)]):
                text = _string(following)
            case _:
                continue
        if not name.startswith("_") and (text or not isinstance(node, ast.ClassDef | ast.FunctionDef)):
            yield name, (node, text)


def _string(node: ast.stmt | None) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return inspect.cleandoc(text)
    return ""


def _entry(heading: str, node: ast.stmt, text: str) -> Iterator[str]:
    yield f"{heading}\n"
    yield f"```\n{_declaration(node)}\n```\n"
    if text:
        yield f"{text}\n"
    if isinstance(node, ast.ClassDef):
        fields = [
            f"- `{ast.unparse(field)}`" + (f": {below}" if below else "")
            for _, (field, below) in _documented(node.body)
            if isinstance(field, ast.AnnAssign)
        ]
        if fields:
            yield "\n".join(fields) + "\n"


def _declaration(node: ast.stmt) -> str:
    match node:
        case ast.ClassDef(name=name, bases=bases):
            return f"class {name}({', '.join(map(ast.unparse, bases))})" if bases else f"class {name}"
        case ast.FunctionDef():
            return _signature(node)
    return ast.unparse(node)


def _signature(node: ast.FunctionDef) -> str:
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    result = ast.unparse(node.returns) if node.returns else "None"
    if "property" in decorators:
        return f"{node.name}: {result}"
    parameters = list(_parameters(node.args))
    line = f"{node.name}({', '.join(parameters)}) -> {result}"
    if len(line) <= 100:
        return line
    return f"{node.name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f") -> {result}"


def _parameters(arguments: ast.arguments) -> Iterator[str]:
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + arguments.defaults
    for argument, default in zip(plain, defaults, strict=True):
        if argument.arg not in ("self", "cls"):
            yield _parameter(argument, default)
    if arguments.vararg:
        yield f"*{ast.unparse(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _parameter(argument, default)
    if arguments.kwarg:
        yield f"**{ast.unparse(arguments.kwarg)}"


def _parameter(argument: ast.arg, default: ast.expr | None) -> str:
    text = ast.unparse(argument)
    return text if default is None else f"{text} = {ast.unparse(default)}"


if __name__ == "__main__":
    PAGE.write_text(page())
