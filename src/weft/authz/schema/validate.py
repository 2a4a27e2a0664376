"""Type checking of the model: every name resolves, every arrow leads somewhere, nothing defines itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from weft.authz.schema.errors import Problem, SchemaError
from weft.authz.schema.model import (
    AllowedSubject,
    ComputedUserset,
    Condition,
    Intersection,
    NamespaceConfig,
    Relation,
    Rewrite,
    Schema,
    Span,
    This,
    TupleToUserset,
    Union,
    children,
    did_you_mean,
    walk,
)
from weft.authz.tuples import checked_name
from weft.core.errors import Invalid, LimitExceeded
from weft.core.limits import MAX_EXPRESSION_DEPTH


def check_schema(schema: Schema, source: str = "") -> Schema:
    """The schema itself, or `SchemaError` with every problem in it."""
    if problems := validate(schema):
        raise SchemaError(problems, source)
    return schema


def validate(schema: Schema) -> list[Problem]:
    """Every problem of the schema, in the order of its text."""
    found = [
        *_names(schema),
        *(p for n in schema.namespaces for p in _namespace(schema, n)),
        *_conditions(schema),
    ]
    return sorted(found, key=lambda problem: problem.at or Span(0, 0))


def _names(schema: Schema) -> Iterator[Problem]:
    yield from _distinct("namespace", schema.namespaces)
    yield from _distinct("condition", schema.conditions)
    for namespace in schema.namespaces:
        yield from _distinct(f"relation of `{namespace.name}`", namespace.relations)


def _distinct(what: str, named: Iterable[NamespaceConfig | Relation | Condition]) -> Iterator[Problem]:
    seen: Counter[str] = Counter()
    for item in named:
        try:
            checked_name(item.name)
        except (Invalid, LimitExceeded) as error:
            yield Problem(error.message, error.hint, item.at)
        seen[item.name] += 1
        if seen[item.name] == 2:
            yield Problem(
                f"{what} `{item.name}` is defined twice", "remove one or give it another name", item.at
            )


def _namespace(schema: Schema, namespace: NamespaceConfig) -> Iterator[Problem]:
    for relation in namespace.relations:
        yield from _allowed(schema, relation)
        if too_deep(relation.rewrite):
            yield Problem(
                f"`{relation.name}` nests more than {MAX_EXPRESSION_DEPTH} levels deep",
                "name a part of it as a permission of its own",
                relation.at,
            )
            continue
        for node in walk(relation.rewrite):
            yield from _node(schema, namespace, node)
    yield from _cycles(namespace)


def _allowed(schema: Schema, relation: Relation) -> Iterator[Problem]:
    if relation.is_permission and relation.allowed:
        message = f"`{relation.name}` has allowed types and never uses its own tuples"
        yield Problem(
            message, "remove the types, or add the relation's own tuples to its rewrite", relation.at
        )
    if not relation.is_permission and relation.allowed == ():
        yield Problem(
            f"relation `{relation.name}` allows no types", "say which, for example `user`", relation.at
        )
    seen: set[AllowedSubject] = set()
    for subject in relation.allowed or ():
        if subject in seen:
            yield Problem(f"`{describe(subject)}` stands twice", "remove one", subject.at)
        seen.add(subject)
        yield from _subject(schema, subject)


def _subject(schema: Schema, subject: AllowedSubject) -> Iterator[Problem]:
    config = schema.by_name.get(subject.namespace)
    if config is None:
        hint = did_you_mean(subject.namespace, schema.by_name)
        yield Problem(f"namespace `{subject.namespace}` is not defined", hint, subject.at)
    elif subject.relation and subject.relation not in config.by_name:
        message = f"namespace `{subject.namespace}` has no relation `{subject.relation}`"
        yield Problem(message, did_you_mean(subject.relation, config.by_name), subject.at)
    if subject.wildcard and subject.relation:
        yield Problem(f"`{describe(subject)}` is both a wildcard and a userset", "choose one", subject.at)
    if subject.condition and subject.condition not in schema.conditions_by_name:
        hint = did_you_mean(subject.condition, schema.conditions_by_name)
        yield Problem(f"condition `{subject.condition}` is not defined", hint, subject.at)


def _node(schema: Schema, namespace: NamespaceConfig, node: Rewrite) -> Iterator[Problem]:
    match node:
        case ComputedUserset(name) if name not in namespace.by_name:
            message = f"namespace `{namespace.name}` has no relation `{name}`"
            yield Problem(message, did_you_mean(name, namespace.by_name), node.at)
        case TupleToUserset():
            yield from _arrow(schema, namespace, node)
        case Union(parts) | Intersection(parts) if len(parts) < 2:
            yield Problem("a union or intersection has fewer than two parts", "write the part alone", node.at)


def _arrow(schema: Schema, namespace: NamespaceConfig, arrow: TupleToUserset) -> Iterator[Problem]:
    name = arrow.tupleset
    tupleset = namespace.by_name.get(name)
    if tupleset is None:
        message = f"namespace `{namespace.name}` has no relation `{name}`"
        yield Problem(message, did_you_mean(name, namespace.by_name), arrow.at)
        return
    if not isinstance(tupleset.rewrite, This):
        hint = "an arrow follows tuples: put a relation without a rewrite on its left"
        yield Problem(f"`{name}` on the left of an arrow is not a plain relation", hint, arrow.at)
        return
    if tupleset.allowed is None:
        return
    if any(subject.wildcard for subject in tupleset.allowed):
        hint = f"remove the wildcard from `{name}`: an arrow cannot follow every object there is"
        yield Problem(f"`{name}` on the left of an arrow allows a wildcard", hint, arrow.at)
    targets = [schema.by_name[s.namespace] for s in tupleset.allowed if s.namespace in schema.by_name]
    if targets and not any(arrow.computed in target.by_name for target in targets):
        hint = did_you_mean(arrow.computed, {known for target in targets for known in target.by_name})
        names = ", ".join(f"`{target.name}`" for target in dict.fromkeys(targets))
        yield Problem(f"`{name}` leads to {names}, which has no relation `{arrow.computed}`", hint, arrow.at)


def _cycles(namespace: NamespaceConfig) -> Iterator[Problem]:
    """Relations that are computed from themselves on the same object, each cycle once."""
    edges = {r.name: _computed(r.rewrite) for r in namespace.relations}
    state: dict[str, int] = {}
    for relation in namespace.relations:
        path: list[str] = []
        stack: list[tuple[str, Iterator[str]]] = [("", iter([relation.name]))]
        while stack:
            name = next(stack[-1][1], None)
            if name is None:
                done, _ = stack.pop()
                state[done] = 2
                if path:
                    path.pop()
            elif state.get(name) == 1:
                loop = " → ".join(f"`{step}`" for step in [*path[path.index(name) :], name])
                hint = "take the reference to itself out: it adds nobody"
                yield Problem(f"{loop} is computed from itself", hint, namespace.by_name[path[-1]].at)
            elif name in edges and name not in state:
                state[name] = 1
                path.append(name)
                stack.append((name, iter(edges[name])))


def _computed(rewrite: Rewrite) -> list[str]:
    return [node.relation for node in walk(rewrite) if isinstance(node, ComputedUserset)]


def _conditions(schema: Schema) -> Iterator[Problem]:
    if not schema.conditions:
        return
    from weft.authz.conditions import problems

    for condition in schema.conditions:
        yield from problems(condition)


def too_deep(rewrite: Rewrite) -> bool:
    """Whether an expression nests deeper than `MAX_EXPRESSION_DEPTH`."""
    level: list[Rewrite] = [rewrite]
    for _ in range(MAX_EXPRESSION_DEPTH):
        level = [part for node in level for part in children(node)]
    return bool(level)


def describe(subject: AllowedSubject) -> str:
    """An allowed subject as both SpiceDB and OpenFGA write it."""
    text = subject.namespace
    if subject.relation:
        text += f"#{subject.relation}"
    if subject.wildcard:
        text += ":*"
    traits = [name for name in (subject.condition, "expiration" if subject.expiration else "") if name]
    return f"{text} with {' and '.join(traits)}" if traits else text
