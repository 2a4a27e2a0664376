"""Hypothesis strategies for authorization: tuples of any shape, valid schemas, conditions and contexts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

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
)
from weft.authz.tuples import WILDCARD, ObjectRef, RelationTuple, TupleCondition, User

NAMESPACES: Final = ("user", "group", "folder", "doc")
RELATIONS: Final = ("member", "parent", "owner", "editor", "viewer", "banned", "view", "edit")
_LAST_US: Final = 253_402_300_799_999_999


class Features(NamedTuple):
    """Which constructs a generated schema may have."""

    this: Literal["alone", "first", "anywhere"] = "anywhere"
    """Where `This` may stand: alone (zed), at most once (fga), or anywhere."""
    nil: bool = True
    self: bool = True
    all: bool = True
    expiration: bool = True
    conditions: bool = True
    untyped: bool = False
    tupleset_usersets: bool = True
    bytes: bool = True


ANY: Final = Features()
BY_LANGUAGE: Final = {
    "zed": Features(this="alone"),
    "fga": Features(
        this="first", nil=False, self=False, all=False, expiration=False, tupleset_usersets=False, bytes=False
    ),
    "zanzibar": Features(nil=False, self=False, all=False, untyped=True),
}


def names() -> SearchStrategy[str]:
    """Names of namespaces and relations."""
    return st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]{0,20}", fullmatch=True)


def object_ids() -> SearchStrategy[str]:
    """Ids as hostile as the data model allows."""
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
    signs = st.text("ab #@[]:*\\\n\r{}\"'é\0", min_size=1, max_size=10)
    return (text | signs).filter(lambda value: value != WILDCARD)


def json_objects() -> SearchStrategy[dict[str, Any]]:
    """Contexts of any shape."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    scalars = (
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
    )
    values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(text, v, max_size=3))
    return st.dictionaries(text, values, max_size=3)


def users() -> SearchStrategy[User]:
    """Objects, usersets and wildcards."""
    relations = st.just("") | names()
    return st.builds(User, names(), object_ids(), relations) | st.builds(User, names(), st.just(WILDCARD))


def relation_tuples() -> SearchStrategy[RelationTuple]:
    """Well-formed tuples of no particular schema."""
    return st.builds(
        RelationTuple,
        st.builds(ObjectRef, names(), object_ids()),
        names(),
        users(),
        st.none() | st.builds(TupleCondition.of, names(), json_objects()),
        st.none() | st.integers(0, _LAST_US),
    )


@st.composite
def schemas(draw: DrawFn, features: Features = ANY) -> Schema:
    """Valid schemas over the namespaces and relations above, as small as Hypothesis can make them."""
    found = (
        draw(st.lists(conditions(features), max_size=2, unique_by=lambda c: c.name))
        if features.conditions
        else []
    )
    relations = {
        namespace: draw(st.lists(st.sampled_from(RELATIONS), unique=True, max_size=1 if index == 0 else 5))
        for index, namespace in enumerate(NAMESPACES)
    }
    plain = {
        (namespace, name): name in ("member", "parent") or index == 0 or draw(st.booleans())
        for namespace, known in relations.items()
        for index, name in enumerate(known)
    }
    subjects = _subjects(relations, [condition.name for condition in found], features)
    configs = []
    for namespace, known in relations.items():
        made: list[Relation] = []
        for name in known:
            if plain[namespace, name]:
                made.append(draw(_plain_relation(name, subjects, features)))
            else:
                made.append(draw(_computed_relation(name, made, relations, subjects, features)))
        configs.append(NamespaceConfig(namespace, tuple(made)))
    return Schema(tuple(configs), tuple(found))


def _subjects(relations: dict[str, list[str]], names_: list[str], features: Features) -> list[AllowedSubject]:
    kinds = [(namespace, "", False) for namespace in relations]
    kinds += [(namespace, "", True) for namespace in relations]
    kinds += [(namespace, name, False) for namespace, known in relations.items() for name in known]
    expirations = [False, True] if features.expiration else [False]
    return [
        AllowedSubject(namespace, relation, wildcard, condition, expiration)
        for namespace, relation, wildcard in kinds
        for condition in ["", *names_]
        for expiration in expirations
    ]


@st.composite
def _plain_relation(draw: DrawFn, name: str, subjects: list[AllowedSubject], features: Features) -> Relation:
    if features.untyped and draw(st.booleans()):
        return Relation(name, This(), None)
    if name == "parent":
        subjects = [s for s in subjects if not s.wildcard and (features.tupleset_usersets or not s.relation)]
    return Relation(name, This(), draw(_allowed(subjects)))


def _allowed(subjects: list[AllowedSubject]) -> SearchStrategy[tuple[AllowedSubject, ...]]:
    return st.lists(st.sampled_from(subjects), min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def _computed_relation(
    draw: DrawFn,
    name: str,
    before: Sequence[Relation],
    relations: dict[str, list[str]],
    subjects: list[AllowedSubject],
    features: Features,
) -> Relation:
    rewrite = _draw_rewrite(draw, _leaves(before, relations, features), depth=3)
    if features.this == "first" and draw(st.booleans()):
        wrapped: list[Rewrite] = [
            Union((This(), rewrite)),
            Intersection((This(), rewrite)),
            Exclusion(This(), rewrite),
        ]
        rewrite = draw(st.sampled_from(wrapped))
    relation = Relation(name, rewrite, ())
    return relation if relation.is_permission else Relation(name, rewrite, draw(_allowed(subjects)))


def _leaves(before: Sequence[Relation], relations: dict[str, list[str]], features: Features) -> list[Rewrite]:
    """Parts over relations that are already there, so that no relation is computed from itself."""
    leaves: list[Rewrite] = [ComputedUserset(relation.name) for relation in before]
    for relation in before:
        if relation.name == "parent":
            targets = relations if relation.allowed is None else {s.namespace for s in relation.allowed}
            reachable = sorted({name for target in targets for name in relations[target]})
            leaves += [TupleToUserset("parent", name) for name in reachable]
            leaves += [TupleToUserset("parent", name, all=True) for name in reachable if features.all]
    leaves += [Nil()] if features.nil else []
    leaves += [Self()] if features.self else []
    leaves += [This()] if features.this == "anywhere" else []
    return leaves


def _draw_rewrite(draw: DrawFn, leaves: list[Rewrite], depth: int) -> Rewrite:
    if depth == 0 or not draw(st.booleans()):
        return draw(st.sampled_from(leaves))
    parts = [_draw_rewrite(draw, leaves, depth - 1) for _ in range(draw(st.sampled_from([2, 2, 3])))]
    combine = draw(st.sampled_from([Union, Intersection, Exclusion]))
    return Exclusion(parts[0], parts[1]) if combine is Exclusion else combine(tuple(parts))


@st.composite
def tuples_for(draw: DrawFn, schema: Schema, ids: Sequence[str] = ("1", "2", "3")) -> RelationTuple:
    """Tuples that the schema admits, over few ids, with contexts that fit; the schema must admit some."""
    choices = [
        (namespace.name, relation.name, subject)
        for namespace in schema.namespaces
        for relation in namespace.relations
        for subject in relation.allowed or ()
    ]
    namespace, relation, subject = draw(st.sampled_from(choices))
    user_id = WILDCARD if subject.wildcard else draw(st.sampled_from(ids))
    condition = None
    if subject.condition:
        context = draw(contexts(schema.condition(subject.condition)))
        condition = TupleCondition.of(subject.condition, context)
    return RelationTuple(
        ObjectRef(namespace, draw(st.sampled_from(ids))),
        relation,
        User(subject.namespace, user_id, subject.relation),
        condition,
        draw(st.integers(0, 4_000_000_000_000_000)) if subject.expiration else None,
    )


_PARAMETERS: Final = {
    "flag": ValueType("bool"),
    "open": ValueType("bool"),
    "level": ValueType("int"),
    "count": ValueType("uint"),
    "ratio": ValueType("double"),
    "name": ValueType("string"),
    "digest": ValueType("bytes"),
    "since": ValueType("timestamp"),
    "age": ValueType("duration"),
    "address": ValueType("ipaddress"),
    "tags": ValueType("list", ValueType("string")),
    "scores": ValueType("map", ValueType("int")),
    "extra": ValueType("any"),
}
_TESTS: Final = {
    "flag": ("flag", "!flag"),
    "open": ("open", "open == true"),
    "level": ("level < 3", "level + 1 == 2 * level", "-level <= 0"),
    "count": ("count >= 2u", "count == 1u"),
    "ratio": ("ratio > 0.5", "ratio * 2.0 != 1.0"),
    "name": ("name == 'ann'", "name.startsWith('a')", 'size(name) > 2 && name != "}"'),
    "digest": ("digest == b'abc'", "size(digest) == 3"),
    "since": ("since < timestamp('2030-01-01T00:00:00Z')", "since >= timestamp('2020-06-01T12:00:00Z')"),
    "age": ("age > duration('90m')", "age <= duration('2s')"),
    "address": ("address.in_cidr('10.0.0.0/8')", "address.in_cidr('2001:db8::/32')"),
    "tags": ("'a' in tags", "tags.all(t, t != 'b')", "tags.exists(t, t == 'c')", "size(tags) == 0"),
    "scores": ("has(scores.a)", "'b' in scores", "scores.exists(k, scores[k] > 1)"),
    "extra": ("extra == 1", "extra != 'x'"),
}
_VALUES: Final[dict[str, SearchStrategy[Any]]] = {
    "bool": st.booleans(),
    "int": st.integers(-3, 5),
    "uint": st.integers(0, 5),
    "double": st.sampled_from([-1.5, 0.0, 0.5, 0.75, 2.0]),
    "string": st.sampled_from(["", "a", "b", "c", "ann", "é}"]),
    "bytes": st.sampled_from(["", "YWJj", "/w=="]),
    "timestamp": st.sampled_from(
        ["2019-01-01T00:00:00Z", "2025-01-01T00:00:00.5Z", "2031-01-01T00:00:00+02:00"]
    ),
    "duration": st.sampled_from(["0s", "2s", "1h30m", "90m1ms", "-1h"]),
    "ipaddress": st.sampled_from(["10.1.2.3", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8::1", "::1"]),
    "any": st.sampled_from([None, True, 1, 2, "x", "y"]),
}


def values(type_: ValueType) -> SearchStrategy[Any]:
    """JSON values of a parameter's type."""
    if type_.of is not None:
        inner = values(type_.of)
        if type_.name == "list":
            return st.lists(inner, max_size=3)
        return st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    return _VALUES[type_.name]


def condition_of(expression: str, **parameters: str) -> Condition:
    """A condition for examples; types as in `list<int>`."""
    found = tuple(Parameter(name, _value_type(text)) for name, text in parameters.items())
    return Condition("c", found, expression)


def _value_type(text: str) -> ValueType:
    name, _, rest = text.partition("<")
    return ValueType(name, _value_type(rest.removesuffix(">")) if rest else None)


@st.composite
def conditions(draw: DrawFn, features: Features = ANY) -> Condition:
    """Well-typed conditions over a few parameters of every type."""
    known = [name for name in _PARAMETERS if features.bytes or name != "digest"]
    chosen = draw(st.lists(st.sampled_from(known), unique=True, min_size=1, max_size=4))
    expression = _draw_expression(draw, [test for name in chosen for test in _TESTS[name]], depth=2)
    parameters = tuple(Parameter(name, _PARAMETERS[name]) for name in chosen)
    return Condition(draw(st.sampled_from(["recent", "inside", "limits"])), parameters, expression)


def _draw_expression(draw: DrawFn, tests: list[str], depth: int) -> str:
    if depth == 0 or not draw(st.booleans()):
        return draw(st.sampled_from(tests))
    shape = draw(
        st.sampled_from(["({}) && ({})", "({}) || ({})", "({}) == ({})", "!({})", "({}) ? ({}) : ({})"])
    )
    return shape.format(*(_draw_expression(draw, tests, depth - 1) for _ in range(shape.count("{}"))))


@st.composite
def contexts(draw: DrawFn, condition: Condition, complete: bool = False) -> dict[str, Any]:
    """Contexts that fit a condition; partial ones, unless `complete`."""
    return {
        parameter.name: draw(values(parameter.type))
        for parameter in condition.parameters
        if complete or draw(st.booleans())
    }
