"""The contract of `TupleStore`: subclass `TupleStoreContract` and say how a store is opened.

Examples hold each promise by name; random histories are held against a dict per revision.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from weft.authz.store import (
    Change,
    IdempotencyConflict,
    Lookup,
    Objects,
    OrphanedTuples,
    PreconditionFailed,
    Read,
    RevisionGone,
    SchemaChange,
    SchemaMoved,
    StoredSchema,
    TupleExists,
    TupleStore,
    Users,
    Write,
)
from weft.authz.tuples import ObjectRef, RelationTuple, TupleCondition, TupleFilter, User, parse_tuple
from weft.core.errors import Invalid, NotFound
from weft.testing.authz_history import COMMITS, agrees, replays
from weft.testing.clock import VirtualClock

RETENTION_S = 3_600.0
IDENTITIES = [
    "a",
    "A",
    "a ",
    " a",
    "a\0",
    "a\0\0",
    "\0",
    "é",
    "e\u0301",
    "日本",
    "a:b",
    "a#b@c:d",
    "a\nb",
    "%",
    "_",
    "**",
    "x" * 400,
    "x" * 401,
    "x" * 1_023 + "y",
    "x" * 1_023 + "z",
]
SCHEMA = StoredSchema("first", "zed")


def tuple_of(text: str, **fields: Any) -> RelationTuple:
    item = parse_tuple(text)
    return RelationTuple(item.object, item.relation, item.user, **fields) if fields else item


ANN = tuple_of("doc:1#viewer@user:ann")
BOB = tuple_of("doc:1#viewer@user:bob")
GROUP = tuple_of("doc:1#viewer@group:eng#member")
EVERYBODY = tuple_of("doc:2#viewer@user:*")


def exactly(item: RelationTuple) -> TupleFilter:
    object_, user = item.object, item.user
    return TupleFilter(
        namespace=object_.namespace,
        object_id=object_.id,
        relation=item.relation,
        user_namespace=user.namespace,
        user_id=user.id,
        user_relation=user.relation,
    )


def schema_change(
    text: str, schema_revision: int, admits: Callable[[RelationTuple], bool] = lambda _: True
) -> SchemaChange:
    return SchemaChange(StoredSchema(text, "zed"), lambda item: not admits(item), admits, schema_revision)


def everything(store: TupleStore, revision: int) -> set[RelationTuple]:
    page = store.scan(TupleFilter(), revision, limit=1_000)
    assert page.next is None
    return set(page.items)


class TupleStoreContract:
    """Every tuple store passes this."""

    reopens = False
    """Whether what was written is there when the same folder is opened again."""

    def open_store(self, folder: Path, clock: VirtualClock) -> TupleStore:
        """A store over the folder, with a retention window of `RETENTION_S`."""
        raise AssertionError("say how the store is opened")

    @pytest.fixture
    def clock(self) -> VirtualClock:
        return VirtualClock()

    @pytest.fixture
    def store(self, tmp_path: Path, clock: VirtualClock) -> Iterator[TupleStore]:
        with self.open_store(tmp_path / "store", clock) as store:
            yield store

    # revisions

    def test_a_new_store_is_empty_at_revision_0(self, store: TupleStore) -> None:
        assert store.head() == (0, 0, 0)
        assert store.oldest() == 0
        assert everything(store, 0) == set()
        assert store.changes(0) == []

    def test_each_commit_takes_the_next_revision_and_a_later_wall_time(
        self, store: TupleStore, clock: VirtualClock
    ) -> None:
        first = store.write(Write(touch=(ANN,)))
        clock.jump(-10)
        second = store.write(Write(touch=(BOB,)))
        assert (first.revision, second.revision) == (1, 2)
        assert second.wall_us > first.wall_us
        assert store.head() == second
        assert store.head_at(1) == first

    def test_what_changes_nothing_takes_no_revision(self, store: TupleStore) -> None:
        head = store.write(Write(touch=(ANN,)))
        assert store.write(Write(touch=(ANN,))) == head
        assert store.write(Write(delete=(BOB,))) == head
        assert store.write(Write()) == head

    def test_a_revision_shows_what_was_live_at_it(self, store: TupleStore) -> None:
        store.write(Write(touch=(ANN,)))
        store.write(Write(touch=(BOB,), delete=(ANN,)))
        conditional = tuple_of(str(BOB), condition=TupleCondition("recent"))
        store.write(Write(touch=(conditional,)))
        store.write(Write(touch=(ANN,)))
        shown = [everything(store, revision) for revision in range(5)]
        assert shown == [set(), {ANN}, {BOB}, {conditional}, {conditional, ANN}]

    def test_a_revision_ahead_of_the_store_is_refused(self, store: TupleStore) -> None:
        for ask in (lambda: store.head_at(1), lambda: store.answer([], 1), lambda: everything(store, 1)):
            with pytest.raises(Invalid, match="ahead"):
                ask()

    def test_the_revision_at_a_wall_time_is_the_last_before_it(
        self, store: TupleStore, clock: VirtualClock
    ) -> None:
        start = clock.now_us()
        store.write(Write(touch=(ANN,)))
        clock.advance(10)
        store.write(Write(touch=(BOB,)))
        assert [store.revision_at(start + s * 1_000_000) for s in (-1, 0, 9, 10, 11)] == [0, 1, 1, 2, 2]

    # identity

    @pytest.mark.parametrize("place", ["object", "user", "userset"])
    def test_ids_are_told_apart_byte_by_byte(self, store: TupleStore, place: str) -> None:
        def item(id_: str) -> RelationTuple:
            if place == "object":
                return RelationTuple(ObjectRef("doc", id_), "viewer", User("user", "ann"))
            relation = "member" if place == "userset" else ""
            return RelationTuple(ObjectRef("doc", "1"), "viewer", User("group", id_, relation))

        head = store.write(Write(create=tuple(map(item, IDENTITIES))))
        assert everything(store, head.revision) == set(map(item, IDENTITIES))
        for id_ in IDENTITIES:
            assert store.scan(exactly(item(id_)), head.revision, limit=9).items == [item(id_)]
            head = store.write(Write(delete=(item(id_),)))
        assert everything(store, head.revision) == set()

    def test_condition_and_expiry_are_the_value_of_a_tuple(self, store: TupleStore) -> None:
        condition = TupleCondition.of("recent", {"region": "é\n\0"})
        versions = [
            ANN,
            tuple_of(str(ANN), condition=condition),
            tuple_of(str(ANN), expires_at_us=2**52),
            tuple_of(str(ANN), condition=condition, expires_at_us=2**52),
        ]
        for revision, version in enumerate(versions, 1):
            assert store.write(Write(touch=(version,))).revision == revision
        for revision, version in enumerate(versions, 1):
            assert everything(store, revision) == {version}

    # reads

    def test_reads_of_a_set_are_answered_in_order(self, store: TupleStore) -> None:
        revision = store.write(Write(touch=(ANN, BOB, GROUP, EVERYBODY))).revision
        doc, other = ANN.object, EVERYBODY.object
        reads: list[Read] = [
            Lookup(doc, "viewer", (ANN.user, User("user", "cy"))),
            Lookup(doc, "editor", (ANN.user,)),
            Users(doc, "viewer"),
            Users(doc, "viewer", usersets=True),
            Users(other, "viewer"),
            Users(ObjectRef("doc", "9"), "viewer"),
            Objects(GROUP.user, "doc", "viewer"),
            Objects(User("user", "*"), "doc", "viewer"),
            Objects(ANN.user, "group", "viewer"),
            Objects(ANN.user, "doc", "editor"),
        ]
        answers = [set(rows) for rows in store.answer(reads, revision)]
        assert answers == [
            {ANN},
            set(),
            {ANN, BOB, GROUP},
            {GROUP},
            {EVERYBODY},
            set(),
            {GROUP},
            {EVERYBODY},
            set(),
            set(),
        ]
        assert store.answer([], revision) == []

    def test_one_name_may_serve_for_everything(self, store: TupleStore) -> None:
        item = tuple_of("group:group#group@group:group#group")
        plain = tuple_of("group:group#group@group:group")
        revision = store.write(Write(touch=(item, plain))).revision
        reads: list[Read] = [
            Users(item.object, "group", usersets=True),
            Lookup(item.object, "group", (item.user,)),
            Objects(item.user, "group", "group"),
            Objects(plain.user, "group", "group"),
        ]
        assert store.answer(reads, revision) == [[item], [item], [item], [plain]]

    def test_a_scan_goes_by_any_part_of_a_tuple(self, store: TupleStore) -> None:
        items = {ANN, BOB, GROUP, EVERYBODY, tuple_of("group:eng#member@user:ann")}
        revision = store.write(Write(touch=tuple(items))).revision
        filters = [
            TupleFilter(),
            TupleFilter(namespace="doc"),
            TupleFilter(namespace="doc", object_id="1"),
            TupleFilter(namespace="doc", object_id_prefix="1"),
            TupleFilter(relation="member"),
            TupleFilter(user_namespace="user"),
            TupleFilter(user_namespace="user", user_id="ann"),
            TupleFilter(user_namespace="user", user_id="ann", relation="member"),
            TupleFilter(user_namespace="group", user_id="eng", user_relation="member"),
            TupleFilter(user_namespace="group", user_id="eng", user_relation=""),
            TupleFilter(user_id="ann"),
            TupleFilter(namespace="nowhere"),
            exactly(ANN),
        ]
        for where in filters:
            found = store.scan(where, revision, limit=100).items
            assert len(found) == len(set(found))
            assert set(found) == {item for item in items if where.matches(item)}, where

    # writes

    def test_create_refuses_what_is_there_and_changes_nothing(self, store: TupleStore) -> None:
        head = store.write(Write(create=(ANN,)))
        with pytest.raises(TupleExists, match="`doc:1#viewer@user:ann`"):
            store.write(Write(create=(BOB, ANN), delete=(GROUP,)))
        assert store.head() == head
        assert everything(store, head.revision) == {ANN}

    def test_an_expired_tuple_is_absent_to_writes(self, store: TupleStore, clock: VirtualClock) -> None:
        old = tuple_of(str(ANN), expires_at_us=clock.now_us() + 1_000_000)
        store.write(Write(create=(old,)))
        with pytest.raises(TupleExists):
            store.write(Write(create=(ANN,)))
        clock.advance(1)
        with pytest.raises(PreconditionFailed):
            store.write(Write(touch=(BOB,), must_exist=(exactly(ANN),)))
        store.write(Write(touch=(BOB,), must_not_exist=(exactly(ANN),)))
        head = store.write(Write(create=(ANN,)))
        assert everything(store, head.revision) == {ANN, BOB}

    def test_preconditions_hold_in_the_instant_of_the_write(self, store: TupleStore) -> None:
        store.write(Write(touch=(ANN,)))
        for write in (
            Write(touch=(BOB,), must_exist=(exactly(BOB),)),
            Write(touch=(BOB,), must_not_exist=(TupleFilter(namespace="doc", object_id="1"),)),
            Write(touch=(BOB,), must_exist=(exactly(ANN), exactly(GROUP))),
        ):
            with pytest.raises(PreconditionFailed, match="`"):
                store.write(write)
        assert store.head().revision == 1
        moved = Write(delete=(ANN,), touch=(BOB,), must_exist=(exactly(ANN),), must_not_exist=(exactly(BOB),))
        assert everything(store, store.write(moved).revision) == {BOB}

    def test_an_idempotency_key_writes_once(self, store: TupleStore) -> None:
        write = Write(create=(ANN,), idempotency_key="k")
        head = store.write(write)
        store.write(Write(delete=(ANN,)))
        assert store.write(write) == head
        assert everything(store, store.head().revision) == set()
        with pytest.raises(IdempotencyConflict, match="`k`"):
            store.write(Write(create=(BOB,), idempotency_key="k"))
        failed = Write(touch=(BOB,), must_exist=(exactly(GROUP),), idempotency_key="f")
        with pytest.raises(PreconditionFailed):
            store.write(failed)
        store.write(Write(touch=(GROUP,)))
        assert store.write(failed).revision == store.head().revision

    def test_concurrent_writers_take_turns(self, store: TupleStore) -> None:
        barrier = Barrier(4)

        def add(number: int) -> None:
            barrier.wait()
            for index in range(10):
                store.write(Write(create=(tuple_of(f"doc:{number}-{index}#viewer@user:ann"),)))

        threads = [Thread(target=add, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.head().revision == 40
        assert len(everything(store, 40)) == 40
        commits = store.changes(0)
        assert [commit.revision for commit in commits] == list(range(1, 41))
        assert sorted(c.wall_us for c in commits) == [c.wall_us for c in commits]

    # schemas

    def test_schemas_are_revisions(self, store: TupleStore) -> None:
        assert store.write_schema(schema_change("first", 0)) == (1, store.head().wall_us, 1)
        store.write(Write(touch=(ANN,), schema_revision=1))
        assert store.write_schema(schema_change("first", 1)).revision == 2
        head = store.write_schema(schema_change("second", 1))
        assert (head.revision, head.schema_revision) == (3, 3)
        assert [store.head_at(revision).schema_revision for revision in range(4)] == [0, 1, 1, 3]
        assert [store.read_schema(revision).text for revision in (1, 3)] == ["first", "second"]
        with pytest.raises(NotFound):
            store.read_schema(2)

    def test_a_write_against_another_schema_is_refused(self, store: TupleStore) -> None:
        store.write_schema(schema_change("first", 0))
        store.write_schema(schema_change("second", 1))
        with pytest.raises(SchemaMoved):
            store.write(Write(touch=(ANN,), schema_revision=1))
        with pytest.raises(SchemaMoved):
            store.write_schema(schema_change("third", 1))
        assert store.head().revision == 2

    def test_a_schema_that_would_orphan_tuples_is_refused_with_them(
        self, store: TupleStore, clock: VirtualClock
    ) -> None:
        expiring = tuple_of("doc:3#viewer@user:cy", expires_at_us=clock.now_us() + 1)
        store.write(Write(touch=(ANN, GROUP, EVERYBODY, expiring)))
        refusals: list[tuple[Callable[[RelationTuple], bool], set[RelationTuple]]] = [
            (lambda item: item.user.relation == "", {GROUP}),
            (lambda item: not item.user.is_wildcard, {EVERYBODY}),
            (lambda item: item.expires_at_us is None, {expiring}),
            (lambda item: item.object.namespace != "doc", {ANN, GROUP, EVERYBODY, expiring}),
        ]
        for admits, orphans in refusals:
            with pytest.raises(OrphanedTuples) as caught:
                store.write_schema(schema_change("strict", 0, admits))
            assert set(caught.value.tuples) == orphans
        assert store.head().revision == 1
        clock.advance(1)
        assert store.write_schema(schema_change("strict", 0, refusals[2][0])).revision == 2
        store.write(Write(delete=(GROUP,)))
        assert store.write_schema(schema_change("plain", 2, refusals[0][0])).revision == 4

    # the change log

    def test_places_are_distinct_and_stay(self, store: TupleStore) -> None:
        objects = [ANN.object, EVERYBODY.object, ANN.user.object, GROUP.user.object]
        store.write(Write(touch=[ANN, GROUP, EVERYBODY]))
        before = store.places(objects)
        store.write(Write(delete=[ANN], touch=[tuple_of("doc:0#viewer@user:0"), BOB]))
        assert store.places(objects) == before
        assert None not in before
        assert len(set(store.places([ANN.object, EVERYBODY.object, ObjectRef("doc", "0")]))) == 3

    def test_changes_are_what_each_commit_did(self, store: TupleStore) -> None:
        store.write_schema(schema_change("first", 0))
        store.write(Write(touch=(ANN, BOB)))
        store.write(Write(touch=(ANN, GROUP), delete=(BOB, EVERYBODY)))
        commits = store.changes(0)
        assert [commit.schema for commit in commits] == [SCHEMA, None, None]
        assert [set(commit.changes) for commit in commits] == [
            set(),
            {Change("touch", ANN), Change("touch", BOB)},
            {Change("touch", GROUP), Change("delete", BOB)},
        ]
        assert [c.revision for c in store.changes(1, limit=1)] == [2]
        assert store.changes(3) == []

    def test_history_is_kept_for_the_window_and_then_collected(
        self, store: TupleStore, clock: VirtualClock
    ) -> None:
        store.write(Write(touch=(ANN,)))
        store.write(Write(touch=(BOB,), delete=(ANN,)))
        clock.advance(RETENTION_S / 2)
        store.write(Write(touch=(GROUP,), delete=(BOB,)))
        assert store.collect() == 0
        clock.advance(RETENTION_S / 2 + 1)
        assert store.collect() > 0
        assert store.oldest() == 2
        assert everything(store, 2) == {BOB}
        assert everything(store, 3) == {GROUP}
        assert store.head_at(2).revision == 2
        assert [commit.revision for commit in store.changes(2)] == [3]
        for ask in (lambda: everything(store, 1), lambda: store.changes(1), lambda: store.head_at(1)):
            with pytest.raises(RevisionGone, match="older"):
                ask()
        clock.advance(RETENTION_S)
        store.collect()
        assert store.oldest() == 3
        assert everything(store, 3) == {GROUP}
        assert store.collect() == 0

    def test_expired_tuples_and_idempotency_keys_go_after_the_window(
        self, store: TupleStore, clock: VirtualClock
    ) -> None:
        expiring = tuple_of(str(ANN), expires_at_us=clock.now_us() + 1_000_000)
        write = Write(touch=(expiring, BOB), idempotency_key="k")
        revision = store.write(write).revision
        clock.advance(2)
        store.collect()
        assert everything(store, revision) == {expiring, BOB}
        clock.advance(RETENTION_S)
        store.collect()
        assert everything(store, revision) == {BOB}
        assert store.answer([Objects(ANN.user, "doc", "viewer")], revision) == [[]]
        assert store.write(write).revision == revision + 1

    def test_a_key_is_kept_from_its_use_even_if_that_changed_nothing(
        self, store: TupleStore, clock: VirtualClock
    ) -> None:
        store.write(Write(touch=(ANN,)))
        clock.advance(RETENTION_S + 1)
        write = Write(touch=(ANN,), idempotency_key="k")
        store.write(write)
        store.collect()
        store.write(Write(delete=(ANN,)))
        store.write(write)
        assert everything(store, store.head().revision) == set()

    # random histories

    @settings(max_examples=25, suppress_health_check=[HealthCheck.differing_executors])
    @given(commits=COMMITS, page=st.integers(1, 4))
    def test_every_revision_of_a_random_history(self, commits: list[Any], page: int) -> None:
        with (
            tempfile.TemporaryDirectory() as folder,
            self.open_store(Path(folder) / "store", VirtualClock()) as store,
        ):
            state: dict[Any, RelationTuple] = {}
            states = [state]
            for (commit,) in commits:
                delete = tuple(item for gone, item in commit if gone)
                touch = tuple(item for gone, item in commit if not gone)
                before, state = state, dict(state)
                for item in delete:
                    state.pop(item.key, None)
                state.update({item.key: item for item in touch})
                head = store.write(Write(touch=touch, delete=delete))
                assert head.revision == len(states) - (state == before)
                if state != before:
                    states.append(state)
            for revision, then in enumerate(states):
                agrees(store, revision, set(then.values()), page)
            replays(store, states)

    # life

    def test_a_closed_store_says_so(self, store: TupleStore) -> None:
        store.close()
        store.close()
        for ask in (store.head, lambda: store.answer([], 0), lambda: store.write(Write(touch=(ANN,)))):
            with pytest.raises(Invalid, match="closed"):
                ask()

    def test_what_was_written_is_there_when_opened_again(self, tmp_path: Path, clock: VirtualClock) -> None:
        with self.open_store(tmp_path / "store", clock) as store:
            identity = store.store_id, store.secret
            store.write_schema(schema_change("first", 0))
            head = store.write(Write(touch=(ANN, GROUP)))
        with self.open_store(tmp_path / "store", clock) as store:
            same = (store.store_id, store.secret) == identity and store.head() == head
            assert same is self.reopens
            if self.reopens:
                assert everything(store, head.revision) == {ANN, GROUP}
