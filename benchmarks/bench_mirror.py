"""How soon are five million tuples mirrored in memory, in how many bytes, and how far behind is that?"""

from __future__ import annotations

import gc
import multiprocessing
import random
import tempfile
import timeit
from collections.abc import Iterator
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from _report import Report, elapsed_s, scale_from_arguments

from weft.authz import Authz
from weft.authz.mirror.mirror import Mirror
from weft.authz.serving.settings import Serving
from weft.authz.store import Write
from weft.authz.stores.lmdb import LmdbStore
from weft.authz.stores.lmdb_numbered import NumberedStore
from weft.authz.tuples import parse_tuple
from weft.core.clock import SYSTEM_CLOCK

SCHEMA: Final = """
definition user {}
definition group { relation member: user | group#member }
definition folder { relation viewer: user | group#member  permission view = viewer }
definition doc {
  relation parent: folder
  relation owner: user
  relation viewer: user | user:* | group#member
  permission view = viewer + owner + parent->view
}
"""
DOCS: Final = 1_000_000
USERS: Final = 200_000
GROUPS: Final = 20_000
CHANGES: Final = 200_000
BATCH: Final = 1_000
SINGLE: Final = 2_000
CHECKS: Final = 20_000
SEEN: Final = 300
HEADS: Final = 200_000
SLICE: Final = 1_000
SLICE_BYTES: Final = 40_000


def tuples(scale: float) -> Iterator[str]:
    """Documents with an owner, a folder, two users and a group each; groups of ten; some are more popular."""
    rng = random.Random(11)
    docs, users, groups = (max(20, int(number * scale)) for number in (DOCS, USERS, GROUPS))

    def popular(most: int) -> int:
        return int(most * rng.random() ** 2)

    for group in range(groups):
        for _ in range(10):
            yield f"group:g{group}#member@user:u{popular(users)}"
        if group % 4 == 0:
            yield f"folder:f{group}#viewer@group:g{popular(groups)}#member"
    for doc in range(docs):
        yield f"doc:d{doc}#owner@user:u{popular(users)}"
        yield f"doc:d{doc}#parent@folder:f{popular(groups)}"
        yield f"doc:d{doc}#viewer@group:g{popular(groups)}#member"
        yield f"doc:d{doc}#viewer@user:u{popular(users)}"
        yield f"doc:d{doc}#viewer@user:u{popular(users)}"


def resident_bytes() -> int:
    """What this process holds, mapped files apart."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) * 1_024


def gone_through_s(numbered: NumberedStore) -> float:
    """The keys of both indexes, slice by slice."""

    def work() -> None:
        for database in ("forward", "reverse"):
            after = b""
            while keys := numbered.rows(database, after, SLICE, tails=False)[0]:
                after = keys[-1]

    return elapsed_s(work)


def load(folder: str, pipe: Connection) -> None:
    """In another process, whose memory is fresh: rows, seconds, bytes taken, bytes as estimated."""
    with LmdbStore(folder) as store:
        mirror = Mirror(store.numbered())
        gc.collect()
        before = resident_bytes()
        load_s = elapsed_s(mirror.catch_up)
        pipe.send((mirror.stats().rows, load_s, resident_bytes() - before, mirror.bytes_used))


def loaded(folder: Path) -> tuple[int, float, int, int]:
    """See `load`."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=load, args=(str(folder), there))
    child.start()
    found: tuple[int, float, int, int] = here.recv()
    child.join()
    return found


def while_loading_s(folder: Path, scale: float) -> tuple[list[float], list[float], float]:
    """Checks without a mirror; checks from its first question on, until it is loaded; how long that took."""
    rng = random.Random(5)
    docs, users = max(20, int(DOCS * scale)), max(20, int(USERS * scale))

    def check(authz: Authz) -> float:
        doc, user = f"doc:d{rng.randrange(docs)}", f"user:u{rng.randrange(users)}"
        return elapsed_s(lambda: authz.check(doc, "view", user))

    with Authz.open(folder, serving=Serving(mirror=False, cache=False)) as authz:
        plain = [check(authz) for _ in range(max(100, int(CHECKS * scale)))]
    with Authz.open(folder, serving=Serving(cache=False)) as authz:
        assert authz._mirror is not None
        began_s = SYSTEM_CLOCK.monotonic_s()
        loading = [check(authz)]
        while authz._mirror.state == "loading":
            loading.append(check(authz))
        return plain, loading, SYSTEM_CLOCK.monotonic_s() - began_s


def caught_up_s(store: LmdbStore, mirror: Mirror, number: int, size: int) -> tuple[float, float]:
    """Following `number` changes in commits of `size`; and reading the same change log alone."""
    lines = (f"doc:d{index % 5_000}#viewer@user:new{size}-{index // 50}" for index in range(number))
    after = store.head()
    while batch := list(islice(lines, size)):
        store.write(Write(touch=[parse_tuple(line) for line in batch]))
    numbered = store.numbered()
    revision, wall_us = after.revision, after.wall_us

    def read() -> None:
        nonlocal revision, wall_us
        while commits := numbered.news(revision, wall_us, most_bytes=SLICE_BYTES, large=True).commits:
            revision, wall_us, _ = commits[-1]

    return elapsed_s(mirror.catch_up), elapsed_s(read)


def write_for(folder: str, number: int, pipe: Connection) -> None:
    """In another process: write when told to, and say when that began and ended."""
    with LmdbStore(folder) as store:
        pipe.send(None)
        for index in range(number):
            pipe.recv()
            began_s = SYSTEM_CLOCK.monotonic_s()
            store.write(Write(touch=[parse_tuple(f"doc:s{index}#owner@user:ann")]))
            pipe.send((began_s, SYSTEM_CLOCK.monotonic_s()))


def seen_s(number: int) -> tuple[list[float], list[float]]:
    """How long writes of another process take; and from their beginning to a head here that has them."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    took, seen = [], []
    with tempfile.TemporaryDirectory() as folder, LmdbStore(folder) as store:
        writer = context.Process(target=write_for, args=(folder, number, there))
        writer.start()
        here.recv()
        for _ in range(number):
            revision = store.head().revision
            here.send(None)
            while store.head().revision == revision:
                pass
            seen_at_s = SYSTEM_CLOCK.monotonic_s()
            began_s, ended_s = here.recv()
            took.append(ended_s - began_s)
            seen.append(seen_at_s - began_s)
        writer.join()
    return took, seen


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with Authz.open(folder) as authz:
            authz.write_schema(SCHEMA)
            authz.import_tuples(tuples(scale))
        rows, load_s, taken, estimated = loaded(folder)
        plain, loading, first_s = while_loading_s(folder, scale)
        with LmdbStore(folder) as store:
            passes_s = gone_through_s(store.numbered())
            mirror = Mirror(store.numbered())
            mirror.catch_up()
            many = max(100, int(CHANGES * scale))
            batches_s, batches_read_s = caught_up_s(store, mirror, many, BATCH)
            few = max(20, int(SINGLE * scale))
            single_s, single_read_s = caught_up_s(store, mirror, few, 1)
            heads = max(1_000, int(HEADS * scale))
            head_s = min(timeit.repeat(store.head, number=heads, repeat=5)) / heads
            floor_s = min(timeit.repeat(store.waits.__bool__, number=heads, repeat=5)) / heads
            mirror.close()
    took, seen = seen_s(max(5, int(SEEN * scale)))

    report.add("tuples", rows, "tuples")
    report.add("both indexes gone through", rows / passes_s, "tuples/s")
    report.add("loaded, nothing else asked", rows / load_s, "tuples/s", floor="both indexes gone through")
    report.add("loaded, nothing else asked: seconds", load_s, "s")
    report.add("loaded while checks were asked: seconds", first_s, "s")
    report.add("two numbers in a list", 16, "bytes")
    report.add("memory for a tuple", taken / rows, "bytes", floor="two numbers in a list")
    report.add("memory for a tuple, as the mirror thinks", estimated / rows, "bytes")
    report.add_latencies("check, no mirror", plain)
    report.add_latencies("check while it loads", loading, floor="check, no mirror")
    report.add("change log read, batches of 1,000", many / batches_read_s, "changes/s")
    report.add(
        "caught up, batches of 1,000",
        many / batches_s,
        "changes/s",
        floor="change log read, batches of 1,000",
    )
    report.add("change log read, single commits", few / single_read_s, "changes/s")
    report.add(
        "caught up, single commits", few / single_s, "changes/s", floor="change log read, single commits"
    )
    report.add("a method of a bool", floor_s * 1e9, "ns")
    report.add("store.head()", head_s * 1e9, "ns", floor="a method of a bool")
    report.add_latencies("a write in another process", took)
    report.add_latencies("from its beginning to a head here", seen, floor="a write in another process")
    report.note("Memory is this process's own (RssAnon); mapped files are not counted.")
    report.print()


if __name__ == "__main__":
    main()
