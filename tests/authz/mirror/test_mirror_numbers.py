"""Texts find their numbers, once and for ever; a text without one may have one after the next commit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from weft.authz.mirror.numbers import Numbers
from weft.authz.mirror.rows import NAMESPACE_SHIFT, SERIAL_MASK, USERSET_SHIFT
from weft.authz.store import Write
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.stores.lmdb_numbered import NumberedStore
from weft.authz.tuples import ObjectRef, RelationTuple, User, parse_object, parse_tuple, parse_user
from weft.core.errors import Invalid, LimitExceeded
from weft.testing.authz_store import IDENTITIES


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    with LmdbStore(tmp_path / "store") as store:
        yield store


def write(store: LmdbStore, *texts: str) -> None:
    store.write(Write(touch=[parse_tuple(text) for text in texts]))


def ids_asked_for(numbered: NumberedStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids that the store will be asked for."""
    asked: list[str] = []
    look_up = numbered.object

    def object_(namespace: str, id_: str) -> int | None:
        asked.append(id_)
        return look_up(namespace, id_)

    monkeypatch.setattr(numbered, "object", object_)
    return asked


def test_numbers_say_namespace_serial_and_relation(store: LmdbStore) -> None:
    write(store, "doc:1#viewer@group:eng#member", "doc:1#viewer@user:*", "doc:1#viewer@user:ann")
    numbers = Numbers(store.numbered())
    object_, userset = numbers.object_("doc:1"), numbers.user("group:eng#member")
    everybody, ann = numbers.user("user:*"), numbers.user("user:ann")
    assert object_ is not None
    assert userset is not None
    assert everybody is not None
    assert ann is not None
    assert object_ >> NAMESPACE_SHIFT == numbers.namespace("doc")
    assert userset >> USERSET_SHIFT == numbers.relation("member")
    assert userset & ((1 << USERSET_SHIFT) - 1) == numbers.object_("group:eng")
    assert everybody & SERIAL_MASK == 0
    assert everybody >> NAMESPACE_SHIFT == ann >> NAMESPACE_SHIFT == numbers.namespace("user")
    assert numbers.relation("") == 0
    for text in ("doc:1", "group:eng#member", "user:*", "user:ann"):
        number = numbers.user(text)
        assert number is not None
        assert numbers.text(number) == text


def test_identities_are_byte_exact(store: LmdbStore) -> None:
    items = [RelationTuple(ObjectRef("doc", id_), "viewer", User("doc", id_, "viewer")) for id_ in IDENTITIES]
    store.write(Write(touch=items))
    numbers = Numbers(store.numbered())
    found = {}
    for item in items:
        number = numbers.object_(str(item.object))
        assert number is not None
        assert number == numbers.object_(item.object)
        assert numbers.text(number) == str(item.object)
        userset = numbers.user(str(item.user))
        assert userset is not None
        assert userset == numbers.user(item.user)
        assert numbers.text(userset) == str(item.user)
        found[number] = item
    assert len(found) == len(IDENTITIES)


def test_one_get_on_the_text_is_enough_from_the_second_time_on(store: LmdbStore) -> None:
    write(store, "doc:1#viewer@user:ann")
    numbers = Numbers(store.numbered())
    objects, users = numbers.object_texts.get, numbers.user_texts.get
    assert objects("doc:1") is None
    assert numbers.object_("doc:1") == objects("doc:1") is not None
    assert numbers.user("user:ann") == users("user:ann") is not None
    assert objects("user:ann") is None


def test_what_is_unknown_may_be_written_next(store: LmdbStore) -> None:
    write(store, "doc:1#viewer@user:ann")
    numbers = Numbers(store.numbered())
    for _ in range(2):
        assert numbers.user("user:bob") is None
        assert numbers.user("team:a#member") is None
        assert numbers.relation("member") is None
        assert numbers.namespace("team") is None
    write(store, "doc:1#viewer@user:bob", "doc:1#viewer@team:a#member")
    assert numbers.user("user:bob") is not None
    assert numbers.user("team:a#member") is not None
    assert numbers.relation("member") is not None
    assert numbers.namespace("team") is not None


def test_the_unknown_is_looked_up_once_a_commit(store: LmdbStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, "doc:1#viewer@user:ann")
    numbered = store.numbered()
    asked = ids_asked_for(numbered, monkeypatch)
    numbers = Numbers(numbered)
    for _ in range(3):
        assert numbers.user("user:bob") is None
    assert asked == ["bob"]
    write(store, "doc:2#viewer@user:ann")
    assert numbers.user("user:bob") is None
    assert asked == ["bob", "bob"]


def test_texts_are_bounded_and_what_is_asked_for_stays(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(store, *(f"doc:{number}#viewer@user:ann" for number in range(40)))
    numbered = store.numbered()
    asked = ids_asked_for(numbered, monkeypatch)
    numbers = Numbers(numbered, most=10)
    first = numbers.object_("doc:0")
    for number in range(1, 40):
        numbers.object_(f"doc:{number}")
        assert numbers.object_("doc:0") == first
        assert len(numbers.object_texts) <= 10
        assert len(numbers.object_texts._before) <= 10
        assert "doc:0" in numbers.object_texts
    assert asked.count("0") == 1


@pytest.mark.parametrize("text", ["doc", "doc:", "doc:1#viewer", "doc:*", "*", ""])
def test_what_is_no_object_gets_the_parsers_error(store: LmdbStore, text: str) -> None:
    write(store, "doc:1#viewer@doc:*", "doc:1#viewer@doc:1#viewer")
    numbers = Numbers(store.numbered())
    assert numbers.user("doc:*") is not None
    with pytest.raises(Invalid) as expected:
        parse_object(text)
    with pytest.raises(Invalid) as raised:
        numbers.object_(text)
    assert str(raised.value) == str(expected.value)


def test_what_is_no_user_gets_the_parsers_error(store: LmdbStore) -> None:
    numbers = Numbers(store.numbered())
    for text in ("user", "user:ann#", "user:" + "x" * 2_000):
        with pytest.raises((Invalid, LimitExceeded)) as expected:
            parse_user(text)
        with pytest.raises((Invalid, LimitExceeded)) as raised:
            numbers.user(text)
        assert str(raised.value) == str(expected.value)
