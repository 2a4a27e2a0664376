"""How fast do events become a durable graph, and what do the steps on their way cost alone?"""

from __future__ import annotations

import random
import resource
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import fastavro
import msgspec
from _floor import blind_puts_s
from _report import Report, Stopwatch, elapsed_s, medians_s, scale_from_arguments

from weft import kv
from weft.core.clock import SYSTEM_CLOCK
from weft.core.codec import encode
from weft.core.randomness import derived_random
from weft.graph import Dedup, Edge, EdgeType, Event, Graph, Job, NodeType, layout
from weft.graph.ingest.protocols import Source
from weft.graph.ingest.sources import AvroSource, NdjsonSource
from weft.graph.ingest.window import Window
from weft.graph.types import GraphType
from weft.graph.updates import Key, Update

EDGES = 100_000
BATCHES = {"batches of 20,000": 20_000, "batches of 1,000": 1_000}
TTL_S = 30 * 24 * 3_600
LATE_S = 3_600
"""Event times lie up to this far back, in no order."""
LIVE_KEYS = 50_000
UPDATES_PER_KEY = 10
TYPES: list[GraphType] = [
    NodeType("account"),
    NodeType("title"),
    EdgeType("watched", source="account", target="title", properties={"device": str, "seconds": int}),
]
AVRO: dict[str, Any] = {
    "type": "record",
    "name": "play",
    "fields": [
        {"name": "at", "type": "long"},
        *({"name": name, "type": "string"} for name in ("account", "title", "device", "session")),
        {"name": "seconds", "type": "int"},
    ],
}
_VERSION = bytes(32)
"""As many bytes as a stored version takes: the floor writes the same volume."""

Play = dict[str, Any]


def plays(number: int, edges: int, rng: random.Random) -> Iterator[Play]:
    """Events of which about `edges` differ in account and title, at random over the last hour's end."""
    accounts = max(1, edges // 10)
    titles = max(1, number // 10)
    pairs = [(rng.randrange(accounts), rng.randrange(titles)) for _ in range(edges)]
    now_us = SYSTEM_CLOCK.now_us()
    for index in range(number):
        account, title = pairs[index] if edges == number else rng.choice(pairs)
        yield {
            "at": now_us - rng.randrange(1_000_000) - (number - index) * 10,
            "account": f"account-{account:06}",
            "title": f"title-{title:06}",
            "device": rng.choice(["tv", "phone", "web"]),
            "seconds": rng.randrange(7_200),
            "session": f"{rng.getrandbits(48):012x}",
        }


def ends(play: Play) -> tuple[bytes, bytes, bytes]:
    """Source, target and properties of the edge."""
    facts = {"device": play["device"], "seconds": play["seconds"]}
    return play["account"].encode(), play["title"].encode(), encode(facts)


def parts(found: list[Play], size: int) -> Iterator[list[Play]]:
    remaining = iter(found)
    while part := list(islice(remaining, size)):
        yield part


def floor_s(found: list[Play], size: int) -> float:
    return blind_puts_s([row for play in part for row in _rows(play)] for part in parts(found, size))


def _rows(play: Play) -> Iterator[tuple[bytes, bytes]]:
    source, target, facts = ends(play)
    yield b"out" + source + target, _VERSION + facts
    yield b"in" + target + source, _VERSION + facts


def upsert_s(found: list[Play], size: int, ttl_s: float | None) -> float:
    """Both directions, last write wins, under tokens."""
    watch, tokens = Stopwatch(), kv.TokenSource()
    rng = derived_random(2, "late")
    names = layout.out_namespace("watched"), layout.in_namespace("watched")
    with (
        tempfile.TemporaryDirectory() as folder,
        kv.open(folder, namespaces=[kv.Namespace(name=name, ttl_s=ttl_s) for name in names]) as store,
    ):
        for part in parts(found, size):
            now_us = SYSTEM_CLOCK.now_us()
            batch = [
                mutation
                for play in part
                for mutation in layout.edge_mutations(
                    "watched", *ends(play), now_us - rng.randrange(LATE_S * 1_000_000), tokens.new()
                )
            ]
            with watch:
                store.mutate(batch)
    return watch.seconds


def updates(number: int) -> list[Update]:
    """In order of time, each of a random one of `LIVE_KEYS` edges."""
    rng = derived_random(3, "updates")
    keys = [b"%06d" % key for key in range(max(1, number // UPDATES_PER_KEY))]
    return [
        Update("watched", rng.choice(keys), b"title", b"", time_us, time_us.to_bytes(16, "big"))
        for time_us in range(number)
    ]


def dict_s(found: list[Update]) -> float:
    def work() -> None:
        held: dict[Key, Update] = {}
        for update in found:
            held[update.key] = update

    return elapsed_s(work)


def dedup_s(found: list[Update]) -> float:
    def work() -> None:
        window = Window(max(1, len(found) // 4))
        for update in found:
            window.advance(update.event_time_us)
            window.add(update)
            if window.due >= 20_000:
                window.drain_due()
        window.drain()

    return elapsed_s(work)


def watched(event: Event) -> list[Edge]:
    play = event.value
    return [
        Edge(
            "watched", play["account"], play["title"], {"device": play["device"], "seconds": play["seconds"]}
        )
    ]


def decode_s(path: Path) -> float:
    def work() -> None:
        with path.open("rb") as file:
            for line in file:
                msgspec.json.decode(line)

    return elapsed_s(work)


def job_s(source: Callable[[], Source], events: int, window_s: float) -> float:
    with tempfile.TemporaryDirectory() as folder, Graph.open(folder, TYPES) as graph:
        job = Job("plays", watched, dedup=Dedup(window_s=window_s))
        report = graph.ingest(job, source())
        assert (report.events, report.dead_letters) == (events, 0)
        return report.duration_s


def stored_bytes(source: Source) -> float:
    """Of the store's file per edge, after a job."""
    with tempfile.TemporaryDirectory() as folder:
        with Graph.open(folder, TYPES) as graph:
            written = graph.ingest(Job("plays", watched), source).written["edge/watched"]
        return sum(file.stat().st_blocks * 512 for file in Path(folder).iterdir()) / written


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024


def add_upserts(report: Report, found: list[Play]) -> None:
    for name, size in BATCHES.items():
        floor, plain, expiring = medians_s(
            partial(floor_s, found, size),
            partial(upsert_s, found, size, None),
            partial(upsert_s, found, size, TTL_S),
        )
        report.add(f"LMDB alone, {name}", len(found) / floor, "edges/s")
        report.add(f"upserts, {name}", len(found) / plain, "edges/s", floor=f"LMDB alone, {name}")
        report.add(f"upserts with TTL, {name}", len(found) / expiring, "edges/s", floor=f"LMDB alone, {name}")


def add_dedup(report: Report, number: int) -> None:
    found = updates(number)
    floor, window = medians_s(partial(dict_s, found), partial(dedup_s, found))
    report.add("a bare dictionary", number / floor, "updates/s")
    report.add("dedup alone, 50,000 live keys", number / window, "updates/s", floor="a bare dictionary")


def add_jobs(report: Report, folder: Path, name: str, found: list[Play], window_s: float) -> None:
    """Events as NDJSON and as Avro through a job to the durable graph."""
    lines, container = folder / f"{name}.ndjson", folder / f"{name}.avro"
    lines.write_bytes(b"".join(msgspec.json.encode(play) + b"\n" for play in found))
    with container.open("wb") as file:
        fastavro.writer(file, AVRO, found)
    sources: dict[str, Callable[[], Source]] = {
        "NDJSON": lambda: NdjsonSource(lines, time_field="at"),
        "Avro": lambda: AvroSource(container, time_field="at"),
    }
    floor, *jobs = medians_s(
        partial(decode_s, lines),
        *(partial(job_s, source, len(found), window_s) for source in sources.values()),
    )
    report.add(f"JSON decoded, {name}", len(found) / floor, "events/s")
    for kind, seconds in zip(sources, jobs, strict=True):
        report.add(f"{kind} job, {name}", len(found) / seconds, "events/s", floor=f"JSON decoded, {name}")


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    number = max(100, int(EDGES * scale))
    rng = derived_random(1, "plays")
    different = list(plays(number, number, rng))
    before = peak_mib()
    add_upserts(report, different)
    add_dedup(report, max(100, int(LIVE_KEYS * UPDATES_PER_KEY * scale)))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        add_jobs(report, folder, "every edge once", different, 0)
        per_edge = stored_bytes(NdjsonSource(folder / "every edge once.ndjson", time_field="at"))
        add_jobs(report, folder, "every edge ten times", list(plays(number, number // 10, rng)), 30)
    report.add("store, both directions", per_edge, "bytes/edge")
    report.add("memory before", before, "MiB")
    report.add("peak memory, the mapped file included", peak_mib(), "MiB")
    report.print()


if __name__ == "__main__":
    main()
