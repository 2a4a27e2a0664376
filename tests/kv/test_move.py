"""Moving a namespace: nothing is lost, whoever writes meanwhile and whenever the mover dies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import weft.kv
from weft.core import limits
from weft.core.errors import Conflict, Corrupt, NotFound
from weft.kv import ALL, Delete, ItemWrite, Keys, KeyValueStore, Mutation, Namespace, Put, Range, TokenSource
from weft.kv.lmdb import LmdbStore
from weft.kv.memory import MemoryStore
from weft.kv.model import Selection
from weft.kv.move import Moving
from weft.kv.store import Moved
from weft.testing.clock import START_US, VirtualClock
from weft.testing.kv.questions import delete, put, read, scan, sweep_all, token
from weft.testing.processes import child_process

NAMESPACES = [Namespace(name="n", ttl_s=3_000), Namespace(name="other")]
RECORDS = [b"%d" % n for n in range(6)]


class Killed(BaseException):
    """Stands for a mover that dies at a step."""


class Places:
    """A source and a target, and movers between them."""

    def __init__(self, folder: Path, clock: VirtualClock) -> None:
        self.clock = clock
        self.source = LmdbStore.open(folder / "a", clock=clock)
        self.target = LmdbStore.open(folder / "b", clock=clock)
        self.location = str(folder / "b")
        self.source.configure(*NAMESPACES)

    def moving(self, progress: Callable[[str, int], None] = lambda step, done: None) -> Moving:
        return Moving(
            self.source, self.target, "n", location=self.location, clock=self.clock, progress=progress
        )

    def close(self) -> None:
        self.source.close()
        self.target.close()


@pytest.fixture
def places(tmp_path: Path) -> Places:  # type: ignore[misc]
    found = Places(tmp_path, VirtualClock())
    yield found  # type: ignore[misc]
    found.close()


def some_mutation(rng: random.Random, now_us: int) -> Mutation:
    at_us = now_us - rng.choice([0, 1, 5_000_000, 30_000_000, 20 * 24 * 3_600_000_000])
    version = {"event_time_us": at_us, "token": token(rng.randrange(99), now_us)}
    record = rng.choice(RECORDS)
    if rng.random() < 0.3:
        selection: Selection = rng.choice((ALL, Keys((b"a", b"b")), Range(b"b", b"d")))
        return Delete(namespace="n", record=record, selection=selection, **version)  # type: ignore[arg-type]
    keys = rng.sample([b"", b"a", b"b", b"c", b"d"], 2)
    value = rng.choice([b"v", b"w" * 700, rng.randbytes(1_100_000) if rng.random() < 0.1 else b""])
    items = [ItemWrite(key, value, rng.choice([None, 7, 60])) for key in keys]
    ttl_s = rng.choice([None, None, None, 9.5])
    return Put(namespace="n", record=record, items=items, record_ttl_s=ttl_s, **version)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_reference_whenever_it_dies_and_whoever_writes(places: Places, seed: int) -> None:
    """Writes at every step of a mover that is killed at random steps, until it gets through."""
    rng = random.Random(seed)
    reference = MemoryStore(clock=places.clock)
    reference.configure(*NAMESPACES)

    def write() -> None:
        batch = [some_mutation(rng, places.clock.now_us()) for _ in range(rng.randrange(1, 5))]
        reference.mutate(batch)
        try:
            places.source.mutate(batch)
        except Moved:
            places.target.mutate(batch)

    def step(name: str, done: int) -> None:
        write()
        places.clock.advance(rng.choice([0, 1, 3]))
        if rng.random() < 0.2:
            sweep_all(rng.choice((places.source, places.target)))
        if rng.random() < 0.4:
            raise Killed

    for _ in range(30):
        write()
        places.clock.advance(0.3)
    while True:
        try:
            places.moving(step).run()
            break
        except Killed:
            continue
    for _ in range(5):
        write()
    assert places.target.namespaces() == [NAMESPACES[0]]
    for seconds in (0, 5, 30, 10_000):
        places.clock.advance(seconds)
        assert places.target.get_items("n", RECORDS) == reference.get_items("n", RECORDS)
    places.clock.advance(limits.MAX_LATENESS_US / 1e6 + 1)
    with pytest.raises(Moved):
        places.source.get_items("n", RECORDS)


def test_tombstones_move_too(places: Places) -> None:
    places.source.mutate([delete(b"r"), delete(b"s", Keys((b"k",)))])
    places.moving().run()
    places.target.mutate([put(record, {b"k": b"late"}, at_us=START_US - 1) for record in (b"r", b"s")])
    assert scan(places.target) == []


def test_an_item_from_before_the_ttl_stays_without_it(places: Places) -> None:
    places.source.configure(Namespace(name="n"))
    places.source.mutate([put(b"r", {b"old": b"v"})])
    places.source.configure(Namespace(name="n", ttl_s=10))

    def step(name: str, done: int) -> None:
        if name == "copy":
            places.source.mutate([put(b"r", {b"new": b"v"})])

    places.moving(step).run()
    places.clock.advance(11)
    assert read(places.target, b"r") == {b"old": b"v"}


def test_abort_leaves_all_as_it_was(places: Places) -> None:
    places.source.put_items("n", b"r", {b"k": b"v"})

    def die(name: str, done: int) -> None:
        places.source.put_items("n", b"s", {b"k": b"v"})
        raise Killed

    with pytest.raises(Killed):
        places.moving(die).run()
    assert scan(places.target) == [b"r"]
    places.moving().abort()
    assert scan(places.target) == []
    assert scan(places.source) == [b"r", b"s"]
    with pytest.raises(NotFound):
        places.moving().abort()
    places.moving().run()
    assert scan(places.target) == [b"r", b"s"]
    with pytest.raises(Conflict, match="has moved"):
        places.moving().abort()


def test_refuses_a_place_that_holds_such_a_namespace(places: Places) -> None:
    places.target.configure(NAMESPACES[0])
    places.target.put_items("n", b"r", {b"k": b"v"})
    with pytest.raises(Conflict, match="has items"):
        places.moving().run()
    assert places.source.locations() == {}
    assert places.source.moving("n").row().move is None


def test_only_one_mover_gets_through(places: Places) -> None:
    places.source.put_items("n", b"r", {b"k": b"v"})

    def overtake(name: str, done: int) -> None:
        if name == "verify":
            places.moving().run()

    with pytest.raises(Conflict, match="took over"):
        places.moving(overtake).run()
    assert scan(places.target) == [b"r"]


def test_a_copy_that_differs_is_not_switched_to(places: Places) -> None:
    """Someone writes to the target meanwhile; it is not what the source holds."""
    places.source.put_items("n", b"r", {b"k": b"v"})

    def meddle(name: str, done: int) -> None:
        if name == "copy":
            places.target.put_items("n", b"r", {b"other": b"v"})

    with pytest.raises(Corrupt, match="not the same"):
        places.moving(meddle).run()
    assert scan(places.source) == [b"r"]


def test_the_source_is_given_back(places: Places) -> None:
    places.source.put_items("n", b"r", {b"k": bytes(3 << 20)})
    places.source.put_items("other", b"r", {b"k": b"v"})
    places.moving().run()
    with places.source._env.read() as txn:
        counts = {name: txn.stat(db=handle)["entries"] for name, handle in places.source._handles.items()}
    assert (counts["items"], counts["records"], counts["chunks"]) == (1, 1, 0)
    assert counts["meta"] == 1


def write_on(report: Callable[[object], None], path: Path, me: int) -> None:
    """Write through `weft.kv.open`, reporting what was acknowledged."""
    tokens = TokenSource()
    with weft.kv.open(path) as store:
        for number in range(100_000):
            new = tokens.new()
            record = b"%d-%d" % (me, number % 50)
            store.mutate(
                [
                    Put(
                        namespace="n",
                        record=record,
                        items=[ItemWrite(b"k", b"%d" % number)],
                        event_time_us=new.instant_us,
                        token=new,
                    )
                ]
            )
            report(number)


def move_on(report: Callable[[object], None], source: Path, target: Path) -> None:
    with LmdbStore.open(source) as one, LmdbStore.open(target) as two:
        Moving(one, two, "n", location=str(target), progress=lambda *step: report(step)).run()
        report(("done", 0))


def last_numbers(store: KeyValueStore, me: int) -> int:
    return max(int(read(store, b"%d-%d" % (me, n)).get(b"k", b"-1")) for n in range(50))


@pytest.mark.slow
def test_kill_9_and_writers_in_other_processes(tmp_path: Path) -> None:
    """Two writers go on all the time, the mover is killed again and again; no acknowledged write is lost."""
    rng = random.Random(5)
    source, target = tmp_path / "a", tmp_path / "b"
    with LmdbStore.open(source) as store:
        store.configure(NAMESPACES[1], Namespace(name="n"))
        for first in range(0, 20_000, 1_000):
            store.mutate([put(b"old-%d" % n, {b"k": b"v"}) for n in range(first, first + 1_000)])
    with child_process(write_on, source, 0) as one, child_process(write_on, source, 1) as two:
        for writer in (one, two):
            writer.next_report()
        for _ in range(8):
            with child_process(move_on, source, target) as mover:
                mover.next_report()
                time.sleep(rng.uniform(0, 0.15))
                mover.kill()
        with child_process(move_on, source, target) as mover:
            assert mover.reports()[-1] == ("done", 0)
        time.sleep(0.1)
        for writer in (one, two):
            writer.kill()
        acknowledged = [writer.reports()[-1] for writer in (one, two)]
    with weft.kv.open(source) as routed:
        assert len(scan(routed, page_items=5_000)) == 20_000 + 100
        for me, number in enumerate(acknowledged):
            assert last_numbers(routed, me) - number in (0, 1)
            for record in range(50):
                newest = (number - record) // 50 * 50 + record
                assert int(read(routed, b"%d-%d" % (me, record))[b"k"]) >= newest
