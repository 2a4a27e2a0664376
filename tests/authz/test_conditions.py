import base64
import functools
import ipaddress
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import celpy
import pytest
from celpy import celtypes
from hypothesis import assume, given
from hypothesis import strategies as st

from weft.authz.conditions import Conditions, Missing, Program
from weft.authz.schema import SchemaError, parse_schema
from weft.authz.schema.model import Condition, ValueType
from weft.authz.schema.values import coerce
from weft.authz.tuples import TupleCondition
from weft.core.errors import Invalid, LimitExceeded
from weft.testing.authz_schemas import condition_of, conditions, contexts


def program(expression: str, **parameters: str) -> Program:
    return Program(condition_of(expression, **parameters))


def missing(*names: str) -> Missing:
    return Missing(frozenset(names))


# The other library as oracle; it raises the recursion limit of the process, which is put back.
RECURSION_LIMIT = sys.getrecursionlimit()
ENVIRONMENT = celpy.Environment()
sys.setrecursionlimit(RECURSION_LIMIT)


def in_cidr(address: Any, network: Any) -> celtypes.BoolType:
    one = ipaddress.ip_address(str(address))
    mapped = one.ipv4_mapped if isinstance(one, ipaddress.IPv6Address) else None
    return celtypes.BoolType((mapped or one) in ipaddress.ip_network(str(network)))


def oracle_value(type_: ValueType, value: Any) -> Any:
    scalar = {
        "bool": celtypes.BoolType,
        "int": celtypes.IntType,
        "uint": celtypes.UintType,
        "double": celtypes.DoubleType,
        "string": celtypes.StringType,
        "ipaddress": celtypes.StringType,
        "timestamp": celtypes.TimestampType,
        "bytes": lambda text: celtypes.BytesType(base64.b64decode(text)),
        "duration": lambda text: celtypes.DurationType(coerce(type_, text, "p", "c")),
    }
    if type_.of is None:
        return scalar[type_.name](value)
    if type_.name == "list":
        return celtypes.ListType([oracle_value(type_.of, item) for item in value])
    return celtypes.MapType(
        {celtypes.StringType(key): oracle_value(type_.of, item) for key, item in value.items()}
    )


def oracle(condition: Condition, context: dict[str, Any]) -> bool | None:
    """True, False, or None for an error."""
    types = {parameter.name: parameter.type for parameter in condition.parameters}
    compiled = oracle_program(condition.expression)
    try:
        given = {name: oracle_value(types[name], value) for name, value in context.items()}
        return bool(ENVIRONMENT.program(compiled, functions={"in_cidr": in_cidr}).evaluate(given))
    except celpy.CELEvalError:
        return None


@functools.cache
def oracle_program(expression: str) -> Any:
    return ENVIRONMENT.compile(expression)


def ours(condition: Condition, context: dict[str, Any]) -> bool | Missing | None:
    try:
        return Program(condition).evaluate({}, context)
    except Invalid:
        return None


def without_any(condition: Condition) -> bool:
    """The oracle refuses to compare values of different types, which only a parameter of type any can ask."""
    return "extra" not in condition.expression


@given(st.data(), conditions().filter(without_any))
def test_with_all_context_it_agrees_with_the_oracle(data: st.DataObject, condition: Condition) -> None:
    context = data.draw(contexts(condition, complete=True))
    types = {parameter.name: parameter.type for parameter in condition.parameters}
    known = {name: value for name, value in context.items() if types[name].name != "any"}
    assert ours(condition, context) == oracle(condition, known)


@given(st.data(), conditions())
def test_an_answer_from_part_of_the_context_holds_for_every_completion(
    data: st.DataObject, condition: Condition
) -> None:
    part = data.draw(contexts(condition))
    answer = ours(condition, part)
    full = {**data.draw(contexts(condition, complete=True)), **part}
    assume(answer is not None)
    if isinstance(answer, Missing):
        assert answer.names
        assert answer.names.isdisjoint(part)
        assert not isinstance(ours(condition, full), Missing)
    else:
        assert ours(condition, full) is answer


Reference = Callable[[dict[str, bool]], "bool | frozenset[str]"]


def leaf(name: str) -> tuple[str, Reference]:
    return name, lambda context: context.get(name, frozenset({name}))


def settle(absorbing: bool, one: Any, other: Any) -> bool | frozenset[str]:
    if absorbing in (one, other):
        return absorbing
    unknown = [part for part in (one, other) if isinstance(part, frozenset)]
    return frozenset().union(*unknown) if unknown else not absorbing


def connected(
    inner: st.SearchStrategy[tuple[str, Reference]],
) -> st.SearchStrategy[tuple[str, Reference]]:
    def both(parts: tuple[tuple[str, Reference], str, tuple[str, Reference]]) -> tuple[str, Reference]:
        (text, one), sign, (other_text, other) = parts
        whole = f"({text} {sign} {other_text})"
        if sign in ("&&", "||"):
            return whole, lambda context: settle(sign == "||", one(context), other(context))

        def equal(context: dict[str, bool]) -> bool | frozenset[str]:
            found = [part(context) for part in (one, other)]
            unknown = [part for part in found if isinstance(part, frozenset)]
            return frozenset().union(*unknown) if unknown else (found[0] is found[1])

        return whole, equal

    def negated(part: tuple[str, Reference]) -> tuple[str, Reference]:
        def value(context: dict[str, bool]) -> bool | frozenset[str]:
            found = part[1](context)
            return found if isinstance(found, frozenset) else not found

        return f"(!{part[0]})", value

    def chosen(parts: tuple[tuple[str, Reference], ...]) -> tuple[str, Reference]:
        test, then, otherwise = parts

        def value(context: dict[str, bool]) -> bool | frozenset[str]:
            found = test[1](context)
            if isinstance(found, frozenset):
                return found
            return (then if found else otherwise)[1](context)

        return f"({test[0]} ? {then[0]} : {otherwise[0]})", value

    def every(part: tuple[str, Reference]) -> tuple[str, Reference]:
        text, value = part
        inner_text = re.sub(r"\ba\b", "x", text)

        def over(context: dict[str, bool]) -> bool | frozenset[str]:
            return settle(False, value({**context, "a": True}), value({**context, "a": False}))

        return f"[true, false].all(x, {inner_text})", over

    signs = st.sampled_from(["&&", "||", "=="])
    return (
        st.tuples(inner, signs, inner).map(both)
        | inner.map(negated)
        | st.tuples(inner, inner, inner).map(chosen)
        | inner.filter(lambda part: "all(" not in part[0]).map(every)
    )


@given(
    st.recursive(st.sampled_from("abcd").map(leaf), connected, max_leaves=8),
    st.dictionaries(st.sampled_from("abcd"), st.booleans()),
)
def test_unknowns_follow_the_three_valued_rules(
    made: tuple[str, Reference], context: dict[str, bool]
) -> None:
    text, reference = made
    wanted = reference(context)
    answer = program(text, a="bool", b="bool", c="bool", d="bool").evaluate({}, context)
    assert answer == (Missing(wanted) if isinstance(wanted, frozenset) else wanted)


@pytest.mark.parametrize(
    ("expression", "context", "answer"),
    [
        ("a || b", {"a": True}, True),
        ("b || a", {"a": True}, True),
        ("a || b", {"a": False}, missing("b")),
        ("a && b", {"a": False}, False),
        ("a && b", {}, missing("a", "b")),
        ("a ? b : true", {"a": False}, True),
        ("a ? true : true", {}, missing("a")),
        ("(a || b) == true", {"a": True}, True),
        ("n > 1 && b", {"n": 1}, False),
        ("1 / n == 1 || a", {"n": 0, "a": True}, True),
        ("1 / n == 1 || a", {"n": 0}, missing("a")),
        ("l.all(x, x > n)", {"l": []}, True),
        ("l.all(x, x > n)", {"l": [1]}, missing("n")),
        ("l.exists(x, x == 1 || x > n)", {"l": [0, 1]}, True),
        ("l.exists(x, x > n)", {"n": 1}, missing("l")),
        ("l.exists_one(x, x == 2 || x > n && b)", {"l": [1, 2], "b": False}, True),
        ("l.filter(x, x > n || x == 2 || true).size() == 2", {"l": [1, 2]}, True),
        ("l.map(x, x > 1 || a, x + 1) == [3, 4]", {"l": [2, 3]}, True),
        ("l.map(x, a ? x : n).size() == 1", {"l": [1], "a": True}, True),
        ("l.map(x, a ? x : n).size() == 1", {"l": [1], "a": False}, missing("n")),
        ("m.exists(k, k == 'z' || m[k] == 2 || a)", {"m": {"k": 1, "z": 5}}, True),
        ("[a || b, true] == [true, true]", {"a": True}, True),
        ("{'k': a || b}.k", {"a": True}, True),
        ("has(m.k) && has({'x': a || b}.x)", {"m": {"k": 1}, "a": True}, True),
        ("u == 1u || b", {"u": 1}, True),
        ("us.exists(x, x + 1u == 3u || b)", {"us": [2]}, True),
        ("(b ? us : us)[0] == 1u", {}, missing("b")),
        ("x || b", {"x": 1}, missing("b")),
        ("x || b", {"x": True}, True),
    ],
)
def test_what_is_missing_and_what_does_not_matter(
    expression: str, context: dict[str, Any], answer: bool | Missing
) -> None:
    types = {"a": "bool", "b": "bool", "n": "int", "u": "uint"}
    more = {"l": "list<int>", "m": "map<int>", "us": "list<uint>", "x": "any"}
    assert program(expression, **types, **more).evaluate({}, context) == answer


NAMES = ["size", "in_cidr", "int", "timestamp", "all", "has", "type", "ipaddress", "part0"]


@pytest.mark.parametrize("name", NAMES)
def test_a_parameter_may_share_the_name_of_a_function(name: str) -> None:
    text = f"{name} > 1 && size('ab') == 2 && int('1') == 1 && timestamp('2030-01-01T00:00:00Z') != t"
    more = " && ip.in_cidr('10.0.0.0/8') && [1].all(x, x == 1) && (b || ip == ipaddress('10.0.0.2')) == true"
    found = program(text + more, **{name: "int", "t": "timestamp", "ip": "ipaddress", "b": "bool"})
    context = {name: 2, "t": "2020-01-01T00:00:00Z", "ip": "10.0.0.1"}
    assert found.evaluate({}, {**context, "b": True}) is True
    assert found.evaluate({}, context) == missing("b")


@pytest.mark.parametrize("name", ["in", "true", "for", "weft_size", "a-b"])
def test_a_parameter_may_not_have_the_name_of_a_word(name: str) -> None:
    with pytest.raises(SchemaError, match="a name that CEL cannot use"):
        program("true", **{name: "int"})


def test_missing_denies_careless_code() -> None:
    assert not missing("a")


def test_what_is_stored_wins() -> None:
    test = program("n == 1", n="int")
    assert test.evaluate({"n": 1}, {"n": 2}) is True
    assert test.evaluate({"n": 1}, {"n": "not even an int"}) is True


def test_context_of_other_conditions_is_passed_over() -> None:
    assert program("n == 1", n="int").evaluate({}, {"n": 1, "other": object()}) is True


FEATURES = {
    "i": ("int", 5),
    "u": ("uint", 7),
    "d": ("double", 1.5),
    "s": ("string", "é12"),
    "y": ("bytes", "YWJj"),
    "t": ("timestamp", "2024-02-29T13:14:15.678Z"),
    "w": ("duration", "90m1.5s"),
    "l": ("list<int>", [1, 2, 3]),
    "m": ("map<int>", {"k": 1}),
    "us": ("list<uint>", [1, 2]),
    "ip": ("ipaddress", "10.0.0.1"),
    "any_": ("any", {"x": [1, "z", None]}),
}


@pytest.mark.parametrize(
    "expression",
    """i + 1 == 6; u + 1u == 8u; d + 0.5 == 2.0; s + 'x' == 'é12x'; y + b'd' == b'abcd'; t + w > t; t - w < t
    w + duration('1s') == duration('1h30m2.5s'); t - t == duration('0s'); w - w == duration('0s'); i - 1 == 4
    i * 2 == 10; i / 2 == 2; i % 2 == 1; u % 2u == 1u; -i == -5; -d == -1.5; i - -1 == 6; y < b'abd'; d < 2.0
    t.getFullYear() == 2024; t.getMonth() == 1; t.getDate() == 29; t.getDayOfMonth() == 28
    t.getDayOfWeek() == 4; t.getDayOfYear() == 59; t.getHours() == 13; t.getMinutes() == 14
    t.getSeconds() == 15
    t.getMilliseconds() == 678; t.getHours('+02:00') == 15; t.getHours('America/New_York') == 8
    t.getDate('+14:00') == 1; t.getDayOfWeek('+14:00') == 5; t.getMonth('+14:00') == 2
    t.getMinutes('-00:15') == 59; w.getHours() == 1; w.getMinutes() == 90; w.getSeconds() == 5401
    s.contains('1'); s.startsWith('é'); s.endsWith('2'); s.matches('^é[0-9]+$'); s.size() == 3; size(s) == 3
    y.size() == 3; l.size() == 3; size(m) == 1; int(u) == 7; int(d) == 1; int('12') == 12; uint(i) == 5u
    double(i) == 5.0; string(i) == '5'; string(u) == '7'; string(y) == 'abc'; bytes(s) == b'\\xc3\\xa912'
    timestamp('2024-01-01T00:00:00Z') < t; duration('1s') < w; 1 in l; 'k' in m; m.k == 1; m['k'] == 1
    l[0] == 1; us[0] + 1u == 2u; has(m.k); !has(m.z); !has(any_.q); any_.x[0] == 1; any_.x[1] == 'z'
    any_.x[2] == null; l.all(x, x > 0); l.exists(x, x == 2); l.exists_one(x, x > 2)
    l.map(x, x * 2) == [2, 4, 6]; l.filter(x, x > 1) == [2, 3]; l.map(x, x > 1, x * 2) == [4, 6]
    m.all(k, m[k] == 1); us.all(x, x < 3u)
    2u in us; i > 4 ? true : false; {'a': 1}.a == 1; [1, 2][1] == 2; 1.0e3 == 1000.0; 0x10 == 16; .5 == 0.5
    "a'b" == 'a\\'b'; r'\\n' != '\\n'; '\\x41' == 'A'; '\\101' == 'A'; "\\U0001F600".size() == 1
    ip.in_cidr('10.0.0.0/8'); !ip.in_cidr('192.168.0.0/16'); ip == ip; i == 5 // a comment
    ip == ipaddress('::ffff:10.0.0.1'); ipaddress('10.1.2.3').in_cidr('10.0.0.0/8')""".replace(
        "\n", ";"
    ).split(";"),
)
def test_the_language(expression: str) -> None:
    types = {name: type_ for name, (type_, _) in FEATURES.items()}
    context = {name: value for name, (_, value) in FEATURES.items()}
    assert program(expression.strip(), **types).evaluate({}, context) is True


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("n", "takes bool, got int"),
        ("n + 'a' == 'b'", "`+` does not take (int, string)"),
        ("n == 'a'", "`==` mixes int and string"),
        ("n == 1.0", "`==` mixes int and double"),
        ("n && true", "`&&` takes bool, got int"),
        ("!n", "`!` takes bool, got int"),
        ("n ? true : false", "the test before `?` takes bool, got int"),
        ("b ? 1 : 'a'", "the parts of `? :` mixes int and string"),
        ("n.x == 1", "`.x` of a value of type int"),
        ("n[0] == 1", "is indexed by"),
        ("l['a'] == 1", "is indexed by string"),
        ("'a' in l", "`in` looks for string among int"),
        ("'a' in 'abc'", "not in string"),
        ("n.all(x, x)", "goes over a list or a map"),
        ("l.all(x, x)", "tests something of type int"),
        ("l.all(1, true)", "needs a variable first"),
        ("l.all(x, x > 0) && x > 0", "`x` is not a parameter"),
        ("foo(n)", "no function `foo`"),
        ("n.foo()", "no method `foo`"),
        ("has(n)", "`has` asks for one field"),
        ("ip.in_cidr('10.0.0.0/99')", "is not a network"),
        ("'10.0.0.1'.in_cidr('10.0.0.0/8')", "does not take (string, string)"),
        ("n > ", "expected a value"),
        ("n > 1 n", "expected an operator"),
        ("n > 1)", "expected an operator"),
        ("'abc", "unexpected `'`"),
        ("'\\q' == 'a'", "unknown escape"),
        ("", "expected a value"),
        ("b" + " || b" * 2_000, "longer than 4,096 bytes"),
        ("(" * 40 + "b" + ")" * 40, "levels deep"),
    ],
)
def test_an_expression_is_checked_when_it_is_written(expression: str, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        program(expression, n="int", b="bool", l="list<int>", ip="ipaddress")
    assert message in caught.value.message
    assert "condition `c`" in caught.value.message


def test_an_expression_that_fails_is_an_error_with_a_remedy() -> None:
    with pytest.raises(Invalid, match=r"condition `c` fails: .*zero") as caught:
        program("1 / n == 1", n="int").evaluate({}, {"n": 0})
    assert "has(map.key)" in caught.value.hint
    with pytest.raises(Invalid, match="condition `c` fails"):
        program("m.k == 1", m="map<int>").evaluate({}, {"m": {}})
    with pytest.raises(Invalid, match="neither true nor false"):
        program("a", a="any").evaluate({}, {"a": 1})


def test_stored_context_is_checked() -> None:
    schema = parse_schema("caveat c(n int) { n > 1 } definition user {}")
    found = Conditions(schema)
    found.check_stored(TupleCondition.of("c", {"n": 1}))
    with pytest.raises(Invalid, match="no parameter `m`"):
        found.check_stored(TupleCondition.of("c", {"m": 1}))
    with pytest.raises(Invalid, match="takes int"):
        found.check_stored(TupleCondition.of("c", {"n": "x"}))
    assert found.evaluate(TupleCondition.of("c", {"n": 2}), {"n": 0}) is True
    assert found.evaluate(TupleCondition("c"), {}) == missing("n")


def test_what_a_condition_may_cost_is_bounded() -> None:
    long = list(range(5_000))
    assert program("l.all(x, x >= 0)", l="list<int>").evaluate({}, {"l": long}) is True
    with pytest.raises(LimitExceeded, match="steps"):
        program("l.all(x, l.all(y, x >= y))", l="list<int>").evaluate({}, {"l": long})
    with_gap = program("l.all(x, x == x || b)", l="list<int>", b="bool")
    started = time.process_time()
    assert with_gap.evaluate({}, {"l": list(range(9_900))}) is True
    assert time.process_time() - started < 5, "a gap makes a loop quadratic"
    joined = program("(a + a + a + a).all(x, (a + a + a + a).all(y, x == y))", a="any")
    assert joined.evaluate({}, {"a": [1] * 5}) is True
    with pytest.raises(LimitExceeded, match="steps"):
        joined.evaluate({}, {"a": [1] * 300})
    with pytest.raises(LimitExceeded, match="more than 10,000 values"):
        program("l == l", l="list<int>").evaluate({}, {"l": long + long})
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(LimitExceeded, match="levels deep"):
        program("a == a", a="any").evaluate({}, {"a": deep})
    while isinstance(deep, list):
        deep = deep.pop()
