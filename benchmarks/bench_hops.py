"""How long do one, two and three hops take, packed and walked in the store, and what does packing cost?"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from _power_law import PowerLaw, name, names, power_law
from _report import Report, Stopwatch, latencies_s, percentile, scale_from_arguments

from weft.graph import Edge, EdgeType, Graph, Node, NodeType

EDGES = 1_000_000
QUESTIONS = 500
BATCH = 20_000
SMALL = 50_000
"""Edges up to which networkx, which takes a kilobyte for each, is asked as well."""
TYPES: list[NodeType | EdgeType] = [
    NodeType("person", properties={"name": str, "age": int}),
    EdgeType("follows", "person", "person", properties={"since": int, "close": bool}),
]
TABLES = """
CREATE TABLE person (id TEXT PRIMARY KEY, name TEXT, age INTEGER) WITHOUT ROWID;
CREATE TABLE follows (source TEXT, target TEXT, since INTEGER, close INTEGER, PRIMARY KEY (source, target))
  WITHOUT ROWID;
"""

Rows = list[tuple[Any, ...]]


def people(law: PowerLaw) -> Iterator[Node]:
    return (Node("person", name(p), {"name": f"n{p}", "age": p % 100}) for p in range(law.people))


def follows(law: PowerLaw) -> Iterator[Edge]:
    for at in range(0, len(law.source), BATCH):
        part = slice(at, at + BATCH)
        columns = names(law.source[part]), names(law.target[part]), law.since[part], law.close[part]
        for source, target, since, close in zip(*columns, strict=True):
            yield Edge("follows", source, target, {"since": int(since), "close": bool(close)})


def fill(graph: Graph, tables: sqlite3.Connection, law: PowerLaw) -> None:
    tables.executescript(TABLES)
    for batch in batches(people(law)):
        graph.put(nodes=batch)
        tables.executemany(
            "INSERT INTO person VALUES (?, ?, ?)", [(n.id, *n.properties.values()) for n in batch]
        )
    for edges in batches(follows(law)):
        graph.put(edges=edges)
        rows = [(edge.source, edge.target, *edge.properties.values()) for edge in edges]
        tables.executemany("INSERT INTO follows VALUES (?, ?, ?, ?)", rows)
    tables.commit()
    tables.execute("ANALYZE")


def batches(things: Iterator[Any]) -> Iterator[list[Any]]:
    while batch := list(islice(things, BATCH)):
        yield batch


def walked(graph: Graph, hops: int, start: str) -> Rows:
    """The edges of one hop, or the nodes behind more, each with its properties."""
    walk = graph.start("person", start)
    for _ in range(hops):
        walk = walk.out("follows")
    if hops == 1:
        return [(edge.target, *edge.properties.values()) for edge in walk.edges()]
    return [(node.id, *node.properties.values()) for node in walk.nodes()]


def joined(tables: sqlite3.Connection, hops: int, start: str) -> Rows:
    """The same of sqlite."""
    return tables.execute(sql(hops), (start,)).fetchall()


def sql(hops: int) -> str:
    if hops == 1:
        return "SELECT target, since, close FROM follows WHERE source = ?"
    joins = "".join(
        f" JOIN follows f{hop} ON f{hop}.source = f{hop - 1}.target" for hop in range(2, hops + 1)
    )
    reached = f"SELECT DISTINCT f{hops}.target FROM follows f1{joins} WHERE f1.source = ?"
    return f"SELECT id, name, age FROM person WHERE id IN ({reached})"


class Floor:
    """Adjacency in numpy and nothing else: people are numbers, and only numbers are returned."""

    def __init__(self, law: PowerLaw) -> None:
        self._law = law
        self._starts = np.searchsorted(law.source, np.arange(law.people + 1))

    def reached(self, hops: int, start: str) -> Any:
        here = np.array([int(start[1:])])
        for _ in range(hops):
            starts, counts = self._starts[here], self._starts[here + 1] - self._starts[here]
            if len(here) == 1:
                places: Any = slice(starts[0], starts[0] + counts[0])
            else:
                ends = counts.cumsum()
                places = np.arange(ends[-1]) + (starts - ends + counts).repeat(counts)
            here = self._law.target[places]
            if hops == 1:
                return here.tolist(), self._law.since[places].tolist(), self._law.close[places].tolist()
            here = np.unique(here)
        return here.tolist()


def agree(law: PowerLaw, packed: Graph, plain: Graph, tables: sqlite3.Connection, starts: list[str]) -> None:
    """Packed, walked and joined answers are the same, and on a small graph networkx's."""
    for start in starts:
        for hops in (1, 2, 3):
            answer = sorted(walked(packed, hops, start))
            assert answer == sorted(walked(plain, hops, start)) == sorted(joined(tables, hops, start))
    if len(law.source) <= SMALL:
        import networkx as nx

        people = nx.DiGraph(zip(names(law.source), names(law.target), strict=True))
        for start in starts:
            reached = {start}
            for hops in (1, 2, 3):
                reached = {there for here in reached for there in people[here]}
                assert {row[0] for row in walked(packed, hops, start)} == reached


def own_bytes() -> int:
    """Memory of this process, without the pages of files."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) * 1024


def measure_packing(report: Report, graph: Graph, edges: int) -> None:
    before = own_bytes()
    with Stopwatch() as watch:
        packed = graph.pack("follows")
    report.add("packed", edges / watch.seconds, "edges/s")
    report.add("memory of an edge, packed", packed.edge_bytes / edges, "bytes")
    report.add("memory of a node, packed", packed.node_bytes / packed.nodes["person"], "bytes")
    report.add("memory of the process for both, per edge", max(own_bytes() - before, 1) / edges, "bytes")


def measure(report: Report, what: str, ways: dict[str, Callable[[str], object]], starts: list[str]) -> None:
    """Each way's latencies beside those of numpy, the first of them."""
    taken = latencies_s(*([partial(way, start) for start in starts] for way in ways.values()))
    for percent in (50, 95, 99):
        floor = ""
        for way, seconds in zip(ways, taken, strict=True):
            figure = f"{what}: {way}, p{percent}"
            report.add(figure, percentile(seconds, percent) * 1e6, "µs", floor=floor)
            floor = floor or figure


def profiled(report: Report, what: str, hops: int, packed: Graph, plain: Graph, starts: list[str]) -> None:
    """What an answer has, and what it takes."""
    walks = [graph.start("person", start) for graph in (packed, plain) for start in starts]
    for _ in range(hops):
        walks = [walk.out("follows") for walk in walks]
    profiles = [walk.profile() for walk in walks]
    assert [profile.packed for profile in profiles] == [True] * len(starts) + [False] * len(starts)
    assert not any(step.reads for profile in profiles[: len(starts)] for step in profile.steps)
    steps = [step for profile in profiles[len(starts) :] for step in profile.steps]
    report.add(f"{what}: nodes, mean", sum(profile.nodes for profile in profiles) / len(profiles), "nodes")
    report.add(f"{what}: walked, reads, mean", sum(step.reads for step in steps) / len(starts), "reads")


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    law = power_law(max(200, int(EDGES * scale)))
    edges, starts = len(law.source), law.starts(max(10, int(QUESTIONS * min(scale, 1))))
    with (
        tempfile.TemporaryDirectory() as folder,
        Graph.open(f"{folder}/graph", TYPES) as graph,
        closing(sqlite3.connect(f"{folder}/tables")) as tables,
    ):
        fill(graph, tables, law)
        stored = sum(file.stat().st_blocks * 512 for file in Path(folder, "graph").iterdir())
        report.add("stored, of an edge and its part of a node", stored / edges, "bytes")
        plain = Graph(graph.store)
        measure_packing(report, graph, edges)
        agree(law, graph, plain, tables, starts[:50])
        floor = Floor(law)
        for hops in (1, 2, 3):
            what = "1 hop, edges" if hops == 1 else f"{hops} hops, nodes"
            ways: dict[str, Callable[[str], object]] = {
                "numpy": partial(floor.reached, hops),
                "sqlite": partial(joined, tables, hops),
                "packed": partial(walked, graph, hops),
                "walked": partial(walked, plain, hops),
            }
            profiled(report, what, hops, graph, plain, starts)
            measure(report, what, ways, starts)
    report.print()


if __name__ == "__main__":
    main()
