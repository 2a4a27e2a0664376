"""How do hops and upserts compare between weft.graph and what else keeps a graph in one process?"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from _graph_peers import Peer, follows_of, open_peers
from _power_law import PowerLaw, power_law
from _report import Report, elapsed_s, latencies_s, percentile, scale_from_arguments

EDGES = 1_000_000
QUESTIONS = 300
STREAMED = 20_000
SLOW_STREAMED = 1_000
"""Edges that a peer is streamed which takes milliseconds for each."""
BATCH = 1_000
RIVAL = "sqlite"
"""What one would use without a graph store: the others are told in multiples of it."""


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    graph = power_law(max(200, int(EDGES * scale)))
    starts = graph.starts(max(5, int(QUESTIONS * scale)))
    with tempfile.TemporaryDirectory() as folder:
        peers = open_peers(Path(folder))
        for name, peer in peers.items():
            report.add(f"{name}: filled", len(graph.source) / elapsed_s(partial(peer.fill, graph)), "edges/s")
        _hops(report, peers, starts)
        _streams(report, peers, graph, scale)
        for peer in peers.values():
            peer.close()
    report.print()


def _hops(report: Report, peers: dict[str, Peer], starts: list[str]) -> None:
    """Every answer is compared before any is timed; then the peers take turns."""
    for start in starts:
        answers = {name: sorted(peer.followed(start)) for name, peer in peers.items()}
        _agree(start, answers)
    series = [[partial(peer.followed, start) for start in starts] for peer in peers.values()]
    _latencies(report, "1 hop, edges", peers, latencies_s(*series))
    for hops in (2, 3):
        for start in starts:
            _agree(start, {name: sorted(peer.reached(start, hops)) for name, peer in peers.items()})
        series = [[partial(peer.reached, start, hops) for start in starts] for peer in peers.values()]
        _latencies(report, f"{hops} hops, nodes", peers, latencies_s(*series))


def _agree(start: str, answers: dict[str, list[Any]]) -> None:
    for name, answer in answers.items():
        assert answer == answers["networkx"], f"{name} answers otherwise than networkx about {start}"


def _latencies(report: Report, question: str, peers: dict[str, Peer], taken: list[list[float]]) -> None:
    times = dict(zip(peers, taken, strict=True))
    for percent in (50, 95):
        for name in sorted(peers, key=lambda name: name != RIVAL):
            floor = "" if name == RIVAL else f"{question}: {RIVAL}, p{percent}"
            value_us = percentile(times[name], percent) * 1e6
            report.add(f"{question}: {name}, p{percent}", value_us, "µs", floor=floor)


def _streams(report: Report, peers: dict[str, Peer], graph: PowerLaw, scale: float) -> None:
    """Edges that are written again, as a stream of updates does it."""
    follows = follows_of(graph)
    for name, peer in peers.items():
        streamed = follows[:: max(1, len(follows) // max(100, int(STREAMED * scale)))]
        if name == "ladybug":
            streamed = streamed[: max(20, int(SLOW_STREAMED * scale))]
        batches = [streamed[first : first + BATCH] for first in range(0, len(streamed), BATCH)]
        seconds = sum(elapsed_s(partial(peer.upsert, batch)) for batch in batches)
        report.add(f"upserted, {BATCH:,} a batch: {name}", len(streamed) / seconds, "edges/s")


if __name__ == "__main__":
    main()
