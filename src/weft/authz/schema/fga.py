"""OpenFGA's modelling language, schemas 1.1 and 1.2: types, relations, conditions and modules.

Source: the public documentation of OpenFGA's configuration language. Several module files read as one text;
the model does not keep which module a type came from, so printing gives one model.
"""

from __future__ import annotations

import re
from typing import Final

from weft.authz.schema.declarations import DeclarationParser
from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.fga_rules import refuse_problems, require
from weft.authz.schema.model import (
    AllowedSubject,
    ComputedUserset,
    Condition,
    Exclusion,
    Intersection,
    NamespaceConfig,
    Nil,
    Relation,
    Rewrite,
    Schema,
    Self,
    This,
    TupleToUserset,
    Union,
    did_you_mean,
    walk,
)
from weft.authz.schema.scanner import Scanner
from weft.authz.schema.validate import describe
from weft.authz.tuples import NAME
from weft.core.errors import Invalid

_TOKENS: Final = re.compile(
    rf"(?P<space>\s+)|(?P<comment>(?<!\S)\#[^\n]*)|(?P<name>{NAME})|(?P<version>\d+\.\d+)"
    r"|(?P<sign>[{}()\[\]<>:,*#|+&-])"
)
_VERSIONS: Final = ("1.1", "1.2")
_RESERVED: Final = frozenset({"define", "relations", "or", "and", "but", "not", "from", "with"})
_DEFINE_HINT: Final = "write `define viewer: [user] or editor`"
_CONDITION_HINT: Final = "write `condition name(limit: int) { limit > 3 }`"
_TYPES_HINT: Final = "write `[user, user:*, group#member, user with condition]`"


def parse(source: str) -> Schema:
    """The model of a schema; names are not resolved yet. Raises `SchemaError`."""
    schema = _Parser(source).schema()
    refuse_problems(schema, source)
    return schema


class _Parser(DeclarationParser):
    def __init__(self, source: str) -> None:
        super().__init__(Scanner(source, _TOKENS), _RESERVED, colon=True)
        self.types: dict[str, NamespaceConfig] = {}
        self.repeated: list[NamespaceConfig] = []
        self.extensions: list[NamespaceConfig] = []
        self.conditions: list[Condition] = []

    def schema(self) -> Schema:
        scanner = self.scanner
        modular = self.header()
        while scanner.token.kind != "end":
            if scanner.at("type"):
                self.add(self.type())
            elif scanner.at("condition"):
                self.conditions.append(self.condition("condition", _CONDITION_HINT))
            elif scanner.at("extend"):
                if not modular:
                    raise scanner.error("`extend` outside a module", "start the file with `module name`")
                scanner.advance()
                self.extensions.append(self.type())
            elif modular and scanner.accept("module"):
                self.name("a name of a module", "write `module core`")
            else:
                raise self.unknown_keyword()
        for extension in self.extensions:
            self.extend(extension)
        return Schema((*self.types.values(), *self.repeated), tuple(self.conditions))

    def header(self) -> bool:
        """Whether the text is of modules."""
        scanner = self.scanner
        if scanner.accept("module"):
            self.name("a name of a module", "write `module core`")
            return True
        scanner.expect(
            "model", "start with `model` and, on the next line, `schema 1.1`, or with `module name`"
        )
        scanner.expect("schema", "write `schema 1.1` after `model`")
        if not scanner.at(*_VERSIONS):
            raise scanner.unexpected("a schema version", "write `schema 1.1` or `schema 1.2`")
        scanner.advance()
        return False

    def add(self, found: NamespaceConfig) -> None:
        if found.name in self.types:
            self.repeated.append(found)
        else:
            self.types[found.name] = found

    def extend(self, extension: NamespaceConfig) -> None:
        known = self.types.get(extension.name)
        if known is None:
            hint = did_you_mean(extension.name, self.types)
            problem = Problem(f"type `{extension.name}` is extended and never defined", hint, extension.at)
            raise SchemaError([problem], self.scanner.source)
        relations = (*known.relations, *extension.relations)
        self.types[known.name] = NamespaceConfig(known.name, relations, doc=known.doc, at=known.at)

    def type(self) -> NamespaceConfig:
        scanner = self.scanner
        doc = scanner.doc
        scanner.advance()
        name = self.name("a name of a type", "write `type document`")
        relations: list[Relation] = []
        if scanner.accept("relations"):
            while scanner.at("define"):
                relations.append(self.relation())
        elif scanner.at("define"):
            raise scanner.error(
                "`define` without `relations` before it", "write `relations` on a line of its own"
            )
        return NamespaceConfig(name.text, tuple(relations), doc=doc, at=scanner.span_of(name))

    def relation(self) -> Relation:
        scanner = self.scanner
        doc = scanner.doc
        scanner.advance()
        name = self.name("a name of a relation", _DEFINE_HINT)
        scanner.expect(":", _DEFINE_HINT)
        allowed: list[AllowedSubject] = []
        rewrite = self.expression(allowed)
        if scanner.at("|", "+", "&", "-", ","):
            raise scanner.unexpected("`or`, `and` or `but not`", _DEFINE_HINT)
        return Relation(name.text, rewrite, tuple(allowed), doc=doc, at=scanner.span_of(name))

    def expression(self, allowed: list[AllowedSubject]) -> Rewrite:
        scanner = self.scanner
        node = self.operand(allowed)
        if scanner.accept("but"):
            scanner.expect("not", "write `a but not b`")
            node = Exclusion(node, self.operand(allowed), at=node.at)
            self.refuse_mixing("but not", ("or", "and", "but"))
            return node
        for sign, other, kind in (("or", "and", Union), ("and", "or", Intersection)):
            if scanner.at(sign):
                parts = [node]
                while scanner.accept(sign):
                    parts.append(self.operand(allowed))
                self.refuse_mixing(sign, (other, "but"))
                return kind(tuple(parts), at=node.at)
        return node

    def refuse_mixing(self, sign: str, others: tuple[str, ...]) -> None:
        if self.scanner.at(*others):
            other = "but not" if self.scanner.at("but") else self.scanner.token.text
            message = f"`{other}` beside `{sign}` without parentheses"
            raise self.scanner.error(message, f"write `(a {sign} b) {other} c`")

    def operand(self, allowed: list[AllowedSubject]) -> Rewrite:
        scanner = self.scanner
        if scanner.at("("):
            opening = scanner.advance()
            scanner.deeper()
            node = self.expression(allowed)
            scanner.shallower()
            if not scanner.accept(")"):
                span = scanner.span_of(opening)
                raise scanner.error("this `(` is never closed", "close it with `)`", span)
            return node
        if scanner.at("["):
            if allowed:
                raise scanner.error("types stand twice in one relation", "put them into one pair of brackets")
            return self.restrictions(allowed)
        name = self.name("a relation, types in brackets or `(`", _DEFINE_HINT)
        if not scanner.accept("from"):
            return ComputedUserset(name.text, at=scanner.span_of(name))
        tupleset = self.name("a relation after `from`", "write `viewer from parent`")
        at = scanner.span(name.start, tupleset.end)
        return TupleToUserset(tupleset.text, name.text, at=at)

    def restrictions(self, allowed: list[AllowedSubject]) -> Rewrite:
        scanner = self.scanner
        opening = scanner.advance()
        while True:
            allowed.append(self.restriction())
            if not scanner.accept(","):
                break
        scanner.expect("]", f"separate types by `,` and end them with `]`: {_TYPES_HINT}")
        return This(at=scanner.span(opening.start, scanner.last.end))

    def restriction(self) -> AllowedSubject:
        scanner = self.scanner
        name = self.name("a type", _TYPES_HINT)
        relation, wildcard, condition = "", False, ""
        if scanner.accept("#"):
            relation = self.name("a relation after `#`", _TYPES_HINT).text
        elif scanner.accept(":"):
            scanner.expect("*", "write `user:*` for every user")
            wildcard = True
        if scanner.accept("with"):
            condition = self.name("a condition after `with`", _TYPES_HINT).text
        at = scanner.span(name.start, scanner.last.end)
        return AllowedSubject(name.text, relation, wildcard, condition, at=at)

    def unknown_keyword(self) -> SchemaError:
        scanner = self.scanner
        if scanner.at("or", "and", "but", "from"):
            return scanner.unexpected("`define` or `type`", _DEFINE_HINT)
        hint = did_you_mean(scanner.token.text, ("type", "define", "relations", "condition", "extend"))
        return scanner.unexpected("`type`, `define` or `condition`", hint)


def render(schema: Schema) -> str:
    """A valid schema as text that parses back to it; `Invalid` naming a construct that the language lacks."""
    require(schema)
    parts = ["model\n  schema 1.1", *map(_type, schema.namespaces), *map(_condition, schema.conditions)]
    return "\n\n".join(parts) + "\n"


def _type(namespace: NamespaceConfig) -> str:
    lines = [_comment(namespace.doc) + f"type {_plain(namespace.name)}"]
    if namespace.relations:
        lines.append("  relations")
    lines += [_comment(item.doc, "    ") + f"    {_relation(item)}" for item in namespace.relations]
    return "\n".join(lines)


def _relation(relation: Relation) -> str:
    for subject in relation.allowed or ():
        for part in (subject.namespace, subject.relation, subject.condition):
            _ = part and _plain(part)
    if sum(isinstance(node, This) for node in walk(relation.rewrite)) > 1:
        hint = "factor the relation's own tuples out into one place"
        raise Invalid(f"fga has the types of a relation once; `{relation.name}` uses them twice", hint=hint)
    types = f"[{', '.join(map(describe, relation.allowed or ()))}]"
    return f"define {_plain(relation.name)}: {_expression(relation.rewrite, types)}"


def _expression(node: Rewrite, types: str) -> str:
    match node:
        case Union(parts):
            return " or ".join(_part(part, types) for part in parts)
        case Intersection(parts):
            return " and ".join(_part(part, types) for part in parts)
        case Exclusion(base, subtract):
            return f"{_part(base, types)} but not {_part(subtract, types)}"
        case ComputedUserset(name):
            return _plain(name)
        case TupleToUserset(tupleset, computed):
            return f"{_plain(computed)} from {_plain(tupleset)}"
        case This():
            return types
        case Nil() | Self():
            raise AssertionError(node)


def _part(node: Rewrite, types: str) -> str:
    text = _expression(node, types)
    return f"({text})" if isinstance(node, Union | Intersection | Exclusion) else text


def _condition(condition: Condition) -> str:
    parameters = ", ".join(f"{_plain(item.name)}: {item.type}" for item in condition.parameters)
    head = f"{_comment(condition.doc)}condition {_plain(condition.name)}({parameters})"
    return f"{head} {{\n  {condition.expression}\n}}"


def _plain(name: str) -> str:
    if name in _RESERVED:
        raise Invalid(f"fga cannot write the name `{name}`", hint="it is a keyword: use another name")
    return name


def _comment(doc: str, indent: str = "") -> str:
    return "".join(f"{indent}# {line}".rstrip() + "\n" for line in doc.split("\n")) if doc else ""
