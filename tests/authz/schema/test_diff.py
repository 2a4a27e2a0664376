from hypothesis import assume, given
from hypothesis import strategies as st

from weft.authz.conditions import Conditions
from weft.authz.schema import Schema, parse_schema
from weft.authz.schema.diff import diff
from weft.authz.tuples import RelationTuple, parse_tuple
from weft.core.errors import WeftError
from weft.testing.authz_schemas import ANY, schemas, tuples_for

UNTYPED = ANY._replace(untyped=True)


def admits(schema: Schema, item: RelationTuple) -> bool:
    if not schema.allows(item):
        return False
    try:
        if item.condition:
            Conditions(schema).check_stored(item.condition)
    except WeftError:
        return False
    return True


@given(st.data(), schemas(UNTYPED), schemas(UNTYPED))
def test_the_queries_find_exactly_the_tuples_that_the_new_schema_refuses(
    data: st.DataObject, old: Schema, new: Schema
) -> None:
    assume(any(relation.allowed for namespace in old.namespaces for relation in namespace.relations))
    item = data.draw(tuples_for(old))
    found = diff(old, new)
    assert any(query.matches(item) for query in found.orphans) is not admits(new, item)
    assert all(query.change in found.changes for query in found.orphans)


def meaning(schema: Schema) -> object:
    """A schema without the order of its parts."""
    relations = {
        (namespace.name, relation.name): (relation.rewrite, relation.allowed and frozenset(relation.allowed))
        for namespace in schema.namespaces
        for relation in namespace.relations
    }
    return set(schema.by_name), relations, schema.conditions_by_name


@given(schemas(UNTYPED), schemas(UNTYPED))
def test_only_schemas_that_mean_something_else_differ(old: Schema, new: Schema) -> None:
    assert not diff(old, old)
    assert bool(diff(old, new)) is (meaning(old) != meaning(new))


OLD = """
use expiration
caveat late(hour int) { hour > 20 }
caveat gone(a int) { a > 1 }
definition user {}
definition bot {}
definition doc {
    relation owner: user
    relation viewer: user | user with late | user:* | bot
    relation banned: user with expiration
    permission view = viewer + owner - banned
}
"""
NEW = """
caveat late(hour string) { hour == 'x' }
definition user {}
definition team {}
definition doc {
    relation viewer: user | user with late | team
    relation editor: user
    permission banned = viewer
    permission view = viewer - banned
}
"""


def test_changes_read_well() -> None:
    assert str(diff(parse_schema(OLD), parse_schema(NEW))).split("\n") == [
        "removed namespace `bot`",
        "removed relation `doc#owner`",
        "changed `doc#viewer`: no longer allows `user:*`",
        "changed `doc#viewer`: no longer allows `bot`",
        "changed `doc#viewer`: now allows `team`",
        "changed `doc#banned`: `this` becomes `viewer`",
        "changed `doc#banned`: no longer allows `user with expiration`",
        "changed `doc#view`: `(viewer + owner) - banned` becomes `viewer - banned`",
        "added relation `doc#editor`",
        "added namespace `team`",
        "changed condition `late`: `(hour int) { hour > 20 }` becomes `(hour string) { hour == 'x' }`",
        "removed condition `gone`",
    ]


def test_which_tuples_are_orphaned() -> None:
    found = diff(parse_schema(OLD), parse_schema(NEW))

    def causes(text: str) -> list[str]:
        item = parse_tuple(text)
        return [str(query.change).split(": ")[0] for query in found.orphans if query.matches(item)]

    assert causes("doc:1#viewer@user:ann") == []
    assert causes("doc:1#viewer@user:*") == ["changed `doc#viewer`"]
    assert causes("doc:1#owner@user:ann") == ["removed relation `doc#owner`"]
    assert causes("doc:1#viewer@user:ann[late]") == []
    assert causes('doc:1#viewer@user:ann[late:{"hour":3}]') == ["changed condition `late`"]
    assert causes("doc:1#banned@user:ann[expiration:2030-01-01T00:00:00Z]") == ["changed `doc#banned`"]
