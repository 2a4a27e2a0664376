"""What comes out is what is in the graph, read back by the tools that exports are for."""

import base64
import io
import re
import tracemalloc
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import networkx
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from weft.core.errors import Conflict, Denied, Invalid, MissingExtra
from weft.core.limits import MAX_PATHS
from weft.graph import Edge, EdgeType, Graph, Node, NodeRef, NodeType
from weft.graph.export import to_arrow, to_graphml, to_networkx, to_parquet, to_polars
from weft.kv.model import PageLimits
from weft.kv.paging import DEFAULT_LIMITS

KINDS = {"n": int, "s": str, "f": float, "b": bool, "raw": bytes, "list": list, "map": dict}
TYPES = [
    NodeType("account", properties={**KINDS, "id": str, "type": str}, unknown="keep"),
    NodeType("title"),
    EdgeType("watched", "account", "title", properties={**KINDS, "source": int}),
    EdgeType("follows", "account", "account", unknown="keep"),
]
XML = "{http://graphml.graphdrawing.org/xmlns}"

texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\ufffe", "\uffff"])
    | st.sampled_from("\t\n\r<>&'\"")
)
values = {
    "n": st.integers(-(2**63), 2**63 - 1),
    "s": texts,
    "f": st.floats(allow_nan=False),
    "b": st.booleans(),
    "raw": st.binary(),
    "list": st.lists(st.integers(0, 9) | texts, max_size=3),
    "map": st.dictionaries(texts, st.integers(0, 9), max_size=2),
}
ids = st.sampled_from(["a", "b", "c d/ü<&>\"'", "Ω" * 40]) | texts.filter(bool).map(lambda text: text[:50])
times = st.integers(1, 10**15)


def _nodes(kind: str, properties: Any) -> Any:
    return st.builds(Node, st.just(kind), ids, properties, times)


def _edges(kind: str, properties: Any) -> Any:
    return st.builds(Edge, st.just(kind), ids, ids, properties, times)


declared = st.fixed_dictionaries({}, optional=values)
things = st.lists(
    _nodes(
        "account", st.fixed_dictionaries({}, optional={**values, "id": texts, "type": texts, "new": texts})
    )
    | _nodes("title", st.just({}))
    | _edges("watched", st.fixed_dictionaries({}, optional={**values, "source": values["n"]}))
    | _edges("follows", st.fixed_dictionaries({}, optional={"since": values["n"]})),
    max_size=12,
)


def filled(written: Iterable[Node | Edge]) -> tuple[Graph, dict[Any, Node | Edge]]:
    """A graph, and what it holds by reference."""
    graph = Graph.open("memory:", TYPES)
    newest: dict[Any, Node | Edge] = {}
    for one in sorted(written, key=lambda thing: thing.event_time_us or 0):
        newest[one.ref] = one
        graph.put([one]) if isinstance(one, Node) else graph.put([], [one])
    return graph, newest


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def row(thing: Node | Edge, taken: tuple[str, ...] = ()) -> dict[str, Any]:
    """A row as an export should have it, with JSON parsed."""
    keeps = thing.type in ("account", "follows")
    known = {"account": [*KINDS, "id", "type"], "watched": [*KINDS, "source"]}.get(thing.type, [])
    fixed = ["id"] if isinstance(thing, Node) else ["source", "target"]
    told = {name: getattr(thing, name) for name in [*fixed, "event_time_us"]}
    for name in known:
        told[name + "_" if name in (*fixed, *taken) else name] = thing.properties.get(name)
    for name in ("list", "map"):
        if name in told:
            told[name] = as_json(told[name])
    if keeps:
        rest = {name: value for name, value in thing.properties.items() if name not in known}
        told["other"] = as_json(rest) if rest else None
    return told


def parsed(told: dict[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.json.decode(value) if name in ("list", "map", "other") and value is not None else value
        for name, value in told.items()
    }


def in_order(rows: Iterable[Any]) -> list[Any]:
    return sorted(rows, key=repr)


def rows_by_type(newest: dict[Any, Node | Edge]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {
        f"{'edge' if isinstance(kind, EdgeType) else 'node'}_{kind.name}": [] for kind in TYPES
    }
    for thing in newest.values():
        found[f"{type(thing).__name__.lower()}_{thing.type}"].append(row(thing))
    return {name: in_order(rows) for name, rows in found.items()}


@given(things)
def test_arrow_and_polars_hold_every_row_with_its_types(written: list[Node | Edge]) -> None:
    graph, newest = filled(written)
    tables = {name: reader.read_all() for name, reader in to_arrow(graph).items()}
    expected = rows_by_type(newest)
    assert {name: in_order(map(parsed, table.to_pylist())) for name, table in tables.items()} == expected
    frames = {name: in_order(map(parsed, frame.to_dicts())) for name, frame in to_polars(graph).items()}
    assert frames == expected


@given(things)
def test_networkx_holds_every_node_and_edge(written: list[Node | Edge]) -> None:
    graph, newest = filled(written)
    network = to_networkx(graph)
    nodes = {NodeRef(*ref): data for ref, data in network.nodes(data=True) if data}
    edges = {(kind, start.id, end.id): data for start, end, kind, data in network.edges(keys=True, data=True)}
    assert {**nodes, **edges} == {
        ref: {**thing.properties, "event_time_us": thing.event_time_us} for ref, thing in newest.items()
    }


@given(things)
@example([Node("account", "a\r\nb", {"s": "\r", "f": float("-inf"), "new": "]]>"}, 1)])
def test_graphml_read_by_networkx_equals(written: list[Node | Edge]) -> None:
    graph, newest = filled(written)
    file = io.BytesIO()
    done = to_graphml(graph, file)
    assert (sum(done.nodes.values()) + sum(done.edges.values()), done.one_moment) == (len(newest), True)
    network = networkx.parse_graphml(file.getvalue().decode(), force_multigraph=True)
    refs = {number: NodeRef(data["type"], data["id"]) for number, data in network.nodes(data=True)}
    assert len(set(refs.values())) == len(refs)
    found = {refs[number]: data for number, data in network.nodes(data=True) if "event_time_us" in data}
    for start, end, data in network.edges(data=True):
        ref = (data["type"], refs[start].id, refs[end].id)
        found[ref] = {"source": refs[start].id, "target": refs[end].id, **data}
    expected = {ref: row(thing, taken=("type",)) for ref, thing in newest.items()}
    assert {ref: _from_graphml(data, expected[ref]) for ref, data in found.items()} == expected


def _from_graphml(data: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
    """The data of an element, with what GraphML leaves out and does not type."""
    whole = parsed({name: data.get(name) for name in like})
    if whole.get("raw") is not None:
        whole["raw"] = base64.b64decode(whole["raw"])
    return whole


def edges_of_a_hub(count: int) -> tuple[list[Node], list[Edge]]:
    nodes = [Node("account", f"a{at:04}", {"n": at}, 5) for at in range(count)]
    return nodes, [Edge("watched", "hub", f"t{at:04}", {"n": at}, 5) for at in range(count)]


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    for store in ("memory", "lmdb"):
        monkeypatch.setattr(f"weft.kv.{store}.DEFAULT_LIMITS", PageLimits(items=7))
    assert DEFAULT_LIMITS.items == 10_000


@pytest.mark.usefixtures("small_pages")
def test_many_pages_become_files_that_parquet_reads(tmp_path: Path) -> None:
    with Graph.open(tmp_path / "graph", TYPES) as graph:
        graph.put(*edges_of_a_hub(200))
        sizes: list[int] = []
        done = to_parquet(graph, tmp_path / "out", progress=sizes.append)
    assert sorted(sizes) == sizes
    assert sizes[-1] == 400
    assert (done.nodes["account"], done.edges["watched"], done.one_moment) == (200, 200, True)
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert files == {f"{name}.parquet" for name in rows_by_type({})}
    nodes = pyarrow.parquet.read_table(tmp_path / "out" / "node_account.parquet")
    assert sorted(nodes["n"].to_pylist()) == list(range(200))
    assert {str(field.type) for field in nodes.schema} == {"string", "int64", "double", "bool", "binary"}
    edges = pyarrow.parquet.ParquetFile(tmp_path / "out" / "edge_watched.parquet")
    assert edges.num_row_groups > 1
    assert sorted(edges.read()["target"].to_pylist()) == [f"t{at:04}" for at in range(200)]


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("export", [to_graphml, to_parquet])
def test_memory_does_not_grow_with_the_graph(export: Any, tmp_path: Path) -> None:
    def peak_bytes(count: int) -> int:
        with Graph.open(tmp_path / f"graph{count}", TYPES) as graph:
            graph.put(*edges_of_a_hub(count))
            export(graph, tmp_path / f"first{count}")
            tracemalloc.start()
            export(graph, tmp_path / f"out{count}")
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak

    assert peak_bytes(1_500) < 2 * peak_bytes(150)


@pytest.mark.usefixtures("small_pages")
def test_every_end_of_an_edge_is_declared_once_before_it(tmp_path: Path) -> None:
    graph, _ = filled([])
    nodes, edges = edges_of_a_hub(30)
    graph.put([*nodes, Node("title", "t0003")], edges)
    to_graphml(graph, tmp_path / "g.graphml")
    declared: list[str] = []
    keys = set()
    for _, element in ET.iterparse(tmp_path / "g.graphml"):
        if element.tag == f"{XML}key":
            keys.add(element.get("id"))
        elif element.tag == f"{XML}data":
            assert element.get("key") in keys
        elif element.tag == f"{XML}node":
            declared.append(element.get("id") or "")
        elif element.tag == f"{XML}edge":
            assert {element.get("source"), element.get("target")} <= set(declared)
    assert len(declared) == len(set(declared)) == 30 + 1 + 30
    assert all(re.fullmatch(r"[\w.:-]+", name) for name in declared)


@pytest.mark.usefixtures("small_pages")
def test_what_is_written_meanwhile_is_told_and_leaves_the_document_whole(tmp_path: Path) -> None:
    graph, _ = filled([])
    graph.put(*edges_of_a_hub(30))
    late = iter(range(100))

    def write(_: int) -> None:
        graph.put([Node("account", f"new{(at := next(late))}")], [Edge("follows", f"new{at}", f"newer{at}")])

    done = to_graphml(graph, tmp_path / "g.graphml", progress=write)
    assert not done.one_moment
    network = networkx.read_graphml(tmp_path / "g.graphml")
    told = {data["id"] for _, data in network.nodes(data=True) if data["type"] == "account"}
    assert told >= {f"a{at:04}" for at in range(30)}
    assert all("id" in data for _, data in network.nodes(data=True))


def test_walks_export_what_lies_on_their_paths(tmp_path: Path) -> None:
    graph, _ = filled([])
    graph.put(
        [Node("account", name, {"n": 1}) for name in "abc"],
        [
            Edge("follows", "a", "b"),
            Edge("follows", "b", "c"),
            Edge("watched", "b", "t"),
            Edge("watched", "c", "t"),
        ],
    )
    walks = graph.start("account", "a").out("follows").out("watched")
    network = to_networkx(graph, walks=walks)
    assert set(network.nodes) == {("account", "a"), ("account", "b"), ("title", "t")}
    assert network.number_of_edges() == 2
    done = to_parquet(graph, tmp_path / "out", walks=walks)
    assert (done.nodes, done.edges) == ({"account": 2, "title": 0}, {"watched": 1, "follows": 1})
    assert done.complete
    cut = to_graphml(graph, io.BytesIO(), walks=graph.start("account").limit(2))
    assert (cut.complete, cut.nodes["account"]) == (False, 2)
    assert "keeps 2 nodes" in cut.reason


def test_walks_of_any_number_are_exported_whole() -> None:
    graph, _ = filled([])
    count = MAX_PATHS + 5
    graph.put([], [Edge("watched", "hub", f"t{at}", {"n": at}) for at in range(count)])
    walks = graph.start("account", "hub").out("watched")
    assert not walks.paths().complete
    done = to_graphml(graph, io.BytesIO(), walks=walks)
    assert (done.edges["watched"], done.complete) == (count, True)


class Everybody:
    """Sees all but one."""

    def visible(self, nodes: Any) -> list[bool]:
        return [node.id != "b" for node in nodes]


def test_walks_of_a_reader_export_nothing_that_is_hidden() -> None:
    graph, _ = filled([])
    graph.put(
        [Node("account", name) for name in "abc"], [Edge("follows", "a", "b"), Edge("follows", "a", "c")]
    )
    walks = graph.start("account", "a", visibility=Everybody()).out("follows")
    assert set(to_networkx(graph, walks=walks)) == {("account", "a"), ("account", "c")}


def test_what_a_format_cannot_hold_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    graph, _ = filled([])
    graph.put([Node("account", "a\x00b", {"n": 2**64 - 1})])
    with pytest.raises(Invalid, match=r"node type `account` has a text with U\+0000.*export to Parquet"):
        to_graphml(graph, tmp_path / "g.graphml")
    with pytest.raises(Invalid, match="`n` of node type `account` has an integer beyond 64 bits"):
        to_parquet(graph, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_but_a_file(tmp_path: Path) -> None:
    graph, _ = filled([Node("title", "t", {}, 1)])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    for taken in ("full", "full/mine"):
        with pytest.raises(Conflict, match="name a new folder"):
            to_parquet(graph, tmp_path / taken)
    for _ in range(2):
        to_graphml(graph, tmp_path / "g.graphml")
    with pytest.raises(Denied, match="cannot write"):
        to_graphml(graph, tmp_path / "none" / "g.graphml")
    (tmp_path / "empty").mkdir()
    to_parquet(graph, str(tmp_path / "empty"))
    assert {path.name for path in tmp_path.iterdir()} == {"full", "g.graphml", "empty"}


@pytest.mark.parametrize("extra", ["networkx", "polars", "parquet"])
def test_a_missing_package_is_named_with_its_extra(
    extra: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(module: str) -> Any:
        raise ModuleNotFoundError(name=module)

    monkeypatch.setattr("weft.core.extras.importlib.import_module", missing)
    ask = {
        "networkx": to_networkx,
        "polars": to_polars,
        "parquet": lambda graph: to_parquet(graph, tmp_path / "o"),
    }
    with pytest.raises(MissingExtra, match=rf"weft\[{extra}\]"):
        ask[extra](filled([])[0])
