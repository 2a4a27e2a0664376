import pytest
from hypothesis import given

from weft.authz.schema import SchemaError, parse_schema, print_schema
from weft.authz.schema.model import (
    AllowedSubject,
    ComputedUserset,
    Exclusion,
    NamespaceConfig,
    Nil,
    Relation,
    Schema,
    Self,
    This,
    TupleToUserset,
    Union,
)
from weft.core.errors import Invalid
from weft.testing.authz_schemas import BY_LANGUAGE, schemas


@given(schemas(BY_LANGUAGE["zanzibar"]))
def test_what_is_printed_parses_back(schema: Schema) -> None:
    text = print_schema(schema, "zanzibar")
    assert parse_schema(text, "zanzibar") == schema
    assert print_schema(parse_schema(text, "zanzibar"), "zanzibar") == text


def test_concentric_relations_as_the_paper_defines_them() -> None:
    schema = parse_schema(
        """
        name: "doc"
        # whoever made it
        relation { name: "owner" }
        relation {
          name: "editor"
          userset_rewrite {
            union {
              child { _this {} }
              child { computed_userset { relation: "owner" } }
            }
          }
        }
        relation { name: "parent" }
        relation {
          name: "viewer"
          userset_rewrite {
            union {
              child { _this {} }
              child { computed_userset { relation: "editor" } }
              child { tuple_to_userset {
                tupleset { relation: "parent" }
                computed_userset {
                  object: $TUPLE_USERSET_OBJECT
                  relation: "viewer"
                }
              } }
            }
          }
        }
        """,
        "zanzibar",
    )
    doc = schema.namespace("doc")
    assert [relation.name for relation in doc.relations] == ["owner", "editor", "parent", "viewer"]
    assert all(relation.allowed is None for relation in doc.relations)
    assert doc.by_name["owner"].rewrite == This()
    assert doc.by_name["owner"].doc == "whoever made it"
    assert doc.by_name["viewer"].rewrite == Union(
        (This(), ComputedUserset("editor"), TupleToUserset("parent", "viewer"))
    )


def test_several_namespaces_types_and_conditions_in_one_file() -> None:
    schema = parse_schema(
        """
        name: 'user'
        name: "doc"
        relation {
          name: "viewer",
          allowed: { namespace: "user" wildcard: true condition: "late" }
          allowed { namespace: "doc" relation: "viewer" expiration: true wildcard: false; }
        }
        relation {
          name: "all_but"
          userset_rewrite { exclusion {
            child { computed_userset { relation: "viewer" } }
            child { userset_rewrite { union { child { computed_userset { relation: "viewer" } } } } }
            child { computed_userset { relation: "viewer" } }
          } }
        }
        condition { name: "late" parameter { name: "hour" type: "int" }
          expression: "hour > 20 &&\\n\\t" '"a" != "\\\\\\\\"' }
        """,
        "zanzibar",
    )
    assert [namespace.name for namespace in schema.namespaces] == ["user", "doc"]
    assert schema.relation("doc", "viewer").allowed == (
        AllowedSubject("user", wildcard=True, condition="late"),
        AllowedSubject("doc", "viewer", expiration=True),
    )
    assert schema.condition("late").expression == 'hour > 20 &&\n\t"a" != "\\\\"'
    assert parse_schema(print_schema(schema, "zanzibar"), "zanzibar") == schema
    viewer = ComputedUserset("viewer")
    assert schema.relation("doc", "all_but").rewrite == Exclusion(Exclusion(viewer, viewer), viewer)


NAMED = 'name: "doc"\nrelation { name: "a" }\n'
REWRITTEN = NAMED + 'relation { name: "b" userset_rewrite { '
ERRORS = [
    ('§relation { name: "a" }', "before the name of its namespace", 'write `name: "doc"`'),
    (NAMED + "§relaton {}", "unknown field `relaton`", "did you mean `relation`?"),
    (NAMED + "§relation {}", "`relation` has no `name`", 'add `name: "…"`'),
    (NAMED + 'relation §{ name: "b"', "never closed", "close it with `}`"),
    (NAMED + "relation { §name: b }", "is not a string", 'write `name: "…"`'),
    (NAMED + 'relation { name: "b" §name: "c" }', "stands twice", "remove one"),
    (NAMED + 'relation { name §"b" }', "expected `:` or `{`", 'write `name: "…"`'),
    (NAMED + 'relation { name: §"\\q" }', "unknown escape", "known are"),
    (REWRITTEN + "unoin { } } }".replace("unoin", "§unoin"), "unknown field `unoin`", "mean `union`?"),
    (REWRITTEN + "§union { } } }", "has no child", "child { _this {} }"),
    (REWRITTEN + "union { §child { } } } }", "has 0 parts", "give it one of"),
    (REWRITTEN + "union { child { §computed_userset { } } } } }", "no `relation`", ""),
    (REWRITTEN + 'union { child { §computed_userset { relation: "aa" } } } } }', "no relation `aa`", ""),
    (
        REWRITTEN + 'union { child { tuple_to_userset { tupleset { relation: "a" } computed_userset '
        '{ §object: $TUPLE_OBJECT relation: "a" } } } } } }',
        "unknown object",
        "$TUPLE_USERSET_OBJECT",
    ),
    (NAMED + 'relation { name: "b" allowed { namespace: "doc" §wildcard: "yes" } }', "neither true", "true"),
]


@pytest.mark.parametrize(("marked", "message", "hint"), ERRORS)
def test_an_error_names_the_place_and_what_to_write(marked: str, message: str, hint: str) -> None:
    before, after = marked.split("§")
    with pytest.raises(SchemaError) as caught:
        parse_schema(before + after, "zanzibar")
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert (error.line, error.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))


@pytest.mark.parametrize(
    ("relation", "construct"),
    [
        (Relation("x", Nil()), "no `nil`"),
        (Relation("x", Self()), "no `self`"),
        (Relation("x", TupleToUserset("a", "a", all=True)), "arrow with `all`"),
    ],
)
def test_a_construct_that_zanzibar_lacks_is_named(relation: Relation, construct: str) -> None:
    plain = Relation("a", This(), (AllowedSubject("doc"),))
    with pytest.raises(Invalid, match=construct) as caught:
        print_schema(Schema((NamespaceConfig("doc", (plain, relation)),)), "zanzibar")
    assert caught.value.hint
