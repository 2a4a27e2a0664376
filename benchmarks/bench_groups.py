"""How fast are checks through ten thousand nested groups, and how many edges does the index absorb?"""

from __future__ import annotations

import random
import sqlite3
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import NamedTuple

from _report import Report, Stopwatch, elapsed_s, medians_s, scale_from_arguments
from pyroaring import BitMap

from weft.authz import LATEST, Authz
from weft.authz.leopard.index import Edge, Index
from weft.authz.serving.settings import Serving
from weft.authz.stores.lmdb import LmdbStore
from weft.core.randomness import derived_random

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition doc { relation reader: group#member  permission view = reader }
"""
GROUPS = 10_000
LAYERS = 20
BELOW = 2
"""Groups of the next layer that each group has as members."""
USERS = 20_000
ASKED = 50_000
WALKED = 200
"""Questions to those that walk, each of which takes about a millisecond or more."""
EDGES = 2_000
"""Written while questions are asked; every second one removes an edge."""
EDGES_TOGETHER = 100
BATCH = 1_000
RECURSIVE = """
with recursive inside(name) as (
  select ? union select member from edges join inside on edges.name = inside.name
) select exists (select 1 from inside where name = ?)
"""


class Question(NamedTuple):
    group: int
    user: int


class World:
    """Groups in layers, users in groups of the last layer, and questions about groups of the first."""

    def __init__(self, scale: float, rng: random.Random) -> None:
        per_layer = max(5, int(GROUPS * scale) // LAYERS)
        last = (LAYERS - 1) * per_layer
        self.nested = [
            (group, (group // per_layer + 1) * per_layer + at)
            for group in range(last)
            for at in rng.sample(range(per_layer), BELOW)
        ]
        users = max(50, int(USERS * scale))
        self.members = {user: last + rng.randrange(per_layer) for user in range(users)}
        self.tops = per_layer
        self.inside = self._closure()
        self.misses, self.hits = self._questions(max(100, int(ASKED * scale)), rng)

    def _closure(self) -> dict[int, BitMap]:
        inside: dict[int, BitMap] = {}
        children: dict[int, list[int]] = {}
        for parent, child in self.nested:
            children.setdefault(parent, []).append(child)
        for group in sorted({*children, *self.members.values()}, reverse=True):
            below = [inside[child] for child in children.get(group, ())]
            inside[group] = BitMap.union(BitMap([group]), *below)
        return inside

    def _questions(self, count: int, rng: random.Random) -> tuple[list[Question], list[Question]]:
        misses: list[Question] = []
        hits: list[Question] = []
        while min(len(misses), len(hits)) < count:
            one = Question(rng.randrange(self.tops), rng.randrange(len(self.members)))
            held = self.members[one.user] in self.inside[one.group]
            (hits if held else misses).append(one)
        return misses[:count], hits[:count]

    def tuples(self) -> list[str]:
        nested = [f"group:{parent}#member@group:{child}#member" for parent, child in self.nested]
        members = [f"group:{group}#member@user:{user}" for user, group in self.members.items()]
        return [*nested, *members, *(f"doc:{top}#reader@group:{top}#member" for top in range(self.tops))]


def group_number(group: int) -> int:
    return 1 << 64 | 1 << 48 | group + 1


def user_number(user: int) -> int:
    return 2 << 48 | user + 1


def index_of(world: World) -> Index:
    index = Index({1 << 16 | 1})
    edges = [Edge(group_number(parent), group_number(child), True) for parent, child in world.nested]
    edges += [Edge(group_number(group), user_number(user), True) for user, group in world.members.items()]
    index.build(1, edges)
    return index


def bitmap_s(world: World, questions: list[Question], held: bool) -> float:
    """The least that an answer from bitmaps takes: the group's set, the user's one group, a test."""
    sets, group_of = world.inside, world.members

    def work() -> None:
        found = sum(group_of[asked.user] in sets[asked.group] for asked in questions)
        assert found == (len(questions) if held else 0)

    return elapsed_s(work)


def index_s(index: Index, questions: list[Question], held: bool) -> float:
    asked = [(user_number(one.user), group_number(one.group)) for one in questions]
    contains = index.contains

    def work() -> None:
        assert all(contains(user, group, 1) is held for user, group in asked)

    return elapsed_s(work)


def check_s(authz: Authz, questions: list[Question], held: bool) -> float:
    asked = [(f"doc:{one.group}", f"user:{one.user}") for one in questions]

    def work() -> None:
        assert all(authz.check(object_, "view", user).allowed is held for object_, user in asked)

    return elapsed_s(work)


def sqlite_s(edges: sqlite3.Connection, questions: list[Question], held: bool) -> float:
    def work() -> None:
        for one in questions:
            [found] = edges.execute(RECURSIVE, (f"g{one.group}", f"u{one.user}")).fetchone()
            assert bool(found) is held

    return elapsed_s(work)


def in_sqlite(world: World) -> sqlite3.Connection:
    edges = sqlite3.connect(":memory:")
    edges.execute("create table edges (name text, member text, primary key (name, member)) without rowid")
    edges.executemany("insert into edges values (?, ?)", [(f"g{at}", f"g{to}") for at, to in world.nested])
    members = [(f"g{group}", f"u{user}") for user, group in world.members.items()]
    edges.executemany("insert into edges values (?, ?)", members)
    return edges


def applied_s(index: Index, edges: list[tuple[int, int]]) -> float:
    """Each edge removed by a revision of its own, and added again by the next."""

    def work() -> None:
        revision = index.revision
        for parent, child in edges:
            for state in (None, True):
                revision += 1
                index.apply(revision, [Edge(group_number(parent), group_number(child), state)])

    return elapsed_s(work)


class Absorbed(NamedTuple):
    edges_s: float
    checks_s: float


def absorbed(authz: Authz, world: World, rng: random.Random, count: int) -> Absorbed:
    """Edges written durably, half of them removed and half put back, while another thread asks."""
    questions = rng.choices(world.misses, k=500) + rng.choices(world.hits, k=500)
    done = threading.Event()
    asked = 0

    def ask() -> None:
        nonlocal asked
        while not done.is_set():
            one = questions[asked % len(questions)]
            authz.check(f"doc:{one.group}", "view", f"user:{one.user}", at=LATEST)
            asked += 1

    together = min(EDGES_TOGETHER, len(world.nested) // 4) // 2
    removed: list[tuple[int, int]] = []
    thread = threading.Thread(target=ask)
    thread.start()
    watch = Stopwatch()
    with watch:
        for _ in range(0, count, 2 * together):
            following = rng.sample(world.nested, together)
            authz.write(
                delete=map(edge_text, following),
                touch=map(edge_text, set(removed) - set(following)),
            )
            removed = following
        authz.check("doc:0", "view", "user:0", at=LATEST)
    done.set()
    thread.join()
    authz.write(touch=map(edge_text, removed))
    return Absorbed(count / watch.seconds, asked / watch.seconds)


def edge_text(edge: tuple[int, int]) -> str:
    return f"group:{edge[0]}#member@group:{edge[1]}#member"


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    rng = derived_random(1, "groups")
    world = World(scale, rng)
    walked = max(5, int(WALKED * scale))
    index = index_of(world)
    edges = in_sqlite(world)
    with tempfile.TemporaryDirectory() as folder:
        store = LmdbStore(Path(folder) / "authz")
        ways = {
            "index": Authz(store),
            "mirror": Authz(store, serving=Serving(leopard=False)),
            "store": Authz(store, serving=Serving(mirror=False, cache=False, flights=False, hot=False)),
        }
        fast = ways["index"]
        fast.write_schema(SCHEMA)
        tuples = world.tuples()
        for start in range(0, len(tuples), BATCH):
            fast.write(touch=tuples[start : start + BATCH])
        wait_until_ready(fast)
        wait_until_ready(ways["mirror"])
        for name, questions, held in (("miss", world.misses, False), ("hit", world.hits, True)):
            few = questions[:walked]
            floor, contains, check, mirror, store_s, sql = medians_s(
                partial(bitmap_s, world, questions, held),
                partial(index_s, index, questions, held),
                partial(check_s, fast, questions, held),
                partial(check_s, ways["mirror"], few, held),
                partial(check_s, ways["store"], few[: max(3, walked // 10)], held),
                partial(sqlite_s, edges, few, held),
            )
            bare = f"a test of a bitmap, {name}"
            report.add(bare, len(questions) / floor, "checks/s")
            report.add(f"index, {name}", len(questions) / contains, "checks/s", floor=bare)
            report.add(f"check with the index, {name}", len(questions) / check, "checks/s", floor=bare)
            report.add(f"check that walks the mirror, {name}", len(few) / mirror, "checks/s", floor=bare)
            walks = max(3, walked // 10)
            report.add(f"check that walks the store, {name}", walks / store_s, "checks/s", floor=bare)
            report.add(f"sqlite, recursive, {name}", len(few) / sql, "checks/s", floor=bare)
        changed = rng.sample(world.nested, max(10, int(EDGES * scale)) // 2)
        applied = 2 * len(changed) / applied_s(index, changed)
        report.add("edges into the index alone, one a revision", applied, "edges/s")
        written = absorbed(fast, world, rng, max(40, int(EDGES * scale)))
        report.add("edges written durably while questions run", written.edges_s, "edges/s")
        report.add("questions answered meanwhile", written.checks_s, "checks/s")
        assert check_s(fast, world.misses[:walked] or world.misses, False) > 0
        fast.close()
    report.note(f"{len(world.inside):,} groups in {LAYERS} layers, {len(world.nested):,} edges between them")
    report.print()


def wait_until_ready(authz: Authz) -> None:
    """Until the mirror is loaded, and the index if there is one; both are made in the background."""
    authz.check("doc:0", "view", "user:0")
    for part in (authz._mirror, authz._leopard):
        if part is not None and part._background is not None:
            part._background.join()
        authz.check("doc:0", "view", "user:0")


if __name__ == "__main__":
    main()
