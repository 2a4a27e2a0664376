"""Zanzibar's namespace configurations in protocol buffer text, as the paper shows them (section 2.3.1).

Each top-level `name` begins a namespace. Beyond the paper, so that nothing is lost between languages, a
relation may list the users that it allows, and conditions stand at the top level:

    name: "doc"
    relation {
      name: "viewer"
      allowed { namespace: "group" relation: "member" condition: "late" expiration: true }
      allowed { namespace: "user" wildcard: true }
    }
    condition { name: "late" parameter { name: "hour" type: "int" } expression: "hour > 20" }

A relation without a rewrite has its own tuples only; one without `allowed` admits any user.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.model import (
    AllowedSubject,
    ComputedUserset,
    Condition,
    Exclusion,
    Intersection,
    NamespaceConfig,
    Nil,
    Parameter,
    Relation,
    Rewrite,
    Schema,
    Self,
    Span,
    This,
    TupleToUserset,
    Union,
    ValueType,
    did_you_mean,
    walk,
)
from weft.authz.schema.scanner import Scanner
from weft.core.errors import Invalid
from weft.core.limits import MAX_EXPRESSION_DEPTH

# Each level of a rewrite takes up to three levels of braces.
_MAX_DEPTH: Final = 4 * MAX_EXPRESSION_DEPTH + 16
_TOKENS: Final = re.compile(
    r"(?P<space>\s+)|(?P<comment>\#[^\n]*)"
    r"""|(?P<string>"(?:[^"\\\n]|\\[^\n])*"|'(?:[^'\\\n]|\\[^\n])*')"""
    r"|(?P<name>\$?[A-Za-z_][A-Za-z0-9_]*)|(?P<sign>[{}<>:,;])"
)
_ESCAPE: Final = re.compile(r"\\(.)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_TYPE: Final = re.compile(r"(list|map)<(.*)>", re.DOTALL)
_REWRITES: Final = ("union", "intersection", "exclusion")
_CHILDREN: Final = ("_this", "computed_userset", "tuple_to_userset", "userset_rewrite")


class _Field(NamedTuple):
    """`name: "value"` or `name { … }`."""

    name: str
    value: str | tuple[_Field, ...]
    at: Span
    """Of the name."""
    quoted: bool = False


def parse(source: str) -> Schema:
    """The model of a schema; names are not resolved yet. Raises `SchemaError`."""
    return _Reader(source).schema()


class _Reader:
    def __init__(self, source: str) -> None:
        self.scanner = Scanner(source, _TOKENS, _MAX_DEPTH)

    def schema(self) -> Schema:
        scanner = self.scanner
        namespaces: list[tuple[_Field, list[Relation], str]] = []
        conditions: list[Condition] = []
        while scanner.token.kind != "end":
            doc = scanner.doc
            item = self.field()
            if item.name == "name":
                namespaces.append((item, [], doc))
            elif item.name == "condition":
                conditions.append(self.condition(item))
            elif item.name != "relation":
                raise self.unknown(item, ("name", "relation", "condition"))
            elif not namespaces:
                raise self.error(
                    item, "a relation before the name of its namespace", 'write `name: "doc"` first'
                )
            else:
                namespaces[-1][1].append(self.relation(item, doc))
        configs = tuple(
            NamespaceConfig(self.text(name), tuple(relations), doc=doc, at=name.at)
            for name, relations, doc in namespaces
        )
        return Schema(configs, tuple(conditions))

    def field(self) -> _Field:
        scanner = self.scanner
        name = scanner.expect_name("a field", 'write `relation { name: "viewer" }`')
        at = scanner.span_of(name)
        colon = scanner.accept(":")
        if scanner.at("{"):
            found = _Field(name.text, self.block(), at)
        elif not colon:
            raise scanner.unexpected(f"`:` or `{{` after `{name.text}`", f'write `{name.text}: "…"`')
        elif scanner.token.kind == "string":
            found = _Field(name.text, self.string(), at, quoted=True)
        else:
            value = scanner.expect_name("a value", f'write `{name.text}: "…"`')
            found = _Field(name.text, value.text, at)
        _ = scanner.accept(",") or scanner.accept(";")
        return found

    def block(self) -> tuple[_Field, ...]:
        scanner = self.scanner
        opening = scanner.advance()
        scanner.deeper()
        fields = []
        while not scanner.accept("}"):
            if scanner.token.kind == "end":
                span = scanner.span_of(opening)
                raise scanner.error("this `{` is never closed", "close it with `}`", span)
            fields.append(self.field())
        scanner.shallower()
        return tuple(fields)

    def string(self) -> str:
        text = ""
        while self.scanner.token.kind == "string":
            raw = self.scanner.token.text[1:-1]
            for escape in _ESCAPE.finditer(raw):
                if escape[1] not in _ESCAPES:
                    hint = "known are \\n, \\r, \\t, \\\\ and quotes"
                    raise self.scanner.error(f"unknown escape `{escape[0]}`", hint)
            text += _ESCAPE.sub(lambda match: _ESCAPES[match[1]], raw)
            self.scanner.advance()
        return text

    def relation(self, item: _Field, doc: str) -> Relation:
        fields = self.fields(item, ("name", "userset_rewrite"), ("allowed",))
        name = self.needed(item, fields, "name")
        at = name.at
        rewrites = fields.get("userset_rewrite")
        rewrite: Rewrite = self.rewrite(rewrites[0]) if rewrites else This(at=at)
        allowed = tuple(self.allowed(entry) for entry in fields.get("allowed", ()))
        typed = bool(allowed) or not any(isinstance(node, This) for node in walk(rewrite))
        return Relation(self.text(name), rewrite, allowed if typed else None, doc=doc, at=at)

    def allowed(self, item: _Field) -> AllowedSubject:
        fields = self.fields(item, ("namespace", "relation", "wildcard", "condition", "expiration"))
        texts = {name: self.text(fields[name][0]) for name in ("relation", "condition") if name in fields}
        return AllowedSubject(
            self.text(self.needed(item, fields, "namespace")),
            texts.get("relation", ""),
            "wildcard" in fields and self.flag(fields["wildcard"][0]),
            texts.get("condition", ""),
            "expiration" in fields and self.flag(fields["expiration"][0]),
            at=item.at,
        )

    def rewrite(self, item: _Field) -> Rewrite:
        inner = self.only(item, _REWRITES)
        parts = [self.child(child) for child in self.fields(inner, (), ("child",)).get("child", ())]
        if not parts:
            raise self.error(inner, f"`{inner.name}` has no child", "write `child { _this {} }`")
        if inner.name == "exclusion":
            node = parts[0]
            for part in parts[1:]:
                node = Exclusion(node, part, at=inner.at)
            return node
        if len(parts) == 1:
            return parts[0]
        kind = Union if inner.name == "union" else Intersection
        return kind(tuple(parts), at=inner.at)

    def child(self, item: _Field) -> Rewrite:
        inner = self.only(item, _CHILDREN)
        match inner.name:
            case "_this":
                self.fields(inner, ())
                return This(at=inner.at)
            case "computed_userset":
                return ComputedUserset(self.target(inner), at=inner.at)
            case "tuple_to_userset":
                return self.arrow(inner)
        return self.rewrite(inner)

    def arrow(self, item: _Field) -> Rewrite:
        fields = self.fields(item, ("tupleset", "computed_userset"))
        tupleset = self.target(self.needed(item, fields, "tupleset"))
        computed = self.needed(item, fields, "computed_userset")
        inner = self.fields(computed, ("object", "relation"))
        if (place := inner.get("object")) and place[0].value != "$TUPLE_USERSET_OBJECT":
            raise self.error(place[0], "unknown object", "write `object: $TUPLE_USERSET_OBJECT`")
        relation = self.text(self.needed(computed, inner, "relation"))
        return TupleToUserset(tupleset, relation, at=item.at)

    def target(self, item: _Field) -> str:
        return self.text(self.needed(item, self.fields(item, ("relation",)), "relation"))

    def condition(self, item: _Field) -> Condition:
        fields = self.fields(item, ("name", "expression"), ("parameter",))
        name = self.needed(item, fields, "name")
        return Condition(
            self.text(name),
            tuple(self.parameter(entry) for entry in fields.get("parameter", ())),
            self.text(self.needed(item, fields, "expression")).strip(),
            at=name.at,
        )

    def parameter(self, item: _Field) -> Parameter:
        fields = self.fields(item, ("name", "type"))
        name, type_ = self.needed(item, fields, "name"), self.needed(item, fields, "type")
        return Parameter(self.text(name), _value_type(self.text(type_)), at=name.at)

    def fields(
        self, item: _Field, single: tuple[str, ...], repeated: tuple[str, ...] = ()
    ) -> dict[str, list[_Field]]:
        """The fields of a block by name; unknown ones and single ones that stand twice are errors."""
        if isinstance(item.value, str):
            raise self.error(item, f"`{item.name}` has a value", f"write `{item.name} {{ … }}`")
        found: dict[str, list[_Field]] = {}
        for field in item.value:
            if field.name not in single + repeated:
                raise self.unknown(field, single + repeated)
            if field.name in found and field.name in single:
                raise self.error(field, f"`{field.name}` stands twice", "remove one")
            found.setdefault(field.name, []).append(field)
        return found

    def only(self, item: _Field, known: tuple[str, ...]) -> _Field:
        found = [field for fields in self.fields(item, known).values() for field in fields]
        if len(found) != 1:
            hint = f"give it one of {', '.join(f'`{name}`' for name in known)}"
            raise self.error(item, f"`{item.name}` has {len(found)} parts", hint)
        return found[0]

    def needed(self, item: _Field, fields: dict[str, list[_Field]], name: str) -> _Field:
        if name in fields:
            return fields[name][0]
        raise self.error(item, f"`{item.name}` has no `{name}`", f'add `{name}: "…"`')

    def text(self, field: _Field) -> str:
        if isinstance(field.value, str) and field.quoted:
            return field.value
        raise self.error(field, f"`{field.name}` is not a string", f'write `{field.name}: "…"`')

    def flag(self, field: _Field) -> bool:
        if field.value in ("true", "false") and not field.quoted:
            return field.value == "true"
        raise self.error(field, f"`{field.name}` is neither true nor false", f"write `{field.name}: true`")

    def unknown(self, field: _Field, known: tuple[str, ...]) -> SchemaError:
        return self.error(field, f"unknown field `{field.name}`", did_you_mean(field.name, known))

    def error(self, field: _Field, message: str, hint: str) -> SchemaError:
        return SchemaError([Problem(message, hint, field.at)], self.scanner.source)


def _value_type(text: str) -> ValueType:
    names: list[str] = []
    while (match := _TYPE.fullmatch(text)) and len(names) <= MAX_EXPRESSION_DEPTH:
        names.append(match[1])
        text = match[2]
    type_ = ValueType(text)
    for name in reversed(names):
        type_ = ValueType(name, type_)
    return type_


def render(schema: Schema) -> str:
    """A valid schema as text that parses back to it; `Invalid` naming a construct that the language lacks."""
    lines: list[str] = []
    for namespace in schema.namespaces:
        lines += [*_comment(namespace.doc), f"name: {_quoted(namespace.name)}"]
        for relation in namespace.relations:
            lines += [*_comment(relation.doc), "relation {", *_indented(_relation(relation)), "}"]
        lines.append("")
    for condition in schema.conditions:
        lines += [*_comment(condition.doc), "condition {", *_indented(_condition(condition)), "}", ""]
    return "\n".join(lines)


def _relation(relation: Relation) -> Iterator[str]:
    yield f"name: {_quoted(relation.name)}"
    for subject in relation.allowed or ():
        parts = [f"namespace: {_quoted(subject.namespace)}"]
        parts += [f"relation: {_quoted(subject.relation)}"] if subject.relation else []
        parts += ["wildcard: true"] if subject.wildcard else []
        parts += [f"condition: {_quoted(subject.condition)}"] if subject.condition else []
        parts += ["expiration: true"] if subject.expiration else []
        yield f"allowed {{ {' '.join(parts)} }}"
    if not isinstance(relation.rewrite, This):
        yield from _rewrite(relation.rewrite, relation.name)


def _rewrite(node: Rewrite, owner: str) -> Iterator[str]:
    match node:
        case Union(parts):
            kind = "union"
        case Intersection(parts):
            kind = "intersection"
        case Exclusion(base, subtract):
            kind, parts = "exclusion", (base, subtract)
        case _:
            kind, parts = "union", (node,)
    yield "userset_rewrite {"
    yield f"  {kind} {{"
    for part in parts:
        yield from _indented(_child(part, owner), "    ")
    yield "  }"
    yield "}"


def _child(node: Rewrite, owner: str) -> Iterator[str]:
    match node:
        case This():
            yield "child { _this {} }"
        case ComputedUserset(name):
            yield f"child {{ computed_userset {{ relation: {_quoted(name)} }} }}"
        case TupleToUserset(tupleset, computed, every):
            if every:
                hint = "use the arrow with `any`"
                raise Invalid(f"zanzibar has no arrow with `all`, as in `{owner}`", hint=hint)
            yield "child {"
            yield "  tuple_to_userset {"
            yield f"    tupleset {{ relation: {_quoted(tupleset)} }}"
            yield f"    computed_userset {{ object: $TUPLE_USERSET_OBJECT relation: {_quoted(computed)} }}"
            yield "  }"
            yield "}"
        case Nil():
            raise Invalid(f"zanzibar has no `nil`, as in `{owner}`", hint="leave the part out")
        case Self():
            hint = "write a tuple from the object to itself"
            raise Invalid(f"zanzibar has no `self`, as in `{owner}`", hint=hint)
        case _:
            yield "child {"
            yield from _indented(_rewrite(node, owner))
            yield "}"


def _condition(condition: Condition) -> Iterator[str]:
    yield f"name: {_quoted(condition.name)}"
    for item in condition.parameters:
        yield f"parameter {{ name: {_quoted(item.name)} type: {_quoted(str(item.type))} }}"
    yield f"expression: {_quoted(condition.expression)}"


def _indented(lines: Iterator[str], indent: str = "  ") -> Iterator[str]:
    return (indent + line for line in lines)


def _quoted(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _comment(doc: str) -> list[str]:
    return [f"# {line}".rstrip() for line in doc.split("\n")] if doc else []
