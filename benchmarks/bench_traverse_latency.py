"""How long do one, two and three hops take, and how long in sqlite?"""

from __future__ import annotations

import random
import sqlite3
import tempfile
from contextlib import closing
from functools import partial

from _report import Report, latencies_s, scale_from_arguments

from weft.core.randomness import derived_random
from weft.graph import Edge, EdgeType, Graph, Node, NodeType

EDGES = 100_000
QUESTIONS = 1_000
BATCH = 20_000
TYPES: list[NodeType | EdgeType] = [
    NodeType("person", properties={"name": str, "age": int}),
    EdgeType("follows", "person", "person", properties={"since": int, "close": bool}),
]
TABLES = """
CREATE TABLE person (id TEXT PRIMARY KEY, name TEXT, age INTEGER) WITHOUT ROWID;
CREATE TABLE follows (source TEXT, target TEXT, since INTEGER, close INTEGER, PRIMARY KEY (source, target))
  WITHOUT ROWID;
"""


def people(number: int, rng: random.Random) -> list[Node]:
    return [
        Node("person", f"p{index:06}", {"name": f"name {index}", "age": rng.randrange(100)})
        for index in range(number)
    ]


def follows(nodes: list[Node], number: int, rng: random.Random) -> list[Edge]:
    """Both degrees follow a power law, and a node's two do not depend on each other."""
    sources, targets = rng.sample(nodes, len(nodes)), rng.sample(nodes, len(nodes))
    ends = {(_skewed(sources, rng), _skewed(targets, rng)) for _ in range(number)}
    return [
        Edge("follows", source, target, {"since": rng.randrange(2_000, 2_030), "close": rng.random() < 0.5})
        for source, target in sorted(ends)
    ]


def _skewed(nodes: list[Node], rng: random.Random) -> str:
    return nodes[int(len(nodes) * rng.random() ** 2)].id


def fill(graph: Graph, tables: sqlite3.Connection, nodes: list[Node], edges: list[Edge]) -> None:
    for start in range(0, len(nodes), BATCH):
        graph.put(nodes=nodes[start : start + BATCH])
    for start in range(0, len(edges), BATCH):
        graph.put(edges=edges[start : start + BATCH])
    tables.executescript(TABLES)
    tables.executemany("INSERT INTO person VALUES (?, ?, ?)", ((n.id, *n.properties.values()) for n in nodes))
    tables.executemany(
        "INSERT INTO follows VALUES (?, ?, ?, ?)",
        ((e.source, e.target, *e.properties.values()) for e in edges),
    )
    tables.commit()
    tables.execute("ANALYZE")


def walked(graph: Graph, hops: int, start: str) -> list[Node]:
    traversal = graph.start("person", start)
    for _ in range(hops):
        traversal = traversal.out("follows")
    return traversal.nodes().items


def joined(tables: sqlite3.Connection, question: str, start: str) -> list[tuple[str, str, int]]:
    return tables.execute(question, (start,)).fetchall()


def sql(hops: int) -> str:
    joins = "".join(
        f" JOIN follows f{hop} ON f{hop}.source = f{hop - 1}.target" for hop in range(2, hops + 1)
    )
    reached = f"SELECT DISTINCT f{hops}.target FROM follows f1{joins} WHERE f1.source = ?"
    return f"SELECT id, name, age FROM person WHERE id IN ({reached})"


def main() -> None:
    scale = scale_from_arguments(__doc__)
    report = Report(str(__doc__), scale)
    rng = derived_random(1, "people")
    nodes = people(max(10, int(EDGES * scale) // 2), rng)
    edges = follows(nodes, max(20, int(EDGES * scale)), rng)
    followers = sorted({edge.source for edge in edges})
    starts = rng.choices(followers, k=max(10, int(QUESTIONS * scale)))
    with (
        tempfile.TemporaryDirectory() as folder,
        Graph.open(f"{folder}/graph", TYPES) as graph,
        closing(sqlite3.connect(f"{folder}/tables")) as tables,
    ):
        fill(graph, tables, nodes, edges)
        for hops in (1, 2, 3):
            question, name = sql(hops), f"{hops} hop{'s' if hops > 1 else ''}"
            reached = 0
            for start in starts:
                here, there = walked(graph, hops, start), joined(tables, question, start)
                assert sorted((n.id, *n.properties.values()) for n in here) == sorted(there)
                reached += len(here)
            in_sqlite, in_weft = latencies_s(
                (partial(joined, tables, question, start) for start in starts),
                (partial(walked, graph, hops, start) for start in starts),
            )
            report.add(f"{name}: nodes reached, mean", reached / len(starts), "nodes")
            report.add_latencies(f"sqlite, {name}", in_sqlite)
            report.add_latencies(f"nodes(), {name}", in_weft, floor=f"sqlite, {name}")
    report.print()


if __name__ == "__main__":
    main()
