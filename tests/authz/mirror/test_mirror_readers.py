"""The rule for readers: a commit that arrives in mid-evaluation never leaves a mixed answer behind."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest

from weft.authz import Authz
from weft.authz.mirror import live
from weft.authz.mirror.mirror import Mirror, View
from weft.authz.store import Lookup, Write
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.tuples import parse_object, parse_tuple, parse_user
from weft.testing.processes import child_process

DOCS = 5
MANY = 20
"""Users of one relation: enough for a set."""


def swap(number: int) -> Write:
    """Ann has an even document and Bob the others, or the other way round: never both, never neither."""
    ins, outs = [], []
    for doc in range(DOCS):
        user, other = ("ann", "bob") if (number + doc) % 2 else ("bob", "ann")
        ins.append(parse_tuple(f"doc:{doc}#viewer@user:{user}"))
        outs.append(parse_tuple(f"doc:{doc}#viewer@user:{other}"))
    return Write(touch=ins, delete=outs)


def crowd(*users: int) -> list[Any]:
    return [parse_tuple(f"doc:crowd#viewer@user:u{user}") for user in users]


def holders(view: View, between: Callable[[], object] = lambda: None) -> list[bool]:
    """Whether Ann has each document, read one by one, from one end and from the other."""
    rows, numbers = view.rows("doc", "viewer"), view.numbers
    ann, bob = numbers.user("user:ann"), numbers.user("user:bob")
    assert ann is not None
    assert bob is not None
    found = []
    for doc in range(DOCS):
        object_ = numbers.object_(f"doc:{doc}")
        assert object_ is not None
        found.append(ann in rows.users.get(object_, ()))
        between()
        found.append(object_ not in rows.objects.get(bob, ()))
    return found


def expected(revision: int) -> list[bool]:
    """What `holders` finds when revision R is the swap of number R."""
    return [(revision + doc) % 2 == 1 for doc in range(DOCS) for _ in "ab"]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    with LmdbStore(tmp_path / "authz") as store:
        for number in (1, 2):
            store.write(swap(number))
        yield store


@pytest.fixture
def mirror(store: LmdbStore) -> Iterator[Mirror]:
    mirror = Mirror(store.numbered())
    mirror.catch_up()
    yield mirror
    mirror.close()


def test_a_commit_between_two_reads_is_not_seen(store: LmdbStore, mirror: Mirror) -> None:
    numbers = count(3)

    def commit() -> None:
        store.write(swap(next(numbers)))
        mirror.catch_up()

    torn: list[list[bool]] = []

    def evaluate(view: View) -> list[bool]:
        found = holders(view, commit)
        torn.append(found)
        return found

    assert mirror.read(2, evaluate) == expected(2)
    assert torn[0] != expected(2), "the guard was not needed"
    assert len(torn) == 2


def test_a_reader_that_fails_over_rows_that_move_asks_again(store: LmdbStore, mirror: Mirror) -> None:
    store.write(Write(touch=crowd(*range(MANY))))

    def evaluate(view: View) -> int:
        rows, crowd_ = view.rows("doc", "viewer"), view.numbers.object_("doc:crowd")
        assert crowd_ is not None
        found = 0
        for _ in rows.users.get(crowd_, ()):
            found += 1
            if found == 1:
                store.write(Write(touch=crowd(MANY + store.head().revision)))
                mirror.catch_up()
        return found

    assert mirror.read(3, evaluate) == MANY


def test_an_error_of_the_reader_is_its_own(mirror: Mirror) -> None:
    def evaluate(view: View) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        mirror.read(2, evaluate)


def test_what_the_past_hands_out_never_changes(store: LmdbStore, mirror: Mirror) -> None:
    revision = store.write(Write(touch=crowd(*range(MANY)))).revision
    store.write(swap(1))
    mirror.catch_up()
    past, object_ = mirror.view(revision), mirror.numbers.object_("doc:crowd")
    assert past is not None
    assert object_ is not None
    handed = past.rows("doc", "viewer").users[object_]
    as_it_was = set(handed)
    for user in range(MANY):
        store.write(Write(touch=crowd(MANY + user), delete=crowd(user)))
        mirror.catch_up()
    assert set(handed) == as_it_was == set(past.rows("doc", "viewer").users[object_])
    newest = mirror.view(mirror.head_revision)
    assert newest is not None
    assert as_it_was.isdisjoint(newest.rows("doc", "viewer").users[object_])


def test_what_leads_back_is_bounded_but_held_views_stay(
    store: LmdbStore, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_UNDO_ROWS", 5 * (2 * DOCS + 1))
    store.write(swap(3))
    mirror.catch_up()
    held = mirror.view(2)
    assert held is not None
    for number in range(4, 20):
        store.write(swap(number))
    mirror.catch_up()
    views = [mirror.view(revision) for revision in range(2, 20)]
    assert [view is not None for view in views] == [False] * 12 + [True] * 6
    for view in (held, *views):
        if view is not None:
            assert holders(view) == expected(view.revision)
            assert view.intact


@pytest.mark.slow
def test_threads_read_what_was_committed_while_another_commits(store: LmdbStore, mirror: Mirror) -> None:
    """Each reader takes the head, reads bit by bit, and must find that revision whole."""
    ended = Event()
    failures: list[object] = []
    read = [0, 0]

    def write() -> None:
        for number in range(3, 400):
            store.write(swap(number))
        ended.set()

    def reader(me: int) -> None:
        rng = random.Random(me)
        while not ended.is_set() and not failures:
            revision = max(2, store.head().revision - rng.randrange(3))
            found = mirror.read(revision, holders)
            if found != expected(revision):
                failures.append((revision, found))
            read[me] += 1

    threads = [Thread(target=write), *(Thread(target=reader, args=(me,)) for me in range(2))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert min(read) > 0


def swap_for_ever(report: Callable[[Any], None], folder: str) -> None:
    with LmdbStore(folder) as store:
        for number in count(store.head().revision + 1):
            report(store.write(swap(number)).revision)


@pytest.mark.slow
def test_other_processes_write_meanwhile_and_are_killed(
    store: LmdbStore, mirror: Mirror, tmp_path: Path
) -> None:
    """What one acknowledged is seen at once, and each revision shows what the store answers for it."""
    users = parse_user("user:ann"), parse_user("user:bob")
    reads = [Lookup(parse_object(f"doc:{doc}"), "viewer", users) for doc in range(DOCS)]

    def agrees(acknowledged: int) -> None:
        revision = store.head().revision
        assert revision >= acknowledged
        assert mirror.read(revision, holders) == expected(revision)
        answers = store.answer(reads, revision)
        assert [row.user.id == "ann" for [row] in answers] == expected(revision)[::2]

    for _ in range(3):
        with child_process(swap_for_ever, str(tmp_path / "authz")) as child:
            for _ in range(50):
                agrees(child.next_report())
            child.kill()
            agrees(max(child.reports(), default=0))
        own = store.write(swap(store.head().revision + 1))
        agrees(own.revision)


def test_closing_ends_the_views(tmp_path: Path) -> None:
    with Authz.open(tmp_path / "closing") as authz:
        authz.write_schema("definition user {} definition doc { relation viewer: user }")
        authz.write(touch=["doc:1#viewer@user:ann"])
        mirror = authz._mirror
        assert mirror is not None
        mirror.catch_up()
        view = mirror.view(2)
        assert view is not None
    assert not view.intact
    assert (mirror.state, mirror.view(2)) == ("off", None)
