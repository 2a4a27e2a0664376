"""Whatever text comes, a parser answers or refuses by `SchemaError` or another error of ours, and soon."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.authz.conditions import Program
from weft.authz.schema import Language, SchemaError, parse_schema, print_schema
from weft.authz.schema.model import Condition, Parameter, ValueType
from weft.core.errors import Invalid, LimitExceeded
from weft.testing.authz_schemas import BY_LANGUAGE, conditions, contexts, schemas

LANGUAGES: tuple[Language, ...] = get_args(Language)
WORDS = {
    "zed": "use expiration self caveat definition relation permission nil with and a b { } ( ) : = | # * + & "
    "- -> . any all ... // /* */ < > , ; int list",
    "fga": "model schema 1.1 1.2 module extend type relations define condition or and but not from with a b "
    "user [ ] ( ) { } : , # * < > int",
    "fga-json": '{ } [ ] : , "schema_version" "1.1" "type_definitions" "type" "relations" "this" "union" '
    '"child" "metadata" "a" null true 1 "conditions" "expression" "\\ud800"',
    "zanzibar": 'name: "a" relation { } userset_rewrite union exclusion child _this computed_userset "b" $X '
    "tuple_to_userset tupleset allowed namespace condition parameter expression , ; ' true",
}


def parses_or_is_refused(text: str, language: Language) -> None:
    try:
        schema = parse_schema(text, language)
    except (Invalid, LimitExceeded):
        return
    assert parse_schema(print_schema(schema, language), language) == schema


@pytest.mark.parametrize("language", LANGUAGES)
@given(data=st.data())
def test_any_text(language: Language, data: st.DataObject) -> None:
    words = st.lists(st.sampled_from(WORDS[language].split()), max_size=40).map(" ".join)
    parses_or_is_refused(data.draw(st.text(max_size=60) | words), language)


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """The text with a few pieces cut out, doubled, or replaced by noise."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        noise = draw(
            st.sampled_from([text[start:end] * 2, "", "'", '"', "{", "}", "(", "\\", "/*", "\n", "é\0"])
        )
        text = text[:start] + noise + text[end:]
    return text


@pytest.mark.parametrize("language", LANGUAGES)
@given(data=st.data())
def test_valid_text_with_faults(language: Language, data: st.DataObject) -> None:
    schema = data.draw(schemas(BY_LANGUAGE["fga" if language == "fga-json" else language]))
    parses_or_is_refused(data.draw(mutated(print_schema(schema, language))), language)


@given(st.data(), conditions())
def test_expressions_with_faults(data: st.DataObject, condition: Condition) -> None:
    expression = data.draw(
        mutated(condition.expression) | st.text("abc<>=!&|?:()[]{}'\"\\.,+-*/%0129ue \n", max_size=30)
    )
    context = data.draw(contexts(condition))
    try:
        Program(Condition("c", condition.parameters, expression)).evaluate(context, {})
    except (SchemaError, Invalid, LimitExceeded):
        return


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda v: st.lists(v) | st.dictionaries(st.text(), v),
        max_leaves=5,
    ),
    conditions(),
)
def test_contexts_of_any_shape(value: object, condition: Condition) -> None:
    program = Program(condition)
    try:
        program.evaluate({}, {parameter.name: value for parameter in condition.parameters})
    except (Invalid, LimitExceeded):
        return


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("definition a { permission b = " + "(" * 100_000, "zed"),
        ("caveat c(a " + "list<" * 50_000, "zed"),
        ("caveat c(a int) { " + "{" * 100_000, "zed"),
        ("caveat c(a int) { " + "(" * 4_000 + "}", "zed"),
        ("caveat c(a int) { " + "[" * 4_000 + "}", "zed"),
        ("caveat c(a bool) { " + "!" * 4_000 + "a }", "zed"),
        ("caveat c(a int) { " + "a+" * 2_000 + "a == 1 }", "zed"),
        ("caveat c(a map<any>) { a" + ".a" * 2_000 + " == 1 }", "zed"),
        ("caveat c(a bool) { " + "a?a:" * 1_000 + "a }", "zed"),
        ("caveat c(a int) { " + "'" * 100_001 + " }", "zed"),
        ("caveat c(a int) { " + "''' \"\"\"" * 30_000 + " }", "zed"),
        ("/*" * 200_000, "zed"),
        ("model schema 1.1 type a relations define b: " + "(" * 100_000, "fga"),
        ("#" * 200_000 + "\n", "fga"),
        ("[" * 100_000, "fga-json"),
        ('{"a":' * 100_000, "fga-json"),
        ('"' + "\\" * 200_001, "fga-json"),
        ("1" * 100_000, "fga-json"),
        ("relation { " * 50_000, "zanzibar"),
        ('name: "' + "\\" * 200_001, "zanzibar"),
        ("x" * 2_000_000, "zed"),
    ],
    ids=range(21),
)
def test_nothing_hangs_on_depth_or_length(text: str, language: Language) -> None:
    with pytest.raises((SchemaError, LimitExceeded)):
        parse_schema(text, language)


def test_the_deepest_expressions_still_evaluate() -> None:
    parameters = (Parameter("a", ValueType("bool")), Parameter("b", ValueType("bool")))
    for expression in ("!" * 31 + "a", "a ? " * 15 + "a" + " : b" * 15, "(" * 15 + "a" + ")" * 15):
        try:
            program = Program(Condition("c", parameters, expression))
        except SchemaError:
            continue
        assert program.evaluate({}, {"a": True, "b": False}) in (True, False)
