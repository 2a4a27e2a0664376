import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.authz.tuples import (
    ObjectRef,
    RelationTuple,
    TupleCondition,
    TupleFilter,
    User,
    canonical_json,
    check_tuple,
    format_instant,
    parse_instant,
    parse_object,
    parse_tuple,
    parse_user,
)
from weft.core.errors import Invalid, LimitExceeded, WeftError
from weft.testing.authz_schemas import json_objects, object_ids, relation_tuples, users


@given(relation_tuples())
def test_text_form_is_one_line_that_parses_back(item: RelationTuple) -> None:
    text = str(item)
    assert "\n" not in text
    assert "\r" not in text
    assert parse_tuple(text) == item
    assert str(parse_tuple(text)) == text
    assert hash(parse_tuple(text)) == hash(item)
    assert check_tuple(item) is item


@given(users(), object_ids())
def test_objects_and_users_parse_back(user: User, object_id: str) -> None:
    assert parse_user(str(user)) == user
    assert parse_object(str(ObjectRef("doc", object_id))) == ObjectRef("doc", object_id)


@given(relation_tuples(), relation_tuples())
def test_different_tuples_have_different_texts(one: RelationTuple, other: RelationTuple) -> None:
    assert (str(one) == str(other)) == (one == other)


def test_the_documented_form() -> None:
    text = 'doc:1#viewer@group:eng#member[cond:{"a":1}][expiration:2030-01-01T00:00:00Z]'
    item = parse_tuple(text)
    assert item == RelationTuple(
        ObjectRef("doc", "1"),
        "viewer",
        User("group", "eng", "member"),
        TupleCondition.of("cond", {"a": 1}),
        1_893_456_000_000_000,
    )
    assert str(item) == text
    assert str(parse_tuple("doc:1#viewer@user:ann@example.org")) == "doc:1#viewer@user:ann@example.org"


@given(st.text(string.ascii_letters + ':#@[]{}\\"*\n 1,.', max_size=60) | st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    for parse in (parse_tuple, parse_user, parse_object):
        try:
            parsed = parse(text)
        except WeftError:
            continue
        assert parse(str(parsed)) == parsed


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("doc1#viewer@user:ann", "`doc1#viewer@user:ann` is not an object"),
        ("doc:1@user:ann", "lacks `#relation@`"),
        ("doc:1#viewer", "lacks `#relation@`"),
        ("doc:1#viewer@ann", "`ann` is not a user"),
        ("doc:*#viewer@user:ann", "`*` is not the id of an object"),
        ("doc:1#viewer@group:*#member", "`*` is not the id of an object"),
        ("doc:1#viewer@user:ann[late:{]", "is not JSON"),
        ("doc:1#viewer@user:ann[late:[1]]", "is not a JSON object"),
        ("doc:1#viewer@user:ann[late:{}", "no closing `]`"),
        ('doc:1#viewer@user:ann[late:{"a":1,"a":2}]', "a key stands twice"),
        ("doc:1#viewer@user:ann[a][b]", "two conditions"),
        ("doc:1#viewer@user:ann[expiration:tomorrow]", "`tomorrow` is not a time"),
        ("doc:1#viewer@user:ann[expiration:2030-02-30T00:00:00Z]", "is not a time"),
        ("doc:1#viewer@user:ann[expiration:1969-12-31T23:59:59Z]", "is not a time"),
        ("doc:a\\b#viewer@user:ann", "is not an object"),
        ("doc:1#viewer@user:\ud800", "surrogate"),
    ],
)
def test_a_malformed_tuple_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_tuple(text)
    assert message in caught.value.message
    assert caught.value.hint


def test_limits_count_bytes() -> None:
    assert parse_object("doc:" + "é" * 512).id == "é" * 512
    with pytest.raises(LimitExceeded, match="1,026 bytes"):
        parse_object("doc:" + "é" * 513)
    with pytest.raises(LimitExceeded, match="65 bytes"):
        parse_object("d" * 65 + ":1")
    with pytest.raises(LimitExceeded, match="context"):
        TupleCondition.of("late", {"a": "x" * 40_000})


@pytest.mark.parametrize(
    "item",
    [
        RelationTuple(ObjectRef("doc", ""), "viewer", User("user", "ann")),
        RelationTuple(ObjectRef("doc", "*"), "viewer", User("user", "ann")),
        RelationTuple(ObjectRef("doc", "1"), "vie wer", User("user", "ann")),
        RelationTuple(ObjectRef("doc", "1"), "viewer", User("user", "*", "member")),
        RelationTuple(ObjectRef("doc", "1"), "viewer", User("user", "ann"), TupleCondition("c", '{"a": 1}')),
        RelationTuple(ObjectRef("doc", "1"), "viewer", User("user", "ann"), None, -1),
    ],
)
def test_a_malformed_tuple_made_by_hand_is_refused(item: RelationTuple) -> None:
    with pytest.raises(Invalid):
        check_tuple(item)


@given(json_objects(), json_objects())
def test_contexts_share_a_text_only_when_equal(one: dict[str, object], other: dict[str, object]) -> None:
    assert TupleCondition.of("c", one).values() == one
    if canonical_json(one) == canonical_json(other):
        assert one == other


def test_the_order_of_a_context_does_not_count() -> None:
    assert canonical_json({"a": 1, "b": {"c": 2, "d": 3}}) == canonical_json({"b": {"d": 3, "c": 2}, "a": 1})


def test_what_json_cannot_hold_is_refused() -> None:
    cyclic: dict[str, object] = {}
    cyclic["self"] = cyclic
    nan: dict[str, object] = {"a": float("nan")}
    for context in (cyclic, nan, {"a": object()}, {"a": {1: 2}}, {"a": "\ud800"}):
        with pytest.raises(Invalid):
            canonical_json(context)


@given(st.integers(0, 253_402_300_799_999_999))
def test_instants_keep_their_microseconds(instant_us: int) -> None:
    assert parse_instant(format_instant(instant_us)) == instant_us


def test_other_offsets_are_read() -> None:
    assert parse_instant("2030-01-01T02:00:00.5+02:00") == 1_893_456_000_500_000


def test_a_tuple_expires_at_its_instant() -> None:
    item = RelationTuple(ObjectRef("doc", "1"), "viewer", User("user", "ann"), None, 10)
    assert [item.expired(now_us) for now_us in (9, 10)] == [False, True]


ITEM = parse_tuple("doc:1#viewer@group:eng#member")


@pytest.mark.parametrize(
    ("wanted", "matches"),
    [
        (TupleFilter(), True),
        (TupleFilter.of("doc"), True),
        (TupleFilter.of("doc:1", "viewer", "group:eng#member"), True),
        (TupleFilter.of(user="group"), True),
        (TupleFilter.of(user="group:eng"), False),
        (TupleFilter.of("doc:2"), False),
        (TupleFilter.of("folder"), False),
        (TupleFilter.of("doc", "owner"), False),
        (TupleFilter(object_id_prefix="1"), True),
        (TupleFilter(object_id_prefix="11"), False),
        (TupleFilter(user_relation=""), False),
    ],
)
def test_filters(wanted: TupleFilter, matches: bool) -> None:
    assert wanted.matches(ITEM) is matches
