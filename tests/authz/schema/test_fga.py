import json

import pytest
from hypothesis import given

from weft.authz.schema import Language, SchemaError, parse_schema, print_schema
from weft.authz.schema.model import (
    AllowedSubject,
    ComputedUserset,
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
    ValueType,
)
from weft.core.errors import Invalid
from weft.testing.authz_schemas import BY_LANGUAGE, schemas

A, B, C = ComputedUserset("a"), ComputedUserset("b"), ComputedUserset("c")
HEAD = "model\n  schema 1.1\ntype user\n"
DOC = HEAD + "type doc\n  relations\n    define a: [user]\n    define b: [user]\n    define c: [user]\n"


@pytest.mark.parametrize("language", ["fga", "fga-json"])
@given(schema=schemas(BY_LANGUAGE["fga"]))
def test_what_is_printed_parses_back(language: Language, schema: Schema) -> None:
    text = print_schema(schema, language)
    assert parse_schema(text, language) == schema
    assert print_schema(parse_schema(text, language), language) == text


@pytest.mark.parametrize(
    ("expression", "rewrite"),
    [
        ("a", A),
        ("a or b or c", Union((A, B, C))),
        ("(a or b) or c", Union((Union((A, B)), C))),
        ("a and (b or c)", Intersection((A, Union((B, C))))),
        ("a but not b", Exclusion(A, B)),
        ("(a but not b) but not c", Exclusion(Exclusion(A, B), C)),
        ("a or (b but not c)", Union((A, Exclusion(B, C)))),
        ("[user]", This()),
        ("[user] or a", Union((This(), A))),
        ("([user] or a) and b", Intersection((Union((This(), A)), B))),
        ("a\n or\n   b", Union((A, B))),
    ],
)
def test_operators(expression: str, rewrite: Rewrite) -> None:
    schema = parse_schema(f"{DOC}    define x: {expression}", "fga")
    assert schema.relation("doc", "x").rewrite == rewrite


def test_types_arrows_and_conditions() -> None:
    schema = parse_schema(
        """
        model
          schema 1.1
        type user
        type group
          relations
            define member: [user, user:*, group#member, user with late] # trailing
        type doc
          relations
            # where it is
            define parent: [doc]
            define viewer: [user] or viewer from parent
        condition late(hour: int, names: list<string>, x: map<list<any>>) {
          hour > 20 && names != ['}']
        }
        """,
        "fga",
    )
    assert schema.relation("group", "member").allowed == (
        AllowedSubject("user"),
        AllowedSubject("user", wildcard=True),
        AllowedSubject("group", "member"),
        AllowedSubject("user", condition="late"),
    )
    assert schema.relation("doc", "viewer").rewrite == Union((This(), TupleToUserset("parent", "viewer")))
    assert schema.relation("doc", "parent").doc == "where it is"
    late = schema.condition("late")
    assert late.expression == "hour > 20 && names != ['}']"
    assert [str(parameter.type) for parameter in late.parameters] == ["int", "list<string>", "map<list<any>>"]


def test_modules_extend_types_of_each_other() -> None:
    schema = parse_schema(
        """
        module core
        type user
        type doc
          relations
            define owner: [user]
        module wiki
        extend type doc
          relations
            define viewer: owner
        type page
        """,
        "fga",
    )
    assert [namespace.name for namespace in schema.namespaces] == ["user", "doc", "page"]
    assert [relation.name for relation in schema.namespace("doc").relations] == ["owner", "viewer"]
    assert parse_schema(print_schema(schema, "fga"), "fga") == schema


ERRORS = [
    ("§type user", "expected `model`", "start with `model`"),
    ("model\n  schema §1.0\ntype user", "schema version", "`schema 1.1`"),
    (HEAD + "§tpye doc", "found `tpye`", "did you mean `type`?"),
    (HEAD + "type doc\n  relations\n    §defin a: [user]", "found `defin`", "did you mean `define`?"),
    (HEAD + "type doc\n  §define a: [user]", "without `relations`", "`relations` on a line"),
    (HEAD + "type doc\n  relations\n    define a §[user]", "expected `:`", "define viewer: [user]"),
    (HEAD + "type doc\n  relations\n    define a: [user §user]", "expected `]`", "separate types by `,`"),
    (HEAD + "type doc\n  relations\n    define a: [user\n§type x", "expected `]`", "separate types by `,`"),
    (HEAD + "type doc\n  relations\n    define a: [§]", "expected a type", "[user, user:*"),
    (HEAD + "type doc\n  relations\n    define a: [§usr]", "`usr` is not defined", "did you mean `user`?"),
    (HEAD + "type doc\n  relations\n    define a: [user with §]", "condition after `with`", "user with"),
    (DOC + "    define x: a or b §and c", "`and` beside `or`", "write `(a or b) and c`"),
    (DOC + "    define x: a and b §or c", "`or` beside `and`", "write `(a and b) or c`"),
    (DOC + "    define x: a or b §but not c", "`but not` beside `or`", "write `(a or b) but not c`"),
    (DOC + "    define x: a but not b §or c", "`or` beside `but not`", "write `(a but not b) or c`"),
    (DOC + "    define x: a but §b", "expected `not`", "a but not b"),
    (DOC + "    define x: a §| b", "found `|`", "[user] or editor"),
    (DOC + "    define x: §(a or b", "never closed", "close it with `)`"),
    (DOC + "    define x: [user] or §[doc]", "types stand twice", "one pair of brackets"),
    (DOC + "    define x: §d", "no relation `d`", ""),
    (DOC + "    define x: a or §or", "found the keyword `or`", ""),
    (DOC + "    define x: §z from a", "`a` leads to `user`, which has no relation `z`", ""),
    (DOC + "    define p: [doc#a]\n    define x: §a from p", "allows usersets", "objects only"),
    (DOC + "    define p: a\n    define x: §a from p", "not a plain relation", ""),
    (DOC + "§extend type user", "outside a module", "module name"),
    ("module m\ntype user\nextend type §usr", "never defined", "did you mean `user`?"),
    (DOC + "condition c(§a: bytes) { a == b'' }", "no parameter type `bytes`", "use a string"),
    (DOC + "condition c(a §int) { a > 1 }", "expected `:`", "write `a: string`"),
    (DOC + "condition c(a: int) { §b > 1 }", "`b` is not a parameter", "did you mean"),
    (DOC + "condition c(a: int) §{ a > 1", "never closed", "`}`"),
    (HEAD + "§}", "found `}`", ""),
]


@pytest.mark.parametrize(("marked", "message", "hint"), ERRORS)
def test_an_error_names_the_place_and_what_to_write(marked: str, message: str, hint: str) -> None:
    before, after = marked.split("§")
    with pytest.raises(SchemaError) as caught:
        parse_schema(before + after, "fga")
    error = caught.value
    assert message in error.message
    assert hint in error.hint or error.hint.startswith("known are")
    assert (error.line, error.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))


def schema_with(relation: Relation) -> Schema:
    plain = Relation("a", This(), (AllowedSubject("doc"),))
    return Schema((NamespaceConfig("doc", (plain, relation)),))


DOCS = (AllowedSubject("doc"),)
LACKING = [
    (Relation("x", Nil()), "no `nil`"),
    (Relation("x", Self()), "no `self`"),
    (Relation("x", TupleToUserset("a", "a", all=True)), "arrow with `all`"),
    (Relation("x", This(), None), "without types"),
    (Relation("x", This(), (AllowedSubject("doc", expiration=True),)), "no expiration"),
]


@pytest.mark.parametrize("language", ["fga", "fga-json"])
@pytest.mark.parametrize(("relation", "construct"), LACKING)
def test_a_construct_that_openfga_lacks_is_named(
    language: Language, relation: Relation, construct: str
) -> None:
    with pytest.raises(Invalid, match=construct) as caught:
        print_schema(schema_with(relation), language)
    assert caught.value.hint


def test_what_only_the_dsl_lacks() -> None:
    twice = schema_with(Relation("x", Union((This(), Intersection((This(), A)))), DOCS))
    assert parse_schema(print_schema(twice, "fga-json"), "fga-json") == twice
    with pytest.raises(Invalid, match="uses them twice"):
        print_schema(twice, "fga")
    with pytest.raises(Invalid, match="the name `from`"):
        print_schema(schema_with(Relation("from", A)), "fga")


MODEL = {
    "id": "01H0",
    "schema_version": "1.1",
    "type_definitions": [
        {"type": "user", "relations": {}, "metadata": None},
        {
            "type": "doc",
            "relations": {
                "parent": {"this": {}},
                "viewer": {
                    "difference": {
                        "base": {
                            "union": {
                                "child": [
                                    {"this": {}},
                                    {
                                        "tuple_to_userset": {
                                            "tupleset": {"object": "", "relation": "parent"},
                                            "computed_userset": {"object": "", "relation": "viewer"},
                                        }
                                    },
                                ]
                            }
                        },
                        "subtract": {"computedUserset": {"relation": "parent"}},
                    }
                },
            },
            "metadata": {
                "module": "core",
                "relations": {
                    "parent": {"directly_related_user_types": [{"type": "doc"}]},
                    "viewer": {
                        "directlyRelatedUserTypes": [
                            {"type": "user", "wildcard": {}},
                            {"type": "user", "condition": "late", "relation": ""},
                        ]
                    },
                },
            },
        },
    ],
    "conditions": {
        "late": {
            "name": "late",
            "expression": " hours.exists(h, h > 20)\n",
            "parameters": {
                "hours": {"type_name": "TYPE_NAME_LIST", "generic_types": [{"type_name": "TYPE_NAME_INT"}]}
            },
        }
    },
}


def test_json_in_either_case() -> None:
    schema = parse_schema(json.dumps(MODEL), "fga-json")
    viewer = schema.relation("doc", "viewer")
    assert viewer.rewrite == Exclusion(
        Union((This(), TupleToUserset("parent", "viewer"))), ComputedUserset("parent")
    )
    assert viewer.allowed == (AllowedSubject("user", wildcard=True), AllowedSubject("user", condition="late"))
    late = schema.condition("late")
    assert late.expression == "hours.exists(h, h > 20)"
    assert late.parameters[0].type == ValueType("list", ValueType("int"))
    assert parse_schema(print_schema(schema, "fga"), "fga") == schema


def in_model(type_definition: str) -> str:
    return '{"schema_version": "1.1",\n"type_definitions": [' + type_definition + "]}"


JSON_ERRORS = [
    ("{§", "expected the name of a member", ""),
    ('{"a": 1§ "b": 2}', "expected `,`", "separate members"),
    ('{"a": 1,§}', "the name of a member", "no `,` at the end"),
    ('{"a": 1, §"a": 2}', "`a` stands twice", "remove one"),
    ('§{"type_definitions": []}', "has no `schema_version`", ""),
    ('{"schema_version": §"1.0", "type_definitions": []}', "unknown schema version", "1.1"),
    (in_model("§{}"), "has no `type`", 'add `"type": …`'),
    (in_model('{"type": "doc", "relations": {§"a": {"ths": {}}}}'), "unknown part `ths`", "mean `this`?"),
    (in_model('{"type": "doc", "relations": {§"a": {}}}'), "0 parts", "give it one of"),
    (in_model('{"type": "doc", "relations": {§"a": []}}'), "is not an object", "write `{…}`"),
    (in_model('{"type": "doc", "relations": {"a": {§"computedUserset": {}}}}'), "no `relation`", ""),
    (in_model('{"type": "doc", "relations": {"a": {"union": {§"child": {}}}}}'), "is not a list", "[…]"),
    (in_model('{"type": "doc", "relations": {§"a": {"this": {}}}}'), "allows no types", "say which"),
]


@pytest.mark.parametrize(("marked", "message", "hint"), JSON_ERRORS)
def test_an_error_in_json_names_the_place(marked: str, message: str, hint: str) -> None:
    before, after = marked.split("§")
    with pytest.raises(SchemaError) as caught:
        parse_schema(before + after, "fga-json")
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert error.line == before.count("\n") + 1
    rest = (before + after).split("\n")[error.line - 1][error.column - 1 :]
    assert rest.strip() == after.split("\n")[0].strip()
