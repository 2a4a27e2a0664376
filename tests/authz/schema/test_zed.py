import pickle

import pytest
from hypothesis import given

from weft.authz.schema import SchemaError, parse_schema, print_schema
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
)
from weft.core.errors import Invalid
from weft.testing.authz_schemas import BY_LANGUAGE, schemas

A, B, C = ComputedUserset("a"), ComputedUserset("b"), ComputedUserset("c")
RELATIONS = "relation a: doc relation b: doc relation c: doc "


def rewrite_of(expression: str) -> Rewrite:
    text = f"use self definition doc {{ {RELATIONS} permission x = {expression} }}"
    return parse_schema(text).relation("doc", "x").rewrite


@given(schemas(BY_LANGUAGE["zed"]))
def test_what_is_printed_parses_back(schema: Schema) -> None:
    text = print_schema(schema)
    assert parse_schema(text) == schema
    assert print_schema(parse_schema(text)) == text


@pytest.mark.parametrize(
    ("expression", "rewrite"),
    [
        ("a", A),
        ("nil", Nil()),
        ("self", Self()),
        ("a + b + c", Union((A, B, C))),
        ("(a + b) + c", Union((Union((A, B)), C))),
        ("a + b & c", Intersection((Union((A, B)), C))),
        ("a & b + c", Intersection((A, Union((B, C))))),
        ("a - b & c", Exclusion(A, Intersection((B, C)))),
        ("a & b - c", Exclusion(Intersection((A, B)), C)),
        ("a - b + c", Exclusion(A, Union((B, C)))),
        ("a - b - c", Exclusion(Exclusion(A, B), C)),
        ("a - (b - c)", Exclusion(A, Exclusion(B, C))),
        ("a->b", TupleToUserset("a", "b")),
        ("a.any(b)", TupleToUserset("a", "b")),
        ("a.all(b) + c", Union((TupleToUserset("a", "b", all=True), C))),
        ("((a))", A),
    ],
)
def test_plus_binds_tightest_then_ampersand_then_minus(expression: str, rewrite: Rewrite) -> None:
    assert rewrite_of(expression) == rewrite


def test_allowed_types() -> None:
    schema = parse_schema(
        """
        use expiration
        caveat late(hour int) { hour > 20 }
        definition t/user {}
        definition t/group { relation member: t/user#... | t/group#member | t/user:* }
        definition doc {
            relation viewer:
                t/user with late | t/user with expiration | t/group#member with late and expiration
        }
        """
    )
    assert schema.relation("t/group", "member").allowed == (
        AllowedSubject("t/user"),
        AllowedSubject("t/group", "member"),
        AllowedSubject("t/user", wildcard=True),
    )
    assert schema.relation("doc", "viewer").allowed == (
        AllowedSubject("t/user", condition="late"),
        AllowedSubject("t/user", expiration=True),
        AllowedSubject("t/group", "member", condition="late", expiration=True),
    )


def test_self_is_a_name_like_any_other_until_it_is_switched_on() -> None:
    schema = parse_schema("definition doc { relation self: doc permission x = self }")
    assert schema.relation("doc", "x").rewrite == ComputedUserset("self")


def test_comments_right_before_a_thing_document_it_and_print_back() -> None:
    text = (
        "// people\n// of all kinds\ndefinition user {}\n\n"
        "definition doc {\n\t// may read\n\trelation viewer: user\n\trelation owner: user\n}\n"
    )
    schema = parse_schema(text.replace("relation owner: user", "relation owner: user // trailing /* not */"))
    assert schema.namespace("user").doc == "people\nof all kinds"
    assert schema.relation("doc", "viewer").doc == "may read"
    assert print_schema(schema) == text
    block = parse_schema("/**\n * people\n *\n * of all kinds\n */\ndefinition user {}")
    assert block.namespace("user").doc == "people\n\nof all kinds"


def test_braces_in_strings_and_comments_do_not_end_a_caveat() -> None:
    expression = "name != '}' && // }\n name != \"\\\"}\" && name != r'\\' && name != '''}'''"
    schema = parse_schema(f"caveat c(name string) {{ {expression} }} definition user {{}}")
    assert schema.condition("c").expression == expression
    assert parse_schema(print_schema(schema)) == schema


DOC = "definition user {} definition doc { relation viewer: user\n"
ERRORS = [
    ("definition user §{", "never closed", "end it with `}`"),
    ("definition user §{\n\ndefinition doc {}", "never closed", "end it with `}`"),
    ("§defintion user {}", "found `defintion`", "did you mean `definition`?"),
    ("definition user { §relaton a: user }", "found `relaton`", "did you mean `relation`?"),
    ("definition user {} §}", "closes nothing", "remove it"),
    ("definition user\n§relation", "expected `{`", "write `definition user { … }`"),
    (DOC + "permission p§: user = viewer }", "given types", "write `permission p = …`"),
    (DOC + "relation r §= viewer }", "given an expression", "write `permission r = …`"),
    (DOC + "relation r: user §+ doc }", "between the types", "separate types by `|`"),
    (DOC + "permission p = viewer §| viewer }", "in the expression", "write `+` for a union"),
    (DOC + "permission p = §veiwer }", "has no relation `veiwer`", "did you mean `viewer`?"),
    (DOC + "relation r: §usr }", "`usr` is not defined", "did you mean `user`?"),
    (DOC + "relation r: §doc#vewer }", "has no relation `vewer`", "did you mean `viewer`?"),
    (DOC + "relation r: §user with late }", "condition `late` is not defined", ""),
    (DOC + "relation r: user with §expiration }", "switched on", "add `use expiration`"),
    (DOC + "relation r: user | §user }", "stands twice", "remove one"),
    (DOC + "permission p = §(viewer }", "never closed", "close it with `)`"),
    (DOC + "permission p = viewer->x§->y }", "arrow follows an arrow", "a name of its own"),
    (DOC + "permission p = viewer.§every(x) }", "unknown function `every`", "parent.any(view)"),
    (DOC + "permission p = §viewer->vew }", "which has no relation `vew`", ""),
    (DOC + "relation w: doc:* permission p = §w->viewer }", "allows a wildcard", "remove the wildcard"),
    (DOC + "permission q = viewer permission p = §q->viewer }", "not a plain relation", "follows tuples"),
    (DOC + "permission p = q permission §q = p }", "`p` → `q` → `p`", "adds nobody"),
    (DOC + "relation §viewer: doc }", "defined twice", "another name"),
    ("definition user {} definition §user {}", "defined twice", "another name"),
    ("definition §nil {}", "keyword `nil`", "definition document"),
    ("definition user { §$ }", "unexpected `$`", "remove it"),
    ("caveat c(a§: int) { a > 1 }", "`:` before the type", "write `a type`"),
    ("caveat c(§a integer) { a > 1 }", "`integer` is not a type", ""),
    ("caveat c(§a lst<int>) { a == [] }", "`lst`", "did you mean `list`?"),
    ("caveat c(§a list) { a == [] }", "does not say of what", "write `list<string>`"),
    ("caveat c(a int) §{ a > 1 ", "never closed", "end the expression with `}`"),
    ("caveat c(a int) {\n  §a >\n  'x' }", "does not take (int, string)", "convert"),
    ("caveat c(limit int) { §limt > 1 }", "`limt` is not a parameter", "did you mean `limit`?"),
    ("caveat c(limit int) { limit > 1 &&\n §limt > 1 }", "`limt` is not a parameter", ""),
    ("caveat c(a int) { §a + 1 }", "a condition takes bool, got int", "compare"),
    ("use §speed", "expected a feature", "use expiration"),
]


@pytest.mark.parametrize(("marked", "message", "hint"), ERRORS)
def test_an_error_names_the_place_and_what_to_write(marked: str, message: str, hint: str) -> None:
    before, after = marked.split("§")
    with pytest.raises(SchemaError) as caught:
        parse_schema(before + after)
    error = caught.value
    assert message in error.message
    assert hint in error.hint
    assert (error.line, error.column) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
    shown, carets = error.excerpt.split("\n")
    assert after.split("\n")[0].startswith(shown[carets.index("^") :])
    assert "\n" not in str(error)


def test_all_problems_are_reported_in_the_order_of_the_text() -> None:
    with pytest.raises(SchemaError, match="and 2 more") as caught:
        parse_schema("definition d {\n relation a: x\n relation b: y\n permission p = q\n}")
    assert [problem.at and problem.at.line for problem in caught.value.problems] == [2, 3, 4]


def namespace_with(*relations: Relation) -> Schema:
    return Schema((NamespaceConfig("doc", (Relation("a", This(), (AllowedSubject("doc"),)), *relations)),))


@pytest.mark.parametrize(
    ("schema", "construct"),
    [
        (namespace_with(Relation("x", Union((This(), A)), (AllowedSubject("doc"),))), "`this` inside"),
        (namespace_with(Relation("x", This(), None)), "without types"),
        (namespace_with(Relation("x-y", A)), "the name `x-y`"),
        (namespace_with(Relation("relation", A)), "the name `relation`"),
    ],
)
def test_a_construct_that_zed_lacks_is_named(schema: Schema, construct: str) -> None:
    with pytest.raises(Invalid, match=construct) as caught:
        print_schema(schema)
    assert caught.value.hint


def test_an_error_survives_pickling() -> None:
    with pytest.raises(SchemaError) as caught:
        parse_schema("definition doc {")
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.line, copy.problems) == (str(caught.value), 1, caught.value.problems)
    assert copy.excerpt == caught.value.excerpt


def test_nesting_has_a_limit() -> None:
    with pytest.raises(SchemaError, match="levels deep"):
        rewrite_of("(" * 10_000 + "a" + ")" * 10_000)
