"""The same people and the same questions in weft.graph and in what else stores a graph in one process.

Each peer is used as its documentation advises: its bulk path to fill it, its upsert for streams, an index
where it has one, parameters instead of text. Answers are sorted by whoever compares them.
"""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb
import ladybug
import networkx as nx
import pyarrow as pa
from _power_law import PowerLaw, name, names

from weft.graph import Edge, EdgeType, Graph, Node, NodeType

_BATCH = 20_000
_TYPES: list[NodeType | EdgeType] = [
    NodeType("person", properties={"name": str, "age": int}),
    EdgeType("follows", "person", "person", properties={"since": int, "close": bool}),
]


class Follow(NamedTuple):
    """One edge."""

    source: str
    target: str
    since: int
    close: bool


Followed = tuple[str, int, bool]
Person = tuple[str, str, int]


class Peer(Protocol):
    """What holds the graph."""

    def fill(self, graph: PowerLaw) -> None:
        """Take the whole graph in by the fastest way that is documented."""

    def upsert(self, follows: Sequence[Follow]) -> None:
        """Write a batch of edges between known people, new or not, as durably as the store can."""

    def followed(self, start: str) -> list[Followed]:
        """Whom one follows, with the properties of the edges."""

    def reached(self, start: str, hops: int) -> list[Person]:
        """The distinct people behind so many hops, with their properties."""

    def close(self) -> None:
        """Release files and memory."""


def follows_of(graph: PowerLaw) -> list[Follow]:
    columns = (names(graph.source), names(graph.target), graph.since.tolist(), graph.close.tolist())
    return [Follow(*row) for row in zip(*columns, strict=True)]


class Weft:
    """weft.graph on LMDB; `packed` keeps the adjacency lists in memory as well."""

    def __init__(self, folder: Path, *, packed: bool = False) -> None:
        self._graph = Graph.open(folder / "graph", _TYPES)
        self._packed = packed

    def fill(self, graph: PowerLaw) -> None:
        for first in range(0, graph.people, _BATCH):
            people = range(first, min(first + _BATCH, graph.people))
            self._graph.put(
                nodes=[Node("person", name(p), {"name": f"n{p}", "age": p % 100}) for p in people]
            )
        follows = follows_of(graph)
        for first in range(0, len(follows), _BATCH):
            self.upsert(follows[first : first + _BATCH])
        if self._packed:
            self._graph.pack("follows")

    def upsert(self, follows: Sequence[Follow]) -> None:
        self._graph.put(
            edges=[Edge("follows", f.source, f.target, {"since": f.since, "close": f.close}) for f in follows]
        )

    def followed(self, start: str) -> list[Followed]:
        edges = self._graph.start("person", start).out("follows").edges()
        return [(e.target, e.properties["since"], e.properties["close"]) for e in edges]

    def reached(self, start: str, hops: int) -> list[Person]:
        walk = self._graph.start("person", start)
        for _ in range(hops):
            walk = walk.out("follows").distinct()
        return [(node.id, node.properties["name"], node.properties["age"]) for node in walk.nodes()]

    def close(self) -> None:
        self._graph.close()


class Sqlite:
    """A table clustered by source and target, and an index for the way back; WAL, fsync at each commit."""

    def __init__(self, folder: Path) -> None:
        self._tables = sqlite3.connect(folder / "sqlite")
        self._tables.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE person (id TEXT PRIMARY KEY, name TEXT, age INTEGER) WITHOUT ROWID;"
            "CREATE TABLE follows (source TEXT, target TEXT, since INTEGER, close INTEGER,"
            " PRIMARY KEY (source, target)) WITHOUT ROWID;"
            "CREATE INDEX followed ON follows (target, source);"
        )

    def fill(self, graph: PowerLaw) -> None:
        people = ((name(p), f"n{p}", p % 100) for p in range(graph.people))
        self._tables.executemany("INSERT INTO person VALUES (?, ?, ?)", people)
        self.upsert(follows_of(graph))
        self._tables.execute("ANALYZE")

    def upsert(self, follows: Sequence[Follow]) -> None:
        with self._tables:
            self._tables.executemany("INSERT OR REPLACE INTO follows VALUES (?, ?, ?, ?)", follows)

    def followed(self, start: str) -> list[Followed]:
        rows = self._tables.execute("SELECT target, since, close FROM follows WHERE source = ?", (start,))
        return [(target, since, bool(close)) for target, since, close in rows]

    def reached(self, start: str, hops: int) -> list[Person]:
        return self._tables.execute(_hops_sql(hops), (start,)).fetchall()

    def close(self) -> None:
        self._tables.close()


class DuckDb:
    """Column tables; the edges sorted by source, with a primary key, which it keeps as an index."""

    def __init__(self, folder: Path) -> None:
        self._tables = duckdb.connect(str(folder / "duckdb"))
        self._tables.execute("CREATE TABLE person (id TEXT PRIMARY KEY, name TEXT, age BIGINT)")
        self._tables.execute(
            "CREATE TABLE follows (source TEXT, target TEXT, since BIGINT, close BOOL,"
            " PRIMARY KEY (source, target))"
        )
        self._tables.execute("CREATE INDEX following ON follows (source)")

    def fill(self, graph: PowerLaw) -> None:
        for table, rows in (("person", _people_columns(graph)), ("follows", _follow_columns(graph))):
            self._tables.register("rows", rows)
            self._tables.execute(f"INSERT INTO {table} SELECT * FROM rows")
            self._tables.unregister("rows")

    def upsert(self, follows: Sequence[Follow]) -> None:
        rows = pa.table(dict(zip(Follow._fields, map(list, zip(*follows, strict=True)), strict=True)))
        self._tables.register("rows", rows)
        self._tables.execute("INSERT OR REPLACE INTO follows SELECT * FROM rows")
        self._tables.unregister("rows")

    def followed(self, start: str) -> list[Followed]:
        question = "SELECT target, since, close FROM follows WHERE source = ?"
        return self._tables.execute(question, [start]).fetchall()

    def reached(self, start: str, hops: int) -> list[Person]:
        return self._tables.execute(_hops_sql(hops), [start]).fetchall()

    def close(self) -> None:
        self._tables.close()


class Ladybug:
    """An embedded graph database; filled with COPY, streamed to with MERGE over rows, asked in Cypher."""

    def __init__(self, folder: Path) -> None:
        self._database = ladybug.Database(str(folder / "ladybug"))
        self._graph = ladybug.Connection(self._database)
        self._graph.execute("CREATE NODE TABLE person (id STRING PRIMARY KEY, name STRING, age INT64)")
        self._graph.execute("CREATE REL TABLE follows (FROM person TO person, since INT64, close BOOL)")

    def fill(self, graph: PowerLaw) -> None:
        self._graph.execute("COPY person FROM $rows", {"rows": _people_columns(graph)})
        self._graph.execute("COPY follows FROM $rows", {"rows": _follow_columns(graph)})

    def upsert(self, follows: Sequence[Follow]) -> None:
        self._graph.execute(
            "UNWIND $rows AS row MATCH (a:person {id: row.source}), (b:person {id: row.target})"
            " MERGE (a)-[f:follows]->(b) SET f.since = row.since, f.close = row.close",
            {"rows": [follow._asdict() for follow in follows]},
        )

    def followed(self, start: str) -> list[Followed]:
        question = "MATCH (:person {id: $id})-[f:follows]->(b:person) RETURN b.id, f.since, f.close"
        return [tuple(row) for row in self._ask(question, start)]

    def reached(self, start: str, hops: int) -> list[Person]:
        middle = "-[:follows]->(:person)" * (hops - 1)
        walked = f"MATCH (:person {{id: $id}}){middle}-[:follows]->(b:person)"
        question = f"{walked} RETURN DISTINCT b.id, b.name, b.age"
        return [tuple(row) for row in self._ask(question, start)]

    def _ask(self, question: str, start: str) -> list[Any]:
        answer = self._graph.execute(question, {"id": start})
        assert isinstance(answer, ladybug.QueryResult)
        return answer.get_all()

    def close(self) -> None:
        self._graph.close()
        self._database.close()


class NetworkX:
    """Dictionaries in memory: nothing is durable, and no other process sees it."""

    def __init__(self, folder: Path) -> None:
        self._graph: nx.DiGraph[str] = nx.DiGraph()

    def fill(self, graph: PowerLaw) -> None:
        self._graph.add_nodes_from((name(p), {"name": f"n{p}", "age": p % 100}) for p in range(graph.people))
        self.upsert(follows_of(graph))

    def upsert(self, follows: Sequence[Follow]) -> None:
        self._graph.add_edges_from(
            (f.source, f.target, {"since": f.since, "close": f.close}) for f in follows
        )

    def followed(self, start: str) -> list[Followed]:
        return [(target, facts["since"], facts["close"]) for target, facts in self._graph.adj[start].items()]

    def reached(self, start: str, hops: int) -> list[Person]:
        found = {start}
        for _ in range(hops):
            found = {target for source in found for target in self._graph.adj[source]}
        nodes = self._graph.nodes
        return [(person, nodes[person]["name"], nodes[person]["age"]) for person in found]

    def close(self) -> None:
        self._graph.clear()


def _hops_sql(hops: int) -> str:
    joins = "".join(
        f" JOIN follows f{hop} ON f{hop}.source = f{hop - 1}.target" for hop in range(2, hops + 1)
    )
    reached = f"SELECT f{hops}.target FROM follows f1{joins} WHERE f1.source = ?"
    return f"SELECT id, name, age FROM person WHERE id IN ({reached})"


def _people_columns(graph: PowerLaw) -> pa.Table:
    people = range(graph.people)
    return pa.table(
        {"id": [name(p) for p in people], "name": [f"n{p}" for p in people], "age": [p % 100 for p in people]}
    )


def _follow_columns(graph: PowerLaw) -> pa.Table:
    return pa.table(
        {
            "source": names(graph.source),
            "target": names(graph.target),
            "since": graph.since,
            "close": graph.close,
        }
    )


def open_peers(folder: Path) -> dict[str, Peer]:
    """Every peer by name, each with a folder of its own."""
    warnings.filterwarnings("ignore", category=DeprecationWarning, module="ladybug")
    found: dict[str, Peer] = {"weft": Weft(_made(folder, "weft"))}
    found["weft, packed"] = Weft(_made(folder, "packed"), packed=True)
    found["sqlite"] = Sqlite(_made(folder, "sqlite"))
    found["duckdb"] = DuckDb(_made(folder, "duckdb"))
    found["ladybug"] = Ladybug(_made(folder, "ladybug"))
    found["networkx"] = NetworkX(folder)
    return found


def _made(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir()
    return made
