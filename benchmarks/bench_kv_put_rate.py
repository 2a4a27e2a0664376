"""How many edges per second does the key-value store take, durable and in both directions?"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from _floor import blind_puts_s
from _report import Report, Stopwatch, medians_s, scale_from_arguments

from weft import kv
from weft.core.clock import SYSTEM_CLOCK
from weft.core.codec import encode
from weft.core.randomness import derived_random
from weft.graph import layout

EDGES = 100_000
BATCHES = {"batches of 1,000": 1_000, "batches of 20,000": 20_000}
_VERSION = bytes(32)
"""As many bytes as a stored version takes: the floor writes the same volume."""


class Watched(NamedTuple):
    account: bytes
    title: bytes
    facts: bytes


def edges(number: int, rng: random.Random) -> list[Watched]:
    """Random pairs of an account and a title, ten edges to an account, with two properties."""
    nodes = max(1, number // 10)
    return [
        Watched(
            b"account-%06d" % rng.randrange(nodes),
            b"title-%06d" % rng.randrange(nodes),
            encode({"device": rng.choice(["tv", "phone", "web"]), "seconds": rng.randrange(7_200)}),
        )
        for _ in range(number)
    ]


def parts(found: list[Watched], size: int) -> Iterator[list[Watched]]:
    for start in range(0, len(found), size):
        yield found[start : start + size]


def mutate_s(found: list[Watched], size: int) -> float:
    watch, tokens = Stopwatch(), kv.TokenSource()
    names = layout.out_namespace("watched"), layout.in_namespace("watched")
    with (
        tempfile.TemporaryDirectory() as folder,
        kv.open(folder, namespaces=[kv.Namespace(name=name) for name in names]) as store,
    ):
        for part in parts(found, size):
            now_us = SYSTEM_CLOCK.now_us()
            batch = [
                mutation
                for edge in part
                for mutation in layout.edge_mutations("watched", *edge, now_us, tokens.new())
            ]
            with watch:
                store.mutate(batch)
    return watch.seconds


def floor_s(found: list[Watched], size: int) -> float:
    return blind_puts_s([row for edge in part for row in _rows(edge)] for part in parts(found, size))


def _rows(edge: Watched) -> Iterator[tuple[bytes, bytes]]:
    cell = _VERSION + edge.facts
    yield b"out" + edge.account + edge.title, cell
    yield b"in" + edge.title + edge.account, cell


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    found = edges(max(1, int(EDGES * scale)), derived_random(1, "edges"))
    for name, size in BATCHES.items():
        floor, weft = medians_s(partial(floor_s, found, size), partial(mutate_s, found, size))
        report.add(f"LMDB alone, {name}", len(found) / floor, "edges/s")
        report.add(f"mutate, {name}", len(found) / weft, "edges/s", floor=f"LMDB alone, {name}")
    report.print()


if __name__ == "__main__":
    main()
