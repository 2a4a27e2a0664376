"""The JSON form of OpenFGA's models, as its API takes and gives it.

Members are read in snake_case and camelCase, and written as the API writes them. Members that say nothing
about permissions (ids, source files, modules) are passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from weft.authz.schema.errors import SchemaError
from weft.authz.schema.fga_rules import refuse_problems, require
from weft.authz.schema.json_text import Json, camel, parse_json
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
    This,
    TupleToUserset,
    Union,
    ValueType,
    did_you_mean,
)

_TYPE_PREFIX: Final = "TYPE_NAME_"


def parse(source: str) -> Schema:
    """The model of a schema; names are not resolved yet. Raises `SchemaError`."""
    model = parse_json(source)
    version = model.need("schema_version", "the model")
    if version.value not in ("1.1", "1.2"):
        raise version.error("unknown schema version", 'write `"schema_version": "1.1"`')
    definitions = model.need("type_definitions", "the model").list("`type_definitions`")
    conditions = model.get("conditions", "the model")
    found = conditions.object("`conditions`").items() if conditions else ()
    schema = Schema(
        tuple(_type(definition) for definition in definitions),
        tuple(_condition(name, body) for name, body in found),
    )
    refuse_problems(schema, source)
    return schema


def _type(definition: Json) -> NamespaceConfig:
    name = definition.need("type", "a type definition")
    what = f"type `{name.string('the name of a type')}`"
    allowed = _allowed(definition, what)
    relations = definition.get("relations", what)
    made = [
        _relation(relation, body, allowed.pop(relation, ()))
        for relation, body in (relations.object(f"`relations` of {what}").items() if relations else ())
    ]
    for relation, subjects in allowed.items():
        if subjects:
            raise definition.error(
                f"{what} has types for `{relation}`, which is no relation of it",
                did_you_mean(relation, [item.name for item in made]),
            )
    return NamespaceConfig(name.string("the name of a type"), tuple(made), at=name.at)


def _allowed(definition: Json, what: str) -> dict[str, tuple[AllowedSubject, ...]]:
    metadata = definition.get("metadata", what)
    relations = metadata.get("relations", f"`metadata` of {what}") if metadata else None
    if relations is None:
        return {}
    found = {}
    for name, body in relations.object(f"`metadata.relations` of {what}").items():
        types = body.get("directly_related_user_types", f"metadata of `{name}`")
        items = types.list(f"the types of `{name}`") if types else []
        found[name] = tuple(_subject(item) for item in items)
    return found


def _subject(item: Json) -> AllowedSubject:
    relation, condition = item.get("relation", "a type"), item.get("condition", "a type")
    return AllowedSubject(
        item.need("type", "a directly related user type").string("`type`"),
        relation.string("`relation`") if relation else "",
        item.get("wildcard", "a type") is not None,
        condition.string("`condition`") if condition else "",
        at=item.at,
    )


def _relation(name: str, body: Json, allowed: tuple[AllowedSubject, ...]) -> Relation:
    return Relation(name, _rewrite(body, name), allowed, at=body.at)


def _rewrite(body: Json, owner: str) -> Rewrite:
    what = f"the rewrite of `{owner}`"
    kinds = [key for key, value in body.object(what).items() if value.value is not None]
    known: dict[str, Callable[[Json, str], Rewrite]] = {
        "this": lambda inner, _: This(at=inner.at),
        "computed_userset": lambda inner, _: ComputedUserset(_target(inner), at=inner.at),
        "tuple_to_userset": _arrow,
        "union": lambda inner, owner: _children(inner, owner, Union),
        "intersection": lambda inner, owner: _children(inner, owner, Intersection),
        "difference": _difference,
    }
    for name, make in known.items():
        if len(kinds) == 1 and kinds[0] in (name, camel(name)):
            return make(body.object(what)[kinds[0]], owner)
    raise _unknown_kind(body, what, kinds, [camel(name) for name in known])


def _unknown_kind(body: Json, what: str, kinds: list[str], known: list[str]) -> SchemaError:
    if len(kinds) == 1:
        return body.error(f"{what} has the unknown part `{kinds[0]}`", did_you_mean(kinds[0], known))
    return body.error(
        f"{what} has {len(kinds)} parts", f"give it one of {', '.join(f'`{k}`' for k in known)}"
    )


def _target(inner: Json) -> str:
    return inner.need("relation", "a computed userset").string("`relation`")


def _arrow(inner: Json, owner: str) -> Rewrite:
    what = f"the tuple-to-userset of `{owner}`"
    tupleset = _target(inner.need("tupleset", what))
    return TupleToUserset(tupleset, _target(inner.need("computed_userset", what)), at=inner.at)


def _children(inner: Json, owner: str, kind: type[Union] | type[Intersection]) -> Rewrite:
    what = f"a union or intersection of `{owner}`"
    parts = tuple(_rewrite(part, owner) for part in inner.need("child", what).list(f"`child` of {what}"))
    return parts[0] if len(parts) == 1 else kind(parts, at=inner.at)


def _difference(inner: Json, owner: str) -> Rewrite:
    what = f"the difference of `{owner}`"
    base = _rewrite(inner.need("base", what), owner)
    return Exclusion(base, _rewrite(inner.need("subtract", what), owner), at=inner.at)


def _condition(name: str, body: Json) -> Condition:
    what = f"condition `{name}`"
    given = body.get("name", what)
    if given is not None and given.value != name:
        raise given.error(f"{what} calls itself otherwise", f'write `"name": "{name}"`')
    parameters = body.get("parameters", what)
    found = parameters.object(f"`parameters` of {what}").items() if parameters else ()
    return Condition(
        name,
        tuple(Parameter(key, _value_type(value, f"parameter `{key}`"), at=value.at) for key, value in found),
        body.need("expression", what).string(f"the expression of {what}").strip(),
        at=body.at,
    )


def _value_type(body: Json, what: str) -> ValueType:
    name = body.need("type_name", what).string(f"the type of {what}")
    if not name.startswith(_TYPE_PREFIX):
        raise body.error(
            f"{what} has the unknown type `{name}`", f"write `{_TYPE_PREFIX}STRING` and the like"
        )
    generics = body.get("generic_types", what)
    of = [_value_type(item, what) for item in generics.list(f"the types of {what}")] if generics else []
    if len(of) > 1:
        raise body.error(f"{what} has {len(of)} generic types", "give it one")
    return ValueType(name.removeprefix(_TYPE_PREFIX).lower(), of[0] if of else None)


def render(schema: Schema) -> str:
    """A valid schema as JSON that parses back to it; `Invalid` naming a construct that OpenFGA lacks."""
    require(schema)
    model: dict[str, Any] = {
        "schema_version": "1.1",
        "type_definitions": [_type_json(namespace) for namespace in schema.namespaces],
    }
    if schema.conditions:
        model["conditions"] = {item.name: _condition_json(item) for item in schema.conditions}
    return json.dumps(model, indent=2, ensure_ascii=False) + "\n"


def _type_json(namespace: NamespaceConfig) -> dict[str, Any]:
    return {
        "type": namespace.name,
        "relations": {item.name: _rewrite_json(item.rewrite) for item in namespace.relations},
        "metadata": {"relations": {item.name: _metadata_json(item) for item in namespace.relations}}
        if namespace.relations
        else None,
    }


def _metadata_json(relation: Relation) -> dict[str, Any]:
    return {"directly_related_user_types": [_subject_json(item) for item in relation.allowed or ()]}


def _subject_json(subject: AllowedSubject) -> dict[str, Any]:
    found: dict[str, Any] = {"type": subject.namespace}
    if subject.relation:
        found["relation"] = subject.relation
    if subject.wildcard:
        found["wildcard"] = {}
    if subject.condition:
        found["condition"] = subject.condition
    return found


def _rewrite_json(node: Rewrite) -> dict[str, Any]:
    match node:
        case This():
            return {"this": {}}
        case ComputedUserset(name):
            return {"computedUserset": {"relation": name}}
        case TupleToUserset(tupleset, computed):
            return {
                "tupleToUserset": {
                    "tupleset": {"relation": tupleset},
                    "computedUserset": {"relation": computed},
                }
            }
        case Union(parts):
            return {"union": {"child": [_rewrite_json(part) for part in parts]}}
        case Intersection(parts):
            return {"intersection": {"child": [_rewrite_json(part) for part in parts]}}
        case Exclusion(base, subtract):
            return {"difference": {"base": _rewrite_json(base), "subtract": _rewrite_json(subtract)}}
        case Nil() | Self():
            raise AssertionError(node)


def _condition_json(condition: Condition) -> dict[str, Any]:
    return {
        "name": condition.name,
        "expression": condition.expression,
        "parameters": {item.name: _value_type_json(item.type) for item in condition.parameters},
    }


def _value_type_json(type_: ValueType) -> dict[str, Any]:
    found: dict[str, Any] = {"type_name": _TYPE_PREFIX + type_.name.upper()}
    if type_.of is not None:
        found["generic_types"] = [_value_type_json(type_.of)]
    return found
