from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.authz.conditions import Program
from weft.authz.schema.model import ValueType
from weft.core.errors import Invalid
from weft.testing.authz_schemas import condition_of, values


def program(expression: str, **parameters: str) -> Program:
    return Program(condition_of(expression, **parameters))


@pytest.mark.parametrize(
    ("address", "network", "inside"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("::ffff:10.1.2.3", "10.0.0.0/8", True),
        ("::ffff:0a01:0203", "10.0.0.0/8", True),
        ("::ffff:11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "::ffff:10.0.0.0/104", True),
        ("11.1.2.3", "::ffff:10.0.0.0/104", False),
        ("::ffff:10.1.2.3", "::ffff:10.0.0.0/104", True),
        ("10.1.2.3", "::/0", False),
        ("2001:db8::5", "2001:db8::/32", True),
        ("2001:db9::5", "2001:db8::/32", False),
        ("10.1.2.3", "10.9.9.9/8", True),
        ("0.0.0.1", "::/96", False),
    ],
)
def test_networks_see_through_mapped_addresses(address: str, network: str, inside: bool) -> None:
    test = program("a.in_cidr(n)", a="ipaddress", n="string")
    assert test.evaluate({}, {"a": address, "n": network}) is inside
    constant = program(f"a.in_cidr('{network}')", a="ipaddress")
    assert constant.evaluate({}, {"a": address}) is inside
    assert program("a.in_cidr(n)", a="any", n="any").evaluate({}, {"a": address, "n": network}) is inside


def test_an_address_is_the_same_however_it_is_written() -> None:
    test = program("a == b", a="ipaddress", b="ipaddress")
    assert test.evaluate({}, {"a": "::ffff:10.0.0.1", "b": "10.0.0.1"}) is True
    assert test.evaluate({}, {"a": "2001:DB8:0::1", "b": "2001:db8::1"}) is True


@pytest.mark.parametrize(
    ("type_", "value", "got"),
    [
        ("int", "5", '`"5"`'),
        ("int", 1.5, "`1.5`"),
        ("int", True, "`true`"),
        ("int", 2**63, "`9223372036854775808`"),
        ("int", 2.0**60, "`1.152921504606847e+18`"),
        ("uint", -1, "`-1`"),
        ("double", "x", '`"x"`'),
        ("bool", 1, "`1`"),
        ("string", 1, "`1`"),
        ("string", "\ud800", '`"\\ud800"`'),
        ("bytes", "not base64!", '`"not base64!"`'),
        ("timestamp", "2030-01-01", '`"2030-01-01"`'),
        ("timestamp", "2030-01-01T00:00:00", '`"2030-01-01T00:00:00"`'),
        ("timestamp", "0001-01-01T00:00:00+10:00", '`"0001-01-01T00:00:00+10:00"`'),
        ("duration", "1 hour", '`"1 hour"`'),
        ("duration", "9" * 50 + "h", '`"' + "9" * 39 + "`"),
        ("ipaddress", "10.0.0", '`"10.0.0"`'),
        ("ipaddress", "fe80::1%eth0", '`"fe80::1%eth0"`'),
        ("ipaddress", 5, "`5`"),
        ("list<int>", 1, "`1`"),
        ("list<int>", ["a"], '`["a"]`'),
        ("map<int>", {"a": "b"}, '`{"a": "b"}`'),
        ("map<int>", [1], "`[1]`"),
        ("any", {"a": object()}, "`{'a'"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(type_: str, value: Any, got: str) -> None:
    with pytest.raises(Invalid) as caught:
        program("p == p", p=type_).evaluate({}, {"p": value})
    assert f"parameter `p` of condition `c` takes {type_}, got {got}" in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("type_", "value", "same"),
    [
        ("int", 5.0, "p == 5"),
        ("double", 5, "p == 5.0"),
        ("uint", 2**64 - 1, "p == 18446744073709551615u"),
        ("bytes", b"abc", "p == b'abc'"),
        ("timestamp", datetime(2030, 1, 1, tzinfo=UTC), "p == timestamp('2030-01-01T00:00:00Z')"),
        ("timestamp", "2030-01-01T02:00:00.123456789+02:00", "p > timestamp('2030-01-01T00:00:00Z')"),
        ("duration", timedelta(seconds=90), "p == duration('1m30s')"),
        ("duration", "-1.5h", "p == duration('-90m')"),
        ("duration", "0", "p == duration('0s')"),
        ("list<map<int>>", ({"a": 1},), "p[0].a == 1"),
    ],
)
def test_python_and_json_values(type_: str, value: Any, same: str) -> None:
    assert program(same, p=type_).evaluate({}, {"p": value}) is True


@given(st.data())
def test_generated_values_are_taken(data: st.DataObject) -> None:
    for name in ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "ipaddress"):
        value = data.draw(values(ValueType(name)))
        assert program("p == p", p=name).evaluate({}, {"p": value}) is True
