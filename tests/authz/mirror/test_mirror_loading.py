"""A mirror is loaded while the store goes on, keeps to its budget, and is loaded anew when it is lost."""

from __future__ import annotations

import gc
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from weft.authz import Authz
from weft.authz.mirror import load
from weft.authz.mirror import mirror as mirror_module
from weft.authz.mirror.mirror import Mirror, RowChange, View
from weft.authz.mirror.rows import SERIAL_MASK
from weft.authz.serving.settings import Serving
from weft.authz.store import Write
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.stores.lmdb_numbered import NumberedStore
from weft.authz.tuples import RelationTuple, TupleFilter, parse_tuple
from weft.core.codec import pack_u64
from weft.core.errors import Corrupt
from weft.core.telemetry import Telemetry
from weft.testing.authz_mirror import by_object, by_user
from weft.testing.clock import START_US, VirtualClock

RELATIONS = [("doc", "viewer"), ("group", "member")]
RETENTION_S = 3_600.0
MANY = 2_500
"""Rows that are not loaded by the question itself."""


class Hooked(NumberedStore):
    """Calls a hook before each slice that is loaded."""

    def __init__(self, store: LmdbStore, hook: Callable[[], object]) -> None:
        super().__init__(store._env, store._db)
        self._hook = hook

    def rows(self, *arguments: Any, **options: Any) -> tuple[list[bytes], list[bytes]]:
        self._hook()
        return super().rows(*arguments, **options)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def store(tmp_path: Path, clock: VirtualClock) -> Iterator[LmdbStore]:
    with LmdbStore(tmp_path / "store", clock, retention_s=RETENTION_S) as store:
        yield store


def touch(store: LmdbStore, *texts: str) -> int:
    return store.write(Write(touch=[parse_tuple(text) for text in texts])).revision


def fill(store: LmdbStore, rows: int) -> int:
    return touch(store, *(f"doc:{number // 50}#viewer@user:u{number % 400}" for number in range(rows)))


def shows(mirror: Mirror, store: LmdbStore, now_us: int = 0) -> None:
    """The view at the head shows what the store scans there, from either end; expired rows apart."""
    revision = store.head().revision
    view = mirror.view(revision)
    assert view is not None
    expected = {item for item in scanned(store, revision) if not item.expired(now_us)}
    for found in (by_object(view, RELATIONS), by_user(view, RELATIONS)):
        assert {item for item in found if not item.expired(now_us)} == expected


def scanned(store: LmdbStore, revision: int) -> list[RelationTuple]:
    page = store.scan(TupleFilter(), revision, limit=100_000)
    assert page.next is None
    return page.items


# loading


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("gone", [0, 200])
def test_rows_that_change_while_they_are_loaded(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch, seed: int, gone: int
) -> None:
    """Also where most objects have no rows any more, and where new objects come meanwhile."""
    monkeypatch.setattr(load, "SLICE_ROWS", 3)
    rng = random.Random(seed)

    def item() -> RelationTuple:
        user = rng.choice(["user:1", "user:2", "user:3", "user:*", "group:1#member", "doc:1#viewer"])
        tail = rng.choice(["", "", "[recent]", '[recent:{"n":1}]', "[expiration:2100-01-01T00:00:00Z]"])
        return parse_tuple(f"{rng.choice(['doc:1', 'doc:2', 'doc:3', 'group:1'])}#viewer@{user}{tail}")

    def change() -> None:
        if store.head().revision > 60:
            return
        changes = list({found.key: found for found in (item() for _ in range(3))}.values())
        new = parse_tuple(f"doc:n{store.head().revision}#viewer@user:n{store.head().revision}")
        store.write(Write(touch=[*changes[1:], new], delete=changes[:1]))

    former = [parse_tuple(f"doc:{number}#viewer@user:{number}") for number in range(9, 9 + gone)]
    store.write(Write(touch=former))
    store.write(Write(delete=former))
    for _ in range(15):
        change()
    mirror = Mirror(Hooked(store, change))
    mirror.catch_up()
    begun = store.head().revision
    relations = [("doc", "viewer"), ("group", "viewer")]
    for _ in range(3):
        change()
    for revision in range(begun, store.head().revision + 1):
        view = mirror.view(revision)
        assert view is not None
        assert by_object(view, relations) == by_user(view, relations) == set(scanned(store, revision))
    assert mirror.view(begun - 1) is None, "how it came about is not known"


def test_serials_may_be_large(store: LmdbStore) -> None:
    touch(store, "doc:1#viewer@user:ann")
    prefix = store._env.write(lambda txn: txn.get(b"ndoc", db=store._db["names"]))
    store._env.write(lambda txn: txn.put(b"objects" + prefix, pack_u64(5 << 32), db=store._db["meta"]))
    touch(store, "doc:2#viewer@user:ann", "doc:1#viewer@doc:2#viewer")
    mirror = Mirror(store.numbered())
    shows(mirror, store)
    number = mirror.numbers.object_("doc:2")
    assert number is not None
    assert number & SERIAL_MASK > 5 << 32


def test_a_large_store_is_loaded_in_the_background(store: LmdbStore) -> None:
    fill(store, MANY)
    go_on = Event()
    mirror = Mirror(Hooked(store, go_on.wait))
    assert mirror.view(1) is None
    assert mirror.state == "loading"
    go_on.set()
    mirror.catch_up()
    assert mirror.state == "ready"
    shows(mirror, store)
    mirror.close()


def test_a_small_store_is_loaded_at_once(store: LmdbStore) -> None:
    fill(store, 10)
    shows(Mirror(store.numbered()), store)


def test_questions_are_answered_while_it_loads(tmp_path: Path) -> None:
    with Authz.open(tmp_path / "authz") as authz:
        authz.write_schema("definition user {} definition doc { relation viewer: user }")
        authz.import_tuples(f"doc:{number}#viewer@user:ann" for number in range(MANY))
        go_on = Event()
        assert authz._mirror is not None
        authz._mirror._store = Hooked(authz._store, go_on.wait)  # type: ignore[arg-type]
        assert authz.check("doc:7", "viewer", "user:ann").allowed
        assert not authz.check("doc:7", "viewer", "user:bob").allowed
        assert authz._mirror.state == "loading"
        go_on.set()
        authz._mirror.catch_up()
        assert authz.check("doc:7", "viewer", "user:ann").allowed


def test_the_collector_does_not_go_through_a_large_mirror(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "_FROZEN_ROWS", 1_000)
    fill(store, MANY)
    mirror = Mirror(store.numbered())
    try:
        mirror.catch_up()
        view = mirror.view(1)
        assert view is not None
        sets = [users for users in view.rows("doc", "viewer").users.values() if isinstance(users, set)]
        assert sets
        seen = set(map(id, gc.get_objects()))
        assert len([users for users in sets if id(users) in seen]) < len(sets) / 2
    finally:
        gc.unfreeze()


def test_closing_waits_for_a_load_to_end(store: LmdbStore) -> None:
    fill(store, MANY)
    slices = []

    def slice_() -> None:
        slices.append(1)
        mirror._stop.set()

    mirror = Mirror(Hooked(store, slice_))
    assert mirror.view(1) is None
    mirror.close()
    assert mirror._background is None
    assert len(slices) == 1
    assert mirror.state == "off"


def fail() -> None:
    raise Corrupt("a page is broken")


def test_a_load_that_fails_leaves_questions_to_the_store(store: LmdbStore) -> None:
    fill(store, MANY)
    telemetry = Telemetry()
    mirror = Mirror(Hooked(store, fail), telemetry=telemetry)
    assert mirror.view(1) is None
    mirror.catch_up()
    assert (mirror.state, mirror.view(1)) == ("off", None)
    assert b'weft_authz_mirror_events_total{event="failed"} 1.0' in telemetry.exposition()


# far behind


@pytest.mark.parametrize(("commits", "rows"), [(4, 1_000), (1, 4_000)])
def test_far_behind_it_catches_up_in_the_background(store: LmdbStore, commits: int, rows: int) -> None:
    touch(store, "doc:1#viewer@user:ann")
    mirror = Mirror(store.numbered())
    mirror.catch_up()
    for part in range(commits):
        touch(store, *(f"doc:{part}-{number}#viewer@user:u{number}" for number in range(rows)))
    assert mirror.view(store.head().revision) is None
    mirror.catch_up()
    shows(mirror, store)


# lost


def test_collected_history_has_it_loaded_anew(store: LmdbStore, clock: VirtualClock) -> None:
    telemetry = Telemetry()
    mirror = Mirror(store.numbered(), telemetry=telemetry)
    touch(store, "doc:1#viewer@user:ann", "doc:1#viewer@user:bob")
    mirror.catch_up()
    stale = mirror.view(1)
    assert stale is not None
    touch(store, "doc:2#viewer@user:ann")
    store.write(Write(delete=[parse_tuple("doc:1#viewer@user:ann")]))
    clock.advance(RETENTION_S + 1)
    touch(store, "doc:3#viewer@user:ann")
    store.collect()
    assert store.oldest() > 1
    shows(mirror, store)
    assert not stale.intact
    assert b'weft_authz_mirror_events_total{event="lost"} 1.0' in telemetry.exposition()


@pytest.mark.parametrize("further", [0, 1, 2])
def test_a_restored_copy_has_it_loaded_anew(tmp_path: Path, further: int) -> None:
    """One that is behind, one that came as far by another way, one that went further."""
    with LmdbStore(tmp_path / "store") as store:
        touch(store, "doc:1#viewer@user:ann")
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    with LmdbStore(tmp_path / "store") as store, LmdbStore(tmp_path / "copy") as copy:
        touch(store, "doc:1#viewer@user:bob")
        mirror = Mirror(store.numbered())
        mirror.catch_up()
        assert mirror.numbers.user("user:bob") is not None
        for number in range(further):
            touch(copy, f"doc:other{number}#viewer@user:ann")
        mirror._store = mirror.numbers._store = copy.numbered()
        mirror.catch_up()
        assert mirror.head_revision == copy.head().revision == 1 + further
        assert mirror.numbers.user("user:bob") is None
        shows(mirror, copy)


# budget


def test_over_its_budget_it_frees_itself_while_loading(store: LmdbStore) -> None:
    fill(store, MANY)
    telemetry = Telemetry()
    mirror = Mirror(store.numbered(), budget_bytes=100_000, telemetry=telemetry)
    mirror.catch_up()
    assert (mirror.state, mirror.bytes_used, mirror.view(1)) == ("off", 0, None)
    assert b'weft_authz_mirror_events_total{event="over_budget"} 1.0' in telemetry.exposition()


def test_over_its_budget_it_frees_itself_as_it_grows(store: LmdbStore) -> None:
    touch(store, "doc:1#viewer@user:ann")
    mirror = Mirror(store.numbered(), budget_bytes=100_000)
    mirror.catch_up()
    view = mirror.view(1)
    assert view is not None
    told: list[Any] = []
    mirror.subscribe(lambda revision, changes: told.append(changes))
    fill(store, MANY)
    mirror.catch_up()
    assert (mirror.state, mirror.bytes_used, mirror.view(2), view.intact) == ("off", 0, None, False)
    assert told[-1] is None


def test_authz_hands_its_budget_on_and_tells_of_it(tmp_path: Path) -> None:
    telemetry = Telemetry()
    serving = Serving(mirror_bytes=1_000)
    with Authz.open(tmp_path / "authz", serving=serving, telemetry=telemetry) as authz:
        authz.write_schema("definition user {} definition doc { relation viewer: user }")
        authz.write(touch=[f"doc:{number}#viewer@user:ann" for number in range(100)])
        assert authz.check("doc:7", "viewer", "user:ann").allowed
        assert authz._mirror is not None
        assert authz._mirror.stats().state == "off"
    assert b'weft_authz_mirror_events_total{event="over_budget"} 1.0' in telemetry.exposition()
    assert b"weft_authz_mirror_bytes 0.0" in telemetry.exposition()


def test_the_meter_is_near_what_the_interpreter_counts(store: LmdbStore) -> None:
    import tracemalloc

    for part in range(12):
        touch(store, *(f"doc:{part}-{n // 4}#viewer@user:u{n % 300}" for n in range(1_000)))
    tracemalloc.start()
    mirror = Mirror(store.numbered())
    mirror.catch_up()
    traced, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.7 < mirror.bytes_used / traced < 1.4


def test_what_it_frees_is_free_whoever_holds_a_view(store: LmdbStore) -> None:
    fill(store, MANY)
    mirror = Mirror(store.numbered())
    mirror.catch_up()
    touch(store, "doc:1#viewer@user:ann")
    newest, older = mirror.view(2), mirror.view(1)
    assert newest is not None
    assert older is not None
    held = newest.rows("doc", "viewer").users
    mirror.close()
    assert not held
    assert not newest.intact
    assert not older.intact


# what expired


def test_what_expired_is_dropped_without_a_commit_of_its_own(store: LmdbStore, clock: VirtualClock) -> None:
    soon = "[expiration:2026-01-01T00:10:00Z]"
    mirror = Mirror(store.numbered())
    touch(store, *(f"doc:{number}#viewer@user:ann{soon}" for number in range(100)))
    touch(store, "doc:a#viewer@user:ann", "doc:b#viewer@user:ann[recent]")
    mirror.catch_up()
    assert mirror.stats().rows == 102
    clock.advance(RETENTION_S + 3_600)
    touch(store, "doc:c#viewer@user:ann")
    store.collect()
    shows(mirror, store, now_us=clock.now_us())
    clock.advance(RETENTION_S + 3_600)
    touch(store, "doc:d#viewer@user:ann")
    store.collect()
    touch(store, "doc:e#viewer@user:ann")
    shows(mirror, store, now_us=START_US)
    assert mirror.stats().rows == len(scanned(store, store.head().revision))


# listeners


def test_listeners_can_follow(store: LmdbStore) -> None:
    told: list[tuple[int, Sequence[RowChange] | None]] = []
    rows: set[tuple[int, int, int]] = set()
    mirror = Mirror(store.numbered())

    def listen(revision: int, changes: Sequence[RowChange] | None) -> None:
        told.append((revision, changes))
        for change in changes or ():
            row = change.relation, change.object, change.user
            rows.discard(row)
            if change.touched and not change.maybe:
                rows.add(row)

    mirror.subscribe(listen)
    mirror.catch_up()
    assert told == [(0, None)]
    touch(store, "doc:1#viewer@user:ann", "doc:1#viewer@user:bob", "doc:2#viewer@group:a#member")
    touch(store, "doc:1#viewer@user:ann[recent]")
    touch(store, "doc:3#viewer@user:*")
    store.write(Write(delete=[parse_tuple("doc:1#viewer@user:bob")]))
    view = mirror.view(4)
    assert view is not None
    assert [revision for revision, _ in told] == [0, 1, 2, 3, 4]
    assert rows == plain(view)


def plain(view: View) -> set[tuple[int, int, int]]:
    rows, relation = view.rows("doc", "viewer"), view.numbers.relation("viewer")
    assert relation is not None
    return {(relation, object_, user) for user, objects in rows.objects.items() for object_ in objects}
