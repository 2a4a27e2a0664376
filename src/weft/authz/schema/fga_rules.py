"""What OpenFGA's model does not have, in either of its forms."""

from __future__ import annotations

from collections.abc import Iterator

from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.model import (
    NamespaceConfig,
    Nil,
    Relation,
    Schema,
    Self,
    TupleToUserset,
    ValueType,
    walk,
)
from weft.core.errors import Invalid


def refuse_problems(schema: Schema, source: str) -> None:
    """`SchemaError` for what a text says and OpenFGA does not allow."""
    if found := list(_problems(schema)):
        raise SchemaError(found, source)


def require(schema: Schema) -> None:
    """`Invalid` naming the first construct of a model that OpenFGA lacks."""
    for problem in _problems(schema):
        raise Invalid(problem.message, hint=problem.hint)


def _problems(schema: Schema) -> Iterator[Problem]:
    for namespace in schema.namespaces:
        for relation in namespace.relations:
            yield from _relation(namespace, relation)
    for condition in schema.conditions:
        for parameter in condition.parameters:
            if _holds_bytes(parameter.type):
                message = (
                    f"fga has no parameter type `bytes`, as `{parameter.name}` of `{condition.name}` has"
                )
                yield Problem(message, "use a string", parameter.at)


def _relation(namespace: NamespaceConfig, relation: Relation) -> Iterator[Problem]:
    name = f"`{relation.name}` of `{namespace.name}`"
    if relation.allowed is None:
        yield Problem(f"fga has no relation without types, as {name} is", "give it types", relation.at)
    for subject in relation.allowed or ():
        if subject.expiration:
            hint = "use a condition over the current time"
            yield Problem(f"fga has no expiration, as {name} allows", hint, subject.at)
    for node in walk(relation.rewrite):
        match node:
            case Nil():
                yield Problem(f"fga has no `nil`, as in {name}", "leave the part out", node.at)
            case Self():
                yield Problem(
                    f"fga has no `self`, as in {name}", "write a tuple from object to itself", node.at
                )
            case TupleToUserset(all=True):
                yield Problem(
                    f"fga has no arrow with `all`, as in {name}", "use `from`, which is any", node.at
                )
            case TupleToUserset(tupleset):
                found = namespace.by_name.get(tupleset)
                if found and any(subject.relation for subject in found.allowed or ()):
                    hint = f"let `{tupleset}` allow objects only"
                    yield Problem(f"`{tupleset}` after `from` in {name} allows usersets", hint, node.at)


def _holds_bytes(type_: ValueType) -> bool:
    return type_.name == "bytes" or (type_.of is not None and _holds_bytes(type_.of))
