"""What a view of a mirror shows, as relation tuples, read from either end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.authz.mirror.mirror import View
from weft.authz.mirror.rows import FEW, USERSET_SHIFT, Maybe, Members
from weft.authz.tuples import RelationTuple, TupleCondition, parse_object, parse_user

Userset = tuple[str, str]


def by_object(view: View, relations: Iterable[Userset]) -> set[RelationTuple]:
    """The tuples of these relations, as objects name them."""
    return set(_distinct(_forward(view, relations)))


def by_user(view: View, relations: Iterable[Userset]) -> set[RelationTuple]:
    """The tuples of these relations, as users find them."""
    return set(_distinct(_reverse(view, relations)))


def _forward(view: View, relations: Iterable[Userset]) -> Iterator[RelationTuple]:
    for namespace, relation in relations:
        rows = view.rows(namespace, relation)
        for object_, users in rows.users.items():
            assert not any(user >> USERSET_SHIFT for user in users)
            yield from (_tuple(view, object_, relation, user) for user in _sound(users))
        for object_, usersets in rows.usersets.items():
            assert all(user >> USERSET_SHIFT for user in usersets)
            yield from (_tuple(view, object_, relation, user) for user in _sound(usersets))
        for object_, maybes in rows.maybe.items():
            assert maybes
            yield from (_of(view, object_, relation, maybe.user, maybe) for maybe in maybes)


def _reverse(view: View, relations: Iterable[Userset]) -> Iterator[RelationTuple]:
    for namespace, relation in relations:
        rows = view.rows(namespace, relation)
        for user, objects in rows.objects.items():
            yield from (_tuple(view, object_, relation, user) for object_ in _sound(objects))
        for user, maybes in rows.maybe_objects.items():
            assert maybes
            yield from (_of(view, maybe.object, relation, user, maybe) for maybe in maybes)


def _sound(members: Members) -> Members:
    assert members
    assert isinstance(members, set) or len(members) <= FEW
    return members


def _of(view: View, object_: int, relation: str, user: int, row: Maybe) -> RelationTuple:
    assert (object_, user) == (row.object, row.user)
    return _tuple(view, object_, relation, user, row.condition, row.expires_at_us)


def _tuple(
    view: View,
    object_: int,
    relation: str,
    user: int,
    condition: TupleCondition | None = None,
    expires_at_us: int | None = None,
) -> RelationTuple:
    text = view.numbers.text
    return RelationTuple(
        parse_object(text(object_)), relation, parse_user(text(user)), condition, expires_at_us
    )


def _distinct(items: Iterable[RelationTuple]) -> Iterator[RelationTuple]:
    keys = set()
    for item in items:
        assert item.key not in keys, f"`{item}` is there twice"
        keys.add(item.key)
        yield item
