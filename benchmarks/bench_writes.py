"""How many durable tuples per second does weft.authz take on LMDB, and when does another process see one?"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection

from _floor import blind_puts_s
from _report import Report, elapsed_s, medians_s, scale_from_arguments

from weft.authz import LATEST, Authz
from weft.core.clock import SYSTEM_CLOCK

SCHEMA = """
definition user {}
definition group { relation member: user | group#member }
definition doc { relation reader: user | group#member  relation owner: user  permission view = reader }
"""
IMPORTED = 200_000
IMPORT_BATCH = 20_000
"""What an import commits at once."""
SINGLE = 2_000
WRITERS = 16
BATCH = 1_000
SEEN = 300
STEP = 611_953
"""A prime: steps of it visit every number once, in no order that an index likes."""


def tuples(number: int) -> list[str]:
    """Documents with some readers each, and groups of users, in no order."""
    lines = []
    for index in range(number):
        at = index * STEP % number
        if at % 3:
            lines.append(f"doc:d{at // 5}#reader@user:u{at % 4_001}")
        else:
            lines.append(f"group:g{at % 1_009}#member@user:u{at}")
    return lines


def rows(lines: list[str], size: int) -> Iterator[list[tuple[bytes, bytes]]]:
    """Two rows for each tuple, since it is looked up from either end."""
    for start in range(0, len(lines), size):
        keys = [line.encode() for line in lines[start : start + size]]
        yield [(key, b"") for one in keys for key in (one, b"@".join(reversed(one.split(b"@"))))]


def import_s(lines: list[str]) -> float:
    with tempfile.TemporaryDirectory() as folder, Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
        return elapsed_s(lambda: authz.import_tuples(lines))


def write_s(lines: list[str], size: int, writers: int = 1) -> float:
    """Each writer waits for its commit before it sends the next."""
    with tempfile.TemporaryDirectory() as folder, Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)

        def write(own: list[str]) -> None:
            for start in range(0, len(own), size):
                authz.write(touch=own[start : start + size])

        with ThreadPoolExecutor(writers) as threads:
            parts = [lines[first::writers] for first in range(writers)]
            return elapsed_s(lambda: list(threads.map(write, parts)))


def watch_for(folder: str, number: int, pipe: Connection) -> None:
    """In another process: ask for each document until it may be seen, and say when that was."""
    with Authz.open(folder) as authz:
        pipe.send(None)
        for index in range(number):
            while not authz.check(f"doc:s{index}", "view", "user:ann", at=LATEST).allowed:
                pass
            pipe.send(SYSTEM_CLOCK.monotonic_s())


def visible_s(number: int) -> list[float]:
    """From the return of each write to the first check in another process that allows by it; at least 0."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    with tempfile.TemporaryDirectory() as folder, Authz.open(folder) as authz:
        authz.write_schema(SCHEMA)
        reader = context.Process(target=watch_for, args=(folder, number, there))
        reader.start()
        here.recv()
        delays = []
        for index in range(number):
            authz.write(touch=[f"doc:s{index}#reader@user:ann"])
            written_s = SYSTEM_CLOCK.monotonic_s()
            delays.append(max(0.0, here.recv() - written_s))
        reader.join()
    return delays


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    lines = tuples(max(100, int(IMPORTED * scale)))
    floor, imported = medians_s(
        lambda: blind_puts_s(rows(lines, IMPORT_BATCH)),
        partial(import_s, lines),
    )
    report.add("LMDB alone, imported", len(lines) / floor, "tuples/s")
    report.add("import", len(lines) / imported, "tuples/s", floor="LMDB alone, imported")

    single = [f"doc:w{index}#reader@user:u{index % 97}" for index in range(max(WRITERS, int(SINGLE * scale)))]
    for name, written, size in (("singly", single, 1), ("in batches of 1,000", lines, BATCH)):
        floor, weft = medians_s(
            lambda w=written, s=size: blind_puts_s(rows(w, s)), partial(write_s, written, size)
        )
        report.add(f"LMDB alone, {name}", len(written) / floor, "tuples/s")
        report.add(f"write, {name}", len(written) / weft, "tuples/s", floor=f"LMDB alone, {name}")
    [shared] = medians_s(partial(write_s, single, 1, WRITERS))
    report.add(
        f"write, singly, {WRITERS} writers", len(single) / shared, "commits/s", floor="LMDB alone, singly"
    )
    report.add_latencies("seen in another process", visible_s(max(5, int(SEEN * scale))))
    report.note("Every write is synced to disk before it returns; writers of one process share a sync.")
    report.print()


if __name__ == "__main__":
    main()
