"""A view of a revision shows exactly the rows that were live at it, however it is asked for."""

from __future__ import annotations

import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.authz.mirror.mirror import Mirror, View
from weft.authz.mirror.views import PastView
from weft.authz.store import Objects, Read, TupleStore, Users, Write
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.stores.memory import MemoryStore
from weft.authz.tuples import ObjectRef, RelationTuple, TupleCondition, TupleFilter, User
from weft.testing.authz_mirror import by_object, by_user
from weft.testing.authz_store import schema_change
from weft.testing.clock import VirtualClock

RELATIONS = [("doc", "viewer"), ("doc", "owner"), ("group", "viewer"), ("group", "owner")]
USERS = st.builds(User, st.just("user"), st.sampled_from([*"abcdefghijkl", "*"])) | st.builds(
    User, st.sampled_from(["group", "doc"]), st.sampled_from("12"), st.sampled_from(["viewer", "owner", ""])
)
ITEMS = st.builds(
    RelationTuple,
    st.builds(ObjectRef, st.sampled_from(["doc", "group"]), st.sampled_from("12")),
    st.sampled_from(["viewer", "owner"]),
    USERS,
    st.none()
    | st.builds(TupleCondition.of, st.just("recent"), st.fixed_dictionaries({"n": st.integers(0, 1)})),
    st.none() | st.sampled_from([2**41, 2**52]),
) | st.builds(RelationTuple, st.just(ObjectRef("doc", "1")), st.just("viewer"), USERS)
BATCHES = st.lists(st.tuples(st.booleans(), ITEMS), max_size=16, unique_by=lambda change: change[1].key)
STEPS = st.lists(
    st.tuples(st.just("write"), BATCHES)
    | st.tuples(st.just("schema"), st.none())
    | st.tuples(st.just("view"), st.integers(0, 4))
    | st.tuples(st.just("reload"), st.none()),
    min_size=1,
    max_size=14,
)


def agree(view: View, oracle: TupleStore) -> None:
    """The view shows what the oracle answers, from either end, and read key by key."""
    revision = view.revision
    page = oracle.scan(TupleFilter(), revision, limit=1_000)
    expected = set(page.items)
    assert by_object(view, RELATIONS) == expected
    assert by_user(view, RELATIONS) == expected
    reads: list[Read] = [Users(item.object, item.relation) for item in expected]
    reads += [Objects(item.user, item.object.namespace, item.relation) for item in expected]
    for read, rows in zip(reads, oracle.answer(reads, revision), strict=True):
        assert shown(view, read) == {str(row.user if isinstance(read, Users) else row.object) for row in rows}
    for item in expected:
        assert any(
            (kind.user_namespace, kind.user_relation, kind.wildcard)
            == (item.user.namespace, item.user.relation, item.user.is_wildcard)
            and kind.condition == (item.condition.name if item.condition else "")
            and kind.expires == (item.expires_at_us is not None)
            for kind in view.rows(item.object.namespace, item.relation).kinds
        )


def shown(view: View, read: Any) -> set[str]:
    numbers = view.numbers
    if isinstance(read, Users):
        rows, key = view.rows(read.object.namespace, read.relation), numbers.object_(read.object)
        assert key is not None
        found = [*rows.users.get(key, ()), *rows.usersets.get(key, ())]
        found += [maybe.user for maybe in rows.maybe.get(key, ())]
    else:
        rows, key = view.rows(read.namespace, read.relation), numbers.user(read.user)
        assert key is not None
        found = [*rows.objects.get(key, ()), *(maybe.object for maybe in rows.maybe_objects.get(key, ()))]
    return {numbers.text(number) for number in found}


@given(STEPS)
@settings(max_examples=60)
def test_views_show_what_was_live(steps: list[tuple[str, Any]]) -> None:
    clock = VirtualClock()
    with tempfile.TemporaryDirectory() as folder, LmdbStore(folder, clock) as store:
        oracle = MemoryStore(clock)
        mirror = Mirror(store.numbered())
        mirror.catch_up()
        loaded_at = 0
        held: list[View] = []
        for step, what in steps:
            if step == "write":
                write = Write(
                    touch=[item for gone, item in what if not gone],
                    delete=[item for gone, item in what if gone],
                )
                assert store.write(write).revision == oracle.write(write).revision
            elif step == "schema":
                change = schema_change(f"of {store.head().revision}", store.head().schema_revision)
                assert store.write_schema(change) == oracle.write_schema(change)
            elif step == "reload":
                mirror.close()
                assert not any(view.intact for view in held)
                held = []
                mirror = Mirror(store.numbered())
                loaded_at = store.head().revision
                mirror.catch_up()
            else:
                head = store.head().revision
                newest = mirror.view(head)
                assert newest is not None
                agree(newest, oracle)
                older = mirror.view(max(head - what, 0))
                assert older is not None or head - what < loaded_at
                held += [view for view in (newest, older) if view is not None]
        mirror.catch_up()
        for view in held:
            if isinstance(view, PastView) or view is mirror.view(view.revision):
                agree(view, oracle)
            else:
                assert not view.intact
