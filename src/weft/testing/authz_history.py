"""Random histories of a tuple store, and how each revision is held against the sets that were written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from weft.authz.store import Lookup, Objects, Read, TupleStore, Users, canonical_key
from weft.authz.tuples import ObjectRef, RelationTuple, TupleCondition, TupleFilter, User, parse_tuple

_ITEMS = st.builds(
    RelationTuple,
    st.builds(ObjectRef, st.sampled_from(["doc", "group"]), st.sampled_from("12")),
    st.sampled_from(["viewer", "member"]),
    st.builds(User, st.sampled_from(["user", "group"]), st.sampled_from(["1", "*"])),
    st.none()
    | st.builds(TupleCondition.of, st.just("recent"), st.fixed_dictionaries({"n": st.integers(0, 1)})),
    st.none() | st.sampled_from([2**41, 2**52]),
)
COMMITS = st.lists(
    st.tuples(st.lists(st.tuples(st.booleans(), _ITEMS), max_size=6, unique_by=lambda e: e[1].key)),
    max_size=6,
)
"""Commits: tuples, each with whether it goes."""


def agrees(store: TupleStore, revision: int, expected: set[RelationTuple], page: int) -> None:
    """Scan, export and every read show the same set."""
    for where in (
        TupleFilter(),
        TupleFilter(namespace="doc"),
        TupleFilter(user_namespace="user", user_id="1"),
    ):
        found = list(pages_of(store, where, revision, page))
        assert len(found) == len(set(found))
        assert set(found) == {item for item in expected if where.matches(item)}
    exported = [str(item) for item in sorted(expected, key=canonical_key)]
    assert list(store.export(revision)) == exported
    for place, line in enumerate(exported, 1):
        assert list(store.export(revision, after=parse_tuple(line))) == exported[place:]
    objects = {(item.object, item.relation) for item in expected}
    for object_, relation in objects:
        [users] = store.answer([Users(object_, relation)], revision)
        assert set(users) == {i for i in expected if (i.object, i.relation) == (object_, relation)}
    for item in expected:
        reads: list[Read] = [
            Lookup(item.object, item.relation, (item.user,)),
            Objects(item.user, item.object.namespace, item.relation),
        ]
        named, objects_of = store.answer(reads, revision)
        assert named == [item]
        assert item in objects_of
        assert all(found in expected for found in objects_of)


def replays(store: TupleStore, states: list[dict[Any, RelationTuple]]) -> None:
    """The change log leads from each state to the next."""
    replayed: dict[Any, RelationTuple] = {}
    commits = store.changes(0)
    assert len(commits) == len(states) - 1
    for commit, state in zip(commits, states[1:], strict=True):
        for change in commit.changes:
            if change.operation == "touch":
                replayed[change.item.key] = change.item
            else:
                del replayed[change.item.key]
        assert replayed == state


def pages_of(store: TupleStore, where: TupleFilter, revision: int, limit: int) -> Iterator[RelationTuple]:
    after = None
    for _ in range(100):
        page = store.scan(where, revision, limit=limit, after=after)
        assert len(page.items) <= limit
        yield from page.items
        after = page.next
        if after is None:
            return
    raise AssertionError("the pages never end")
