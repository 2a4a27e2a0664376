"""Queries by example: what they cost, what they cut, what a reader may see, in which order rows come."""

from __future__ import annotations

import pytest

from weft.core.errors import Invalid, LimitExceeded
from weft.graph import Edge, EdgeType, Graph, Node, NodeRef, NodeType, Path
from weft.graph.cypher import match, query
from weft.graph.cypher.errors import QueryError

TYPES = [
    NodeType("account", properties={"name": str, "age": int}, unknown="keep"),
    NodeType("title", properties={"year": int}),
    EdgeType("watched", source="account", target="title", properties={"device": str}),
    EdgeType("follows", source="account", target="account", properties={"since": int}),
]


@pytest.fixture
def graph():
    graph = Graph.open("memory:", TYPES)
    graph.put(
        nodes=[Node("account", f"a{n}", {"name": f"N{n}", "age": 20 + n}, 10) for n in range(4)]
        + [Node("title", f"t{n}", {"year": 2000 + n}, 10) for n in range(5)],
        edges=[
            Edge("watched", f"a{a}", f"t{t}", {"device": "tv" if t % 2 else "phone"}, 10)
            for a in range(4)
            for t in range(a, 5)
        ]
        + [Edge("follows", f"a{n}", f"a{(n + 1) % 3}", {"since": n}, 10) for n in range(3)],
    )
    return graph


def column(rows):
    (name,) = rows.columns
    return [row[name] for row in rows]


class Counting:
    """A store that notes what is read."""

    def __init__(self, store):
        self._store = store
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments, **named):
            if name in ("get_items", "scan_records"):
                self.calls.append((name, arguments[0], len(arguments[1]) if len(arguments) > 1 else None))
            return getattr(self._store, name)(*arguments, **named)

        return call


def test_the_designs_query(graph):
    rows = graph.query("MATCH (a:account {id: $id})-[:watched]->(t) RETURN t", id="a3")
    assert list(rows) == [
        {"t": Node("title", "t3", {"year": 2003}, 10)},
        {"t": Node("title", "t4", {"year": 2004}, 10)},
    ]
    assert (rows.columns, rows.complete, rows.reason) == (("t",), True, "")


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        (
            "MATCH (a {id: 'a0'})-[:watched]->()<-[:watched]-(b) RETURN b.id",
            [("get_items", "out/watched", 1), ("get_items", "in/watched", 5)],
        ),
        ("MATCH (a)-[:watched]->(t {id: 't0'}) RETURN a.id", [("get_items", "in/watched", 1)]),
        (
            "MATCH (a {name: 'N0'})-[:watched]->(t {id: 't0'}) RETURN a.id",
            [("get_items", "in/watched", 1), ("get_items", "node/account", 1)],
        ),
        (
            "MATCH (a)-[:watched]->(t) WHERE t.id IN ['t0', 't1'] RETURN a.id",
            [("get_items", "in/watched", 2)],
        ),
        (
            "MATCH (a {id: 'a0'})-[:follows|watched]->(b) RETURN b.id",
            [("get_items", "out/follows", 1), ("get_items", "out/watched", 1)],
        ),
        ("MATCH (a {id: 'a0'})-[:follows*1..3]->(b) RETURN b.id", [("get_items", "out/follows", 1)] * 3),
        (
            "MATCH (a {id: 'a0'})-[:follows]->(b) WHERE b.age > 1 RETURN b",
            [("get_items", "out/follows", 1), ("get_items", "node/account", 1)],
        ),
        (
            "MATCH (a:account) WHERE NOT (a)-[:follows]->() RETURN a.id",
            [("scan_records", "node/account", None), ("get_items", "out/follows", 4)],
        ),
    ],
)
def test_one_read_per_hop_and_adjacency_list_from_the_cheapest_end(graph, text, reads):
    graph.store = Counting(graph.store)
    assert graph.query(text)
    assert graph.store.calls == reads


def test_a_query_that_does_not_fit_is_refused_after_a_look_for_new_types_only(graph):
    graph.store = Counting(graph.store)
    for text in ["MATCH (a:account) RETURN a.id, b", "MATCH (t:title)-[:follows]->() RETURN t"]:
        with pytest.raises(Invalid):
            graph.query(text)
    assert graph.store.calls == [("get_items", "graph/meta", 1)] * 2


def test_an_edge_is_walked_once_per_match(graph):
    twice = "MATCH (a {id: 'a0'})-[:follows]-(b)-[:follows]-(c) RETURN c.id ORDER BY c.id"
    assert column(graph.query(twice)) == ["a1", "a2"]
    apart = "MATCH (a {id: 'a0'})-[:follows]-(b) MATCH (b)-[:follows]-(c) RETURN c.id ORDER BY c.id"
    assert column(graph.query(apart)) == ["a0", "a0", "a1", "a2"]


def test_a_path_reads_from_left_to_right_whichever_end_it_starts_from(graph):
    text = "MATCH p = (a)-[r:follows*2]->(b {id: 'a2'})<-[:follows]-(c) RETURN p, r"
    assert not graph.query(text)
    (row,) = graph.query("MATCH p = (a)-[r:follows*2]->(b {id: 'a2'}) RETURN p, r")
    assert isinstance(row["p"], Path)
    assert [node.id for node in row["p"].nodes] == ["a0", "a1", "a2"]
    assert row["p"].edges == row["r"]
    assert [edge.source for edge in row["r"]] == ["a0", "a1"]


def test_nulls_come_last_ascending_and_first_descending(graph):
    graph.put(nodes=[Node("account", "x")])
    names = "MATCH (a:account) RETURN a.name ORDER BY a.name"
    assert column(graph.query(names)) == ["N0", "N1", "N2", "N3", None]
    assert column(graph.query(names + " DESC")) == [None, "N3", "N2", "N1", "N0"]


def test_values_of_all_kinds_have_an_order(graph):
    values = ["x", True, 2, 1.5, None, b"y", [1]]
    for number, value in enumerate(values):
        graph.put(nodes=[Node("account", f"x{number}", {"v": value})])
    found = column(graph.query("MATCH (a:account) WHERE a.id STARTS WITH 'x' RETURN a.v ORDER BY a.v"))
    assert found == [[1], b"y", "x", True, 1.5, 2, None]


def test_groups_and_star(graph):
    rows = graph.query(
        "MATCH (a:account)-[w:watched]->(t) "
        "WITH w.device AS device, count(*) AS n, collect(DISTINCT t.id) AS ts "
        "RETURN *, size(ts) AS titles ORDER BY n DESC"
    )
    assert rows.columns == ("device", "n", "ts", "titles")
    assert [(row["device"], row["n"], row["titles"]) for row in rows] == [("phone", 8, 3), ("tv", 6, 2)]


def test_a_node_that_only_edges_know_is_bare_from_either_end(graph):
    graph.put(edges=[Edge("watched", "ghost", "unseen")])
    for text in [
        "MATCH (a:account {id: 'ghost'})-[:watched]->(t) RETURN t",
        "MATCH (a:account)-[:watched]->(t {id: 'unseen'}) RETURN t",
        "MATCH (a:account)-[:watched]->(t) WHERE a.name IS NULL RETURN t",
    ]:
        assert column(graph.query(text)) == [Node("title", "unseen")]
    assert not graph.query("MATCH (a:account {id: 'ghost'}) RETURN a")
    assert "ghost" not in column(graph.query("MATCH (a:account) RETURN a.id"))


def test_ids_that_no_node_can_have_find_nothing(graph):
    for value in ["", "x" * 1_000, "\ud800", 3, None, ["a0"]]:
        assert not graph.query("MATCH (a:account {id: $id}) RETURN a", id=value)


def test_every_cut_is_visible(graph, monkeypatch):
    cut = graph.query("MATCH (a:account) RETURN a LIMIT 3")
    assert (len(cut), cut.complete, cut.reason) == (3, False, "`LIMIT` keeps 3 rows")
    assert graph.query("MATCH (a:account) RETURN a LIMIT 4").complete
    monkeypatch.setattr(query, "MAX_PATHS", 2)
    assert graph.query("MATCH (a:account) RETURN a").reason == "there are more than 2 rows"
    assert len(graph.query("MATCH (a:account) RETURN a")) == 2
    monkeypatch.setattr(match, "MAX_EDGES_PER_STEP", 3)
    assert (
        graph.query("MATCH (a:account) RETURN count(*) AS n").reason == "the start set has more than 3 nodes"
    )
    assert column(graph.query("MATCH (a:account) RETURN count(*) AS n")) == [3]
    hop = graph.query("MATCH (a {id: 'a0'})-[:watched]->(t) RETURN count(*)")
    assert hop.reason == "a hop meets more than 3 edges"
    monkeypatch.setattr(match, "MAX_EDGES_PER_STEP", 100)
    monkeypatch.setattr(match, "MAX_QUERY_ROWS", 4)
    product = graph.query("MATCH (a:account), (b:account) RETURN count(*) AS n")
    assert (column(product), product.reason) == ([4], "the patterns match more than 4 times")
    walks = graph.query("MATCH (a)-[:follows*1..3]-(b) RETURN count(*)")
    assert walks.reason == "a variable length has more than 4 walks"


@pytest.mark.parametrize(
    "text",
    [
        "MATCH (a:account) OPTIONAL MATCH (a)-[:watched]->(t) RETURN a",
        "MATCH (a:account) WHERE NOT (a)-[:watched]->() RETURN a",
    ],
)
def test_a_cut_that_would_make_rows_wrong_is_an_error(graph, monkeypatch, text):
    assert graph.query(text).complete
    monkeypatch.setattr(match, "MAX_EDGES_PER_STEP", 4)
    with pytest.raises(LimitExceeded, match="a hop meets more than 4 edges"):
        graph.query(text)


class Seeing:
    def __init__(self, *hidden):
        self.hidden = {NodeRef(*one) for one in hidden}
        self.asked = []

    def visible(self, nodes):
        self.asked += nodes
        return [node not in self.hidden for node in nodes]


def test_what_is_hidden_is_not_returned_not_walked_not_counted_and_not_told(graph):
    reader = Seeing(("account", "a1"), ("title", "t4"))
    view = graph.seen_by(reader)
    assert column(view.query("MATCH (a:account) RETURN a.id ORDER BY a.id")) == ["a0", "a2", "a3"]
    assert not view.query("MATCH (a {id: 'a1'})-[:watched]->(t) RETURN t")
    assert not view.query("MATCH (a {id: 'a0'})-[:follows*2]->(b) RETURN b")
    assert column(view.query("MATCH (a {id: 'a0'})-[:watched]->(t) RETURN count(t)")) == [4]
    assert column(view.query("MATCH (a {id: 'a0'}) WHERE (a)-[:follows]->() RETURN a.id")) == []
    assert column(view.query("MATCH (a {id: 'a0'}) OPTIONAL MATCH (a)-[:follows]->(b) RETURN b")) == [None]
    exact = view.query("MATCH (a {id: 'a0'})-[:watched]->(t) RETURN t LIMIT 4")
    assert (len(exact), exact.complete) == (4, True)


def test_a_reader_is_asked_once_about_each_node(graph):
    reader = Seeing()
    text = "MATCH (a:account)-[:watched]->(t)<-[:watched]-(b) OPTIONAL MATCH (b)-[:follows*1..3]-(c) RETURN c"
    graph.seen_by(reader).query(text)
    assert len(reader.asked) == len(set(reader.asked)) == 9


def test_parameters_may_have_any_name(graph):
    names = {"self": 1, "text": 2, "visibility": 3}
    text = "RETURN $self + $text + $visibility AS n"
    assert column(graph.query(text, **names)) == column(graph.seen_by(Seeing()).query(text, **names)) == [6]


def test_an_error_is_invalid_and_travels(graph):
    import pickle

    with pytest.raises(QueryError) as refused:
        graph.query("RETURN x")
    again = pickle.loads(pickle.dumps(refused.value))
    assert (again.line, again.column, again.excerpt, again.code) == (
        1,
        8,
        "1 | RETURN x\n  |        ^",
        "invalid",
    )


def test_an_edge_between_equal_ids_of_two_types_is_no_loop(graph):
    graph.put(edges=[Edge("watched", "x", "x"), Edge("follows", "x", "x")])
    assert column(graph.query("MATCH (t:title {id: 'x'})-[:watched]-(a) RETURN labels(a)")) == [["account"]]
    assert column(graph.query("MATCH (a:account {id: 'x'})-[:follows]-(b) RETURN b.id")) == ["x"]


def test_a_type_said_once_holds_wherever_the_name_stands(graph):
    assert column(graph.query("MATCH (n:account), (n) RETURN n.id ORDER BY n.id")) == ["a0", "a1", "a2", "a3"]
    found = graph.query("MATCH (a {id: 'a3'})-[]->(t:title) RETURN t.id ORDER BY t.id")
    assert column(found) == ["t3", "t4"]
    assert column(graph.query("MATCH (a {id: 'a0'})-[]->(b:account) RETURN b.id")) == ["a1"]


def test_nothing_counts_as_zero_but_has_no_groups(graph):
    nothing = "MATCH (a:account {id: 'none'}) RETURN "
    assert column(graph.query(nothing + "count(*)")) == [0]
    assert not graph.query(nothing + "a.id, count(*)")


def test_a_null_matches_no_node(graph):
    text = "MATCH (a:account) OPTIONAL MATCH (a)-[:follows]->(b) MATCH (b) RETURN count(*)"
    assert column(graph.query(text)) == [3]
