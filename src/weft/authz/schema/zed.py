"""SpiceDB's schema language: definitions, relations, permissions and caveats, read and written.

Source: the public documentation of SpiceDB's schema language. `+` binds tightest, then `&`, then `-`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from weft.authz.schema.declarations import DeclarationParser
from weft.authz.schema.errors import SchemaError
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
from weft.authz.schema.scanner import Scanner, Token
from weft.authz.schema.validate import describe
from weft.core.errors import Invalid

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]*(?:/[A-Za-z_][A-Za-z0-9_]*)*"
_TOKENS: Final = re.compile(
    rf"(?P<space>\s+)|(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<name>{_NAME})"
    r"|(?P<sign>->|\.\.\.|[{}()<>:=|#*+&.,;-])",
    re.DOTALL,
)
_KEYWORDS: Final = frozenset({"use", "caveat", "definition", "relation", "permission", "nil", "with"})
_FEATURES: Final = ("expiration", "self")
_RELATION_HINT: Final = "write `relation viewer: user | group#member`"
_PERMISSION_HINT: Final = "write `permission view = viewer + parent->view`"
_CAVEAT_HINT: Final = "write `caveat name(limit int) { limit > 3 }`"


def parse(source: str) -> Schema:
    """The model of a schema; names are not resolved yet. Raises `SchemaError`."""
    return _Parser(source).schema()


class _Parser(DeclarationParser):
    def __init__(self, source: str) -> None:
        super().__init__(Scanner(source, _TOKENS), _KEYWORDS, colon=False)
        self.features: set[str] = set()

    def schema(self) -> Schema:
        scanner = self.scanner
        namespaces: list[NamespaceConfig] = []
        conditions: list[Condition] = []
        while scanner.token.kind != "end":
            if scanner.accept("use"):
                self.features.add(self.feature())
            elif scanner.at("definition"):
                namespaces.append(self.definition())
            elif scanner.at("caveat"):
                conditions.append(self.condition("caveat", _CAVEAT_HINT))
            elif not scanner.accept(";"):
                raise self.unknown_keyword(("definition", "caveat", "use"))
        return Schema(tuple(namespaces), tuple(conditions))

    def feature(self) -> str:
        token = self.scanner.token
        if token.text not in _FEATURES:
            raise self.scanner.unexpected("a feature", "known are `use expiration` and `use self`")
        return self.scanner.advance().text

    def definition(self) -> NamespaceConfig:
        scanner = self.scanner
        doc = scanner.doc
        scanner.advance()
        name = self.name("a name of a definition", "write `definition document { … }`")
        opening = scanner.expect("{", f"write `definition {name.text} {{ … }}`")
        relations: list[Relation] = []
        while not scanner.accept("}"):
            if scanner.at("relation"):
                relations.append(self.relation())
            elif scanner.at("permission"):
                relations.append(self.permission())
            elif scanner.token.kind == "end" or scanner.at("definition", "caveat"):
                span = scanner.span_of(opening)
                raise scanner.error(f"definition `{name.text}` is never closed", "end it with `}`", span)
            elif not scanner.accept(";"):
                raise self.unknown_keyword(("relation", "permission"))
        return NamespaceConfig(name.text, tuple(relations), doc=doc, at=scanner.span_of(name))

    def relation(self) -> Relation:
        scanner = self.scanner
        doc = scanner.doc
        scanner.advance()
        name = self.name("a name of a relation", _RELATION_HINT)
        if scanner.at("="):
            raise scanner.error(
                f"relation `{name.text}` is given an expression",
                f"write `permission {name.text} = …`, or its types: `relation {name.text}: user`",
            )
        scanner.expect(":", _RELATION_HINT)
        allowed = [self.allowed()]
        while scanner.accept("|"):
            allowed.append(self.allowed())
        if scanner.at("+", "&", "-", "->"):
            hint = "separate types by `|`; only permissions have expressions"
            raise scanner.error(f"`{scanner.token.text}` between the types of a relation", hint)
        at = scanner.span_of(name)
        return Relation(name.text, This(at=at), tuple(allowed), doc=doc, at=at)

    def allowed(self) -> AllowedSubject:
        scanner = self.scanner
        start = self.name("a type", _RELATION_HINT)
        relation, wildcard = "", False
        if scanner.accept("#"):
            if not scanner.accept("..."):
                relation = self.name("a relation after `#`", "write `group#member`").text
        elif scanner.accept(":"):
            scanner.expect("*", "write `user:*` for every user")
            wildcard = True
        condition, expiration = self.traits() if scanner.accept("with") else ("", False)
        at = scanner.span(start.start, scanner.last.end)
        return AllowedSubject(start.text, relation, wildcard, condition, expiration, at=at)

    def traits(self) -> tuple[str, bool]:
        hint = (
            "write `user with caveat_name`, `user with expiration` or `user with caveat_name and expiration`"
        )
        first = self.name("a caveat or `expiration`", hint)
        if first.text == "expiration":
            self.need("expiration", first)
            return "", True
        if not self.scanner.accept("and"):
            return first.text, False
        self.need("expiration", self.scanner.expect("expiration", hint))
        return first.text, True

    def need(self, feature: str, token: Token) -> None:
        if feature not in self.features:
            span = self.scanner.span_of(token)
            message = f"`{feature}` is used without being switched on"
            raise self.scanner.error(message, f"add `use {feature}` at the top of the schema", span)

    def permission(self) -> Relation:
        scanner = self.scanner
        doc = scanner.doc
        scanner.advance()
        name = self.name("a name of a permission", _PERMISSION_HINT)
        if scanner.at(":"):
            raise scanner.error(
                f"permission `{name.text}` is given types",
                f"write `permission {name.text} = …`, or `relation {name.text}: user`",
            )
        scanner.expect("=", _PERMISSION_HINT)
        rewrite = self.exclusion()
        if scanner.at("|"):
            raise scanner.error("`|` in the expression of a permission", "write `+` for a union")
        return Relation(name.text, rewrite, doc=doc, at=scanner.span_of(name))

    def exclusion(self) -> Rewrite:
        node = self.chain("&", Intersection, lambda: self.chain("+", Union, self.operand))
        while self.scanner.accept("-"):
            right = self.chain("&", Intersection, lambda: self.chain("+", Union, self.operand))
            node = Exclusion(node, right, at=node.at)
        return node

    def chain(
        self, sign: str, kind: type[Union] | type[Intersection], operand: Callable[[], Rewrite]
    ) -> Rewrite:
        parts = [operand()]
        while self.scanner.accept(sign):
            parts.append(operand())
        return kind(tuple(parts), at=parts[0].at) if len(parts) > 1 else parts[0]

    def operand(self) -> Rewrite:
        scanner = self.scanner
        if scanner.at("("):
            return self.parenthesised()
        if scanner.at("nil"):
            return Nil(at=scanner.span_of(scanner.advance()))
        name = self.name("a relation or permission", _PERMISSION_HINT)
        if name.text == "self" and "self" in self.features:
            return Self(at=scanner.span_of(name))
        if scanner.accept("->"):
            computed = self.name("a relation or permission after `->`", "write `parent->view`")
            return self.arrow(name, computed, every=False)
        if scanner.accept("."):
            function = self.name("`any` or `all`", "write `parent.any(view)` or `parent.all(view)`")
            if function.text not in ("any", "all"):
                span = scanner.span_of(function)
                hint = "write `parent.any(view)` or `parent.all(view)`"
                raise scanner.error(f"unknown function `{function.text}`", hint, span)
            scanner.expect("(", f"write `{name.text}.{function.text}(view)`")
            computed = self.name("a relation or permission", f"write `{name.text}.{function.text}(view)`")
            scanner.expect(")", f"write `{name.text}.{function.text}({computed.text})`")
            return self.arrow(name, computed, every=function.text == "all")
        return ComputedUserset(name.text, at=scanner.span_of(name))

    def parenthesised(self) -> Rewrite:
        scanner = self.scanner
        opening = scanner.advance()
        scanner.deeper()
        node = self.exclusion()
        scanner.shallower()
        if not scanner.accept(")"):
            hint = "close it with `)`"
            raise scanner.error("this `(` is never closed", hint, scanner.span_of(opening))
        return node

    def arrow(self, tupleset: Token, computed: Token, *, every: bool) -> Rewrite:
        if self.scanner.at("->", "."):
            hint = (
                f"give `{tupleset.text}->{computed.text}` a name of its own as a permission of the next type"
            )
            raise self.scanner.error("an arrow follows an arrow", hint)
        at = self.scanner.span(tupleset.start, computed.end)
        return TupleToUserset(tupleset.text, computed.text, every, at=at)

    def unknown_keyword(self, known: tuple[str, ...]) -> SchemaError:
        token = self.scanner.token
        if token.text == "}":
            return self.scanner.error("`}` closes nothing", "remove it")
        hint = did_you_mean(token.text, known)
        return self.scanner.unexpected(" or ".join(f"`{word}`" for word in known), hint)


def render(schema: Schema) -> str:
    """A valid schema as text that parses back to it; `Invalid` naming a construct that the language lacks."""
    parts = [f"use {feature}" for feature in _used(schema)]
    parts += [_caveat(condition) for condition in schema.conditions]
    parts += [_definition(namespace) for namespace in schema.namespaces]
    return "\n\n".join(parts) + "\n" if parts else ""


def _used(schema: Schema) -> Iterator[str]:
    relations = [relation for namespace in schema.namespaces for relation in namespace.relations]
    if any(subject.expiration for relation in relations for subject in relation.allowed or ()):
        yield "expiration"
    if any(isinstance(node, Self) for relation in relations for node in walk(relation.rewrite)):
        yield "self"


def _caveat(condition: Condition) -> str:
    if condition.name == "expiration":
        raise Invalid("zed cannot name a condition `expiration`", hint="rename the condition")
    parameters = ", ".join(f"{_plain(item.name)} {item.type}" for item in condition.parameters)
    head = f"{_comment(condition.doc)}caveat {_plain(condition.name)}({parameters})"
    return f"{head} {{\n\t{condition.expression}\n}}"


def _definition(namespace: NamespaceConfig) -> str:
    head = f"{_comment(namespace.doc)}definition {_plain(namespace.name)}"
    lines = [_comment(item.doc, "\t") + "\t" + _relation(item) for item in namespace.relations]
    return head + " {\n" + "\n".join(lines) + "\n}" if lines else head + " {}"


def _relation(relation: Relation) -> str:
    name = _plain(relation.name)
    if isinstance(relation.rewrite, This):
        if relation.allowed is None:
            raise Invalid(f"zed has no relation without types, as `{name}` is", hint="give it types")
        for subject in relation.allowed:
            for part in (subject.namespace, subject.relation, subject.condition):
                _ = part and _plain(part)
        return f"relation {name}: {' | '.join(map(describe, relation.allowed))}"
    return f"permission {name} = {_expression(relation.rewrite, relation.name)}"


def _expression(node: Rewrite, owner: str) -> str:
    match node:
        case Union(parts):
            return " + ".join(_part(part, owner) for part in parts)
        case Intersection(parts):
            return " & ".join(_part(part, owner) for part in parts)
        case Exclusion(base, subtract):
            left = _expression(base, owner) if isinstance(base, Exclusion) else _part(base, owner)
            return f"{left} - {_part(subtract, owner)}"
        case ComputedUserset(name):
            if name == "self":
                raise Invalid("zed cannot refer to a relation called `self`", hint="rename the relation")
            return _plain(name)
        case TupleToUserset(tupleset, computed, every):
            arrow = ".all({})" if every else "->{}"
            return _plain(tupleset) + arrow.format(_plain(computed))
        case Nil():
            return "nil"
        case Self():
            return "self"
        case This():
            hint = f"move the tuples to a relation of their own and make `{owner}` a permission over it"
            raise Invalid(f"zed has no `this` inside an expression, as in `{owner}`", hint=hint)


def _part(node: Rewrite, owner: str) -> str:
    text = _expression(node, owner)
    return f"({text})" if isinstance(node, Union | Intersection | Exclusion) else text


def _plain(name: str) -> str:
    if re.fullmatch(_NAME, name) is None or name in _KEYWORDS:
        hint = "use letters, digits and `_`, and no keyword"
        raise Invalid(f"zed cannot write the name `{name}`", hint=hint)
    return name


def _comment(doc: str, indent: str = "") -> str:
    return "".join(f"{indent}// {line}".rstrip() + "\n" for line in doc.split("\n")) if doc else ""
