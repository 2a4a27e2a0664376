"""What each layout promises beside the same answers: which reads it saves, and what becomes of parts."""

from __future__ import annotations

import pytest

from weft.core.errors import Conflict, Invalid
from weft.graph import (
    Edge,
    EdgeType,
    Graph,
    Node,
    NodeType,
    PartialNode,
    types_from_toml,
)
from weft.graph.export import to_networkx
from weft.graph.ingest.job import Job
from weft.graph.ingest.sources import IterSource
from weft.graph.types import decode_types, encode_types
from weft.testing.clock import VirtualClock
from weft.testing.graph import IDS, LAYOUTS
from weft.testing.processes import child_process

STATS = NodeType(
    "page", properties={"name": str, "views": int, "likes": int}, groups={"stats": ["views", "likes"]}
)
LINK = {"source": "page", "target": "page", "properties": {"n": int, "valid_to_us": int}}
TYPES = [STATS, EdgeType("inline", **LINK), EdgeType("split", **LINK, split=True)]
NEWEST = [NodeType("n"), EdgeType("e", "n", "n", properties={"k": int}, newest=True)]


class Counting:
    """Tells which namespaces were asked, and for how many records and items."""

    def __init__(self, store):
        self._store = store
        self.reads = []

    def __getattr__(self, name):
        return getattr(self._store, name)

    def get_items(self, namespace, records, *arguments, **named):
        page = self._store.get_items(namespace, records, *arguments, **named)
        self.reads.append((namespace, len(records), len(page.items())))
        return page


@pytest.fixture
def graph():
    return Graph.open("memory:", TYPES, clock=VirtualClock())


@pytest.fixture
def links(graph):
    graph.put(
        edges=[
            Edge(kind, "hub", f"p{n:02}", {"n": n % 5}, 1 + n)
            for kind in ("inline", "split")
            for n in range(20)
        ]
    )
    graph.store = Counting(graph.store)
    return graph


PAIRS = ("edge/split", 20, 20)


@pytest.mark.parametrize(
    ("ask", "pairs"),
    [
        (lambda hub: hub.out("split").nodes(), []),
        (lambda hub: hub.out("split").count(), []),
        (lambda hub: hub.out("split", order_by="-event_time_us").nodes(), []),
        (lambda hub: hub.out("split", where={"event_time_us": {">": 10}}).nodes(), []),
        (lambda hub: hub.out("split", where={"event_time_us": {">": 10}}).edges(), [("edge/split", 10, 10)]),
        (lambda hub: hub.out("split", limit=3).edges(), [("edge/split", 3, 3)]),
        (lambda hub: hub.out("split").edges(), [PAIRS]),
        (lambda hub: hub.out("split", where={"n": 2}).edges(), [PAIRS]),
        (lambda hub: hub.out("split", order_by="n").nodes(), [PAIRS]),
        (lambda hub: hub.out("split").as_of(5).nodes(), [PAIRS]),
        (lambda hub: hub.out("split").paths(), [PAIRS]),
        (lambda hub: hub.out("split").summary("n", of="edges"), [PAIRS]),
        (lambda hub: hub.out("inline").edges(), []),
    ],
)
def test_properties_of_split_edges_are_read_where_they_are_asked_for_and_all_at_once(links, ask, pairs):
    ask(links.start("page", "hub"))
    assert [read for read in links.store.reads if read[0].startswith("edge/")] == pairs


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("MATCH (a {id: 'hub'})-[:split]->(b) RETURN b.id", []),
        ("MATCH (a {id: 'hub'})-[r:split]->(b) RETURN type(r), startNode(r).id, count(*)", []),
        ("MATCH (a {id: 'hub'})-[r:split]->(b) WHERE r.n = 2 RETURN b.id", [PAIRS]),
        (
            "MATCH (a {id: 'hub'})-[r:split]->(b) WHERE r.n > 0 AND r.n < 3 RETURN r, r.n ORDER BY r.n",
            [PAIRS],
        ),
        ("MATCH (a {id: 'hub'})-[r:split]->(b) RETURN sum(r.n)", [PAIRS]),
        ("MATCH p = (a {id: 'hub'})-[:split]->(b) RETURN p", [PAIRS]),
        ("MATCH (a {id: 'hub'})-[r:inline]->(b) RETURN r.n", []),
    ],
)
def test_a_query_reads_them_as_rarely(links, text, pairs):
    rows = links.query(text)
    assert [read for read in links.store.reads if read[0].startswith("edge/")] == pairs
    links.store.reads.clear()
    assert repr(list(links.query(text.replace(":split", ":inline")))) == repr(list(rows)).replace(
        "split", "inline"
    )


def test_a_plan_names_what_is_read(graph):
    start = graph.start("page", "a")
    assert [step.reads for step in start.out("split").explain()][1] == ["out/split"]
    assert [step.reads for step in start.out("split", where={"n": 1}).explain()][1] == [
        "out/split",
        "edge/split",
    ]


def test_deleting_a_node_deletes_its_split_edges_whole(links):
    links.delete(nodes=[("page", "hub")])
    assert links.store.stats("edge/split").live_items == 0
    assert not links.start("page").out("split").nodes()


def test_an_export_is_the_same_for_every_layout():
    nodes = [Node("person", "a", {"n": 1, "s": "x"}, 5), Node("thing", "t", {"s": "y"}, 6)]
    edges = [Edge("knows", "a", b, {"n": 2}, 7) for b in IDS] + [Edge("likes", "a", "t", {"s": "z"}, 8)]
    exported = []
    for types in LAYOUTS:
        graph = Graph.open("memory:", types)
        graph.put(nodes=[*nodes, Node("person", "gone")], edges=[*edges, Edge("knows", "gone", "a")])
        graph.delete(nodes=[("person", "gone")])
        found = to_networkx(graph)
        exported.append((sorted(found.nodes(data=True), key=repr), sorted(found.edges(data=True), key=repr)))
    assert len(exported[0][0]) == 2 + len(IDS) - 1
    assert len(exported[0][1]) == len(edges)
    assert exported[1:] == exported[:-1]


@pytest.mark.parametrize("types", LAYOUTS)
def test_packed_nodes_and_edges_are_those_of_the_layout(types):
    graph = Graph.open("memory:", types)
    graph.put(
        nodes=[Node("person", "a", {"n": 1, "s": "x"}, 5)], edges=[Edge("knows", "b", "a", {"n": 2}, 7)]
    )
    graph.put(nodes=[Node("person", "a", {"n": 1, "s": "new"}, 9)])
    graph.pack("knows", "likes")
    walk = graph.start("person", "b").out("knows", where={"n": 2}).where({"s": "new", "n": 1})
    assert list(walk.nodes()) == [Node("person", "a", {"n": 1, "s": "new"}, 9)]


# Property groups


def test_a_partial_node_replaces_the_groups_that_it_names_and_no_others(graph):
    graph.put(nodes=[Node("page", "a", {"name": "A", "views": 1, "likes": 1}, 10)])
    graph.put(nodes=[PartialNode("page", "a", {"views": 2}, 20)])
    assert graph.node("page", "a") == Node("page", "a", {"name": "A", "views": 2}, 20)
    graph.put(nodes=[PartialNode("page", "a", {"name": "B"}, 15)])
    assert graph.node("page", "a") == Node("page", "a", {"name": "B", "views": 2}, 20)
    graph.put(
        nodes=[PartialNode("page", "a", {"name": "late"}, 12), PartialNode("page", "a", {"likes": 9}, 12)]
    )
    assert graph.node("page", "a") == Node("page", "a", {"name": "B", "views": 2}, 20)
    graph.put(nodes=[PartialNode("page", "a", {"views": None}, 30)])
    assert graph.node("page", "a") == Node("page", "a", {"name": "B"}, 30)


def test_a_whole_node_replaces_all_groups(graph):
    graph.put(nodes=[Node("page", "a", {"name": "A", "views": 1}, 10), Node("page", "a", {"name": "B"}, 20)])
    assert graph.node("page", "a") == Node("page", "a", {"name": "B"}, 20)
    graph.put(nodes=[PartialNode("page", "a", {"views": 5}, 15)])
    assert graph.node("page", "a").properties == {"name": "B"}


def test_a_removal_removes_all_groups_but_what_is_newer(graph):
    graph.put(
        nodes=[Node("page", "a", {"name": "A", "views": 1}, 10), PartialNode("page", "b", {"views": 1}, 10)]
    )
    graph.put(nodes=[PartialNode("page", "a", {"views": 7}, 30)])
    graph.delete(nodes=[("page", "a"), ("page", "b")], event_time_us=20)
    assert graph.node("page", "a") == Node("page", "a", {"views": 7}, 30)
    assert graph.node("page", "b") is None
    graph.put(nodes=[PartialNode("page", "b", {"views": 1}, 15)])
    assert graph.node("page", "b") is None
    assert graph.store.stats("node/page").live_items == 1


def test_a_node_lasts_as_long_as_the_last_of_its_groups():
    clock = VirtualClock()
    kind = NodeType("page", properties=STATS.properties, groups=STATS.groups, ttl_s=60)
    graph = Graph.open("memory:", [kind], clock=clock)
    graph.put(nodes=[Node("page", "a", {"name": "A", "views": 1})])
    clock.advance(40)
    graph.put(nodes=[PartialNode("page", "a", {"views": 2})])
    clock.advance(40)
    assert graph.node("page", "a").properties == {"views": 2}
    assert [node.properties for node in graph.start("page").nodes()] == [{"views": 2}]
    clock.advance(40)
    assert graph.node("page", "a") is None
    assert not graph.start("page").nodes()


def test_a_partial_node_costs_no_read(graph):
    graph.store = Counting(graph.store)
    graph.put(nodes=[PartialNode("page", "a", {"views": 1})])
    assert graph.store.reads == []


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (PartialNode("page", "a"), "a partial node type `page` without properties changes nothing"),
        (PartialNode("plain", "a", {"n": 1}), "node type `plain` has one property group"),
        (PartialNode("page", "a", {"views": "x"}), "property `views` of node type `page` is an int"),
        (PartialNode("page", "a", {"other": 1}), "has no property `other`"),
    ],
)
def test_a_bad_partial_node_is_refused(node, says):
    graph = Graph.open("memory:", [STATS, NodeType("plain", properties={"n": int})])
    with pytest.raises(Invalid) as refused:
        graph.put(nodes=[node])
    assert says in str(refused.value)


def test_the_window_merges_group_by_group(graph):
    def work(event):
        return event.value

    values = [[PartialNode("page", "a", {"views": n}, 100 + n)] for n in range(10)]
    values.insert(5, [PartialNode("page", "a", {"name": "A"}, 50)])
    report = graph.ingest(Job("work", work), IterSource("s", values, time_us=lambda _: 1))
    assert report.written == {"node/page": 2}
    assert graph.node("page", "a") == Node("page", "a", {"name": "A", "views": 9}, 109)


# The newest first


def newest(edges=2_000):
    graph = Graph.open("memory:", NEWEST, clock=VirtualClock())
    graph.put(edges=[Edge("e", "hub", f"{n * 7 % edges:05}", {"k": n % 10}, 1 + n) for n in range(edges)])
    return graph


def _targets(walk):
    return [edge.target for edge in walk.edges()]


@pytest.mark.parametrize("bounds", [{"limit": 5}, {"per_node": 5}, {"limit": 5, "per_node": 9}])
def test_the_newest_few_are_read_alone(bounds):
    graph = newest()
    walk = graph.start("n", "hub").out("e", order_by="-event_time_us", **bounds)
    assert [step.items for step in walk.profile().steps][1] == 6
    assert [step.reads for step in walk.explain()][1] == ["newest/out/e"]
    assert [edge.event_time_us for edge in walk.edges()] == [2000, 1999, 1998, 1997, 1996]
    assert not walk.edges().complete
    everything = graph.start("n", "hub").out("e", order_by="-event_time_us")
    assert _targets(everything)[:5] == _targets(walk)
    assert [step.reads for step in everything.explain()][1] == ["out/e"]
    oldest = graph.start("n", "hub").out("e", order_by="event_time_us", limit=5)
    assert [edge.event_time_us for edge in oldest.edges()] == [1, 2, 3, 4, 5]


def test_a_condition_reads_on_until_there_is_enough():
    graph = newest()
    walk = graph.start("n", "hub").out("e", where={"k": 3}, order_by="-event_time_us", limit=5)
    assert [edge.event_time_us for edge in walk.edges()] == [1994, 1984, 1974, 1964, 1954]
    assert walk.profile().steps[1].items <= 4 * 60


def test_an_edge_that_is_written_again_moves_and_stays_one():
    graph = newest(50)
    graph.put(edges=[Edge("e", "hub", "00000", {"k": 1}, 1_000 + n) for n in range(100)])
    graph.put(edges=[Edge("e", "hub", "00007", {}, 1)])  # late: it is of 2 already
    graph.delete(edges=[("e", "hub", f"{49 * 7 % 50:05}")], event_time_us=5_000)
    walk = graph.start("n", "hub").out("e", order_by="-event_time_us", limit=3)
    assert [(edge.target, edge.event_time_us) for edge in walk.edges()] == [
        ("00000", 1_099),
        (f"{48 * 7 % 50:05}", 49),
        (f"{47 * 7 % 50:05}", 48),
    ]
    into = graph.start("n", "00000").in_("e", order_by="-event_time_us", limit=1)
    assert [edge.event_time_us for edge in into.edges()] == [1_099]
    before = walk.profile().steps[1].items
    assert graph.sweep() == 2 * (100 + 1 + 1)  # what is stale; the removal stays until no late event may come
    assert walk.profile().steps[1].items < before / 5
    assert _targets(walk)[0] == "00000"
    assert graph.store.stats("newest/out/e").live_items == 50


def test_a_removal_is_forgotten_when_no_late_event_may_come_any_more():
    clock = VirtualClock()
    graph = Graph.open("memory:", NEWEST, clock=clock)
    graph.put(edges=[Edge("e", "a", "b")])
    graph.delete(edges=[("e", "a", "b")])
    graph.sweep()
    assert graph.store.stats("newest/in/e").live_items == 1
    clock.advance(8 * 86_400)
    graph.sweep()
    assert graph.store.stats("newest/in/e").live_items == 1  # It may have been written just now.
    clock.advance(8 * 86_400)
    graph.sweep()
    assert graph.store.stats("newest/in/e").live_items == 0
    assert not graph.start("n", "a").out("e", order_by="-event_time_us", limit=1).nodes()


# Types


def test_toml_declares_layouts_too():
    declared = types_from_toml(
        """
        [node.page]
        properties = { name = "str", views = "int", likes = "int" }
        groups = { stats = ["views", "likes"] }
        [edge.seen]
        source = "page"
        target = "page"
        split = true
        newest = true
        cap = 10
        """
    )
    assert declared == [STATS, EdgeType("seen", "page", "page", split=True, newest=True, cap=10)]
    assert decode_types(encode_types(declared)) == declared
    assert [kind.layout for kind in declared] == [
        {"groups": {"stats": ["views", "likes"]}},
        {"split": True, "newest": True, "cap": 10},
    ]


@pytest.mark.parametrize(
    ("declare", "says"),
    [
        (
            lambda: NodeType("p", groups={"g": ["x"]}),
            "group `g` of node type `p` has the undeclared property `x`",
        ),
        (
            lambda: NodeType("p", properties={"x": int}, groups={"g": ["x"], "h": ["x"]}),
            "property `x` of node type `p` is in two groups",
        ),
        (lambda: NodeType("p", groups={"": []}), "cannot be the name of a group"),
        (lambda: EdgeType("e", "p", "p", newest=True, cap=0), "edge type `e` has cap=`0`"),
        (lambda: EdgeType("e", "p", "p", cap=5), "add newest=True"),
    ],
)
def test_a_bad_layout_says_what_is_wrong(declare, says):
    with pytest.raises(Invalid) as refused:
        declare()
    assert says in str(refused.value)


@pytest.mark.parametrize(
    "declared",
    [
        NodeType("page", properties=STATS.properties),
        NodeType("page", properties=STATS.properties, groups={"stats": ["views"]}),
        NodeType("page", properties=STATS.properties, groups={**STATS.groups, "more": ["name"]}),
        EdgeType("inline", **LINK, split=True),
        EdgeType("inline", **LINK, newest=True),
        EdgeType("split", **LINK),
    ],
)
def test_another_layout_of_what_is_there_is_a_conflict(declared, tmp_path):
    Graph.open(tmp_path / "g", TYPES).close()
    with pytest.raises(Conflict, match=r"is laid out by .*, but in this graph by .*ingest again"):
        Graph.open(tmp_path / "g", [declared])
    with Graph.open(tmp_path / "g") as graph:
        assert graph.schema.types() == TYPES


def test_a_new_property_may_join_a_group(tmp_path):
    Graph.open(tmp_path / "g", TYPES).close()
    grown = NodeType(
        "page", properties={**STATS.properties, "shares": int}, groups={"stats": ["views", "likes", "shares"]}
    )
    with Graph.open(tmp_path / "g", [grown]) as graph:
        graph.put(nodes=[Node("page", "a", {"name": "A"}, 1), PartialNode("page", "a", {"shares": 1}, 2)])
        assert graph.node("page", "a").properties == {"name": "A", "shares": 1}


# Types that others add


def add_types(report, path):
    town = NodeType("town")
    page = NodeType("page", properties={**STATS.properties, "colour": str}, groups=STATS.groups)
    with Graph.open(path, [town, page, EdgeType("of", "page", "town", split=True, newest=True)]) as graph:
        graph.put(nodes=[Node("town", "t")], edges=[Edge("of", "a", "t"), Edge("of", "b", "t")])
    report("done")


def _work(event):
    return event.value


@pytest.mark.parametrize(
    "use",
    [
        lambda graph: graph.node("town", "t"),
        lambda graph: graph.start("town").nodes(),
        lambda graph: graph.start("page", "a").out("of").edges(),
        lambda graph: graph.query("MATCH (a {id: 'a'})-[:of]->(t) RETURN t"),
        lambda graph: graph.put(edges=[Edge("of", "x", "y")]) is None,
        lambda graph: graph.put(nodes=[Node("page", "a", {"colour": "red"})]) is None,
        lambda graph: (
            graph.delete(nodes=[("page", "a")]) is None and not graph.start("page", "a").out("of").edges()
        ),
        lambda graph: (
            graph.ingest(Job("j", _work), IterSource("s", [[Node("town", "x")]], time_us=lambda _: 1)).written
        ),
    ],
)
@pytest.mark.slow
def test_an_open_graph_notices_types_that_another_process_added(tmp_path, use):
    with Graph.open(tmp_path / "g", TYPES) as graph:
        graph.put(nodes=[Node("page", "a")])
        with child_process(add_types, tmp_path / "g") as child:
            assert child.next_report() == "done"
        assert use(graph)
        assert set(graph.schema.edges) == {"inline", "split", "of"}


def test_looking_for_new_types_is_left_to_when_something_is_not_known(graph):
    graph.store = Counting(graph.store)
    graph.put(nodes=[Node("page", "a")], edges=[Edge("split", "a", "b")])
    graph.start("page", "a").out("split").nodes()
    graph.node("page", "a")
    assert not [read for read in graph.store.reads if read[0] == "graph/meta"]
    with pytest.raises(Invalid, match="no node type `town`"):
        graph.node("town", "t")
    assert [read[0] for read in graph.store.reads][-1] == "graph/meta"
