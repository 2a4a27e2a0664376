"""Writing and removing: replacement by event time, both directions, removal with edges, retention."""

from __future__ import annotations

import pytest

from weft.core.errors import Corrupt, Invalid
from weft.graph import Edge, EdgeRef, EdgeType, Graph, Node, NodeRef, NodeType, layout
from weft.kv import ItemWrite, Put, TokenSource
from weft.kv.memory import MemoryStore
from weft.testing.clock import VirtualClock

HOUR_US = 3_600 * 1_000_000
TYPES = [
    NodeType("account", properties={"name": str}),
    NodeType("title"),
    NodeType("session", ttl_s=3_600),
    EdgeType("watched", source="account", target="title", properties={"device": str}),
    EdgeType("follows", source="account", target="account"),
    EdgeType("opened", source="account", target="session", ttl_s=3_600),
]


@pytest.fixture
def graph():
    return Graph.open("memory:", TYPES)


def _name(graph):
    return graph.node("account", "a").properties["name"]


def test_the_later_event_wins_whatever_the_order_of_arrival(graph):
    graph.put(nodes=[Node("account", "a", {"name": "new"}, 20)])
    graph.put(nodes=[Node("account", "a", {"name": "old"}, 10)])
    assert _name(graph) == "new"
    graph.put(nodes=[Node("account", "a", {"name": "newest"}, 30)])
    assert _name(graph) == "newest"


def test_within_one_call_the_last_of_equals_wins(graph):
    graph.put(nodes=[Node("account", "a", {"name": name}, 10) for name in ("z", "y", "x")])
    assert _name(graph) == "x"


def test_a_late_event_does_not_bring_back_what_was_deleted(graph):
    graph.delete(nodes=[("account", "a")], edges=[("watched", "a", "t")], event_time_us=20)
    graph.put(nodes=[Node("account", "a", {}, 10)], edges=[Edge("watched", "a", "t", {}, 10)])
    assert graph.node("account", "a") is None
    assert not graph.start("account", "a").out("watched").nodes()
    assert not graph.start("title", "t").in_("watched").nodes()
    graph.put(nodes=[Node("account", "a", {}, 30)])
    assert graph.node("account", "a").event_time_us == 30


def test_deleting_a_node_takes_its_edges_in_both_directions_but_not_newer_ones(graph):
    graph.put(
        nodes=[Node("account", "a", {}, 10), Node("account", "b", {}, 10)],
        edges=[
            Edge("watched", "a", "t", {}, 10),
            Edge("watched", "a", "later", {}, 30),
            Edge("follows", "b", "a", {}, 10),
            Edge("follows", "a", "a", {}, 10),
            Edge("follows", "b", "c", {}, 10),
        ],
    )
    graph.delete(nodes=[NodeRef("account", "a")], event_time_us=20)
    assert graph.node("account", "a") is None
    assert [node.id for node in graph.start("account", "a").out("watched").nodes()] == ["later"]
    assert [edge.ref for edge in graph.start("account", ["a", "b"]).both("follows").edges()] == [
        EdgeRef("follows", "b", "c")
    ]
    assert not graph.start("title", "t").in_("watched").nodes()


def test_deleting_what_is_not_there_is_fine_and_a_wrong_type_is_not(graph):
    graph.delete(nodes=[("account", "nobody")], edges=[("watched", "a", "b")])
    with pytest.raises(Invalid, match="no node type `alien`"):
        graph.delete(nodes=[("alien", "x")])
    with pytest.raises(Invalid, match="no edge type `liked`"):
        graph.delete(edges=[("liked", "x", "y")])


def test_both_directions_are_one_batch(graph):
    batches = []
    mutate = graph.store.mutate

    class Watching:
        def __getattr__(self, name):
            return getattr(store, name)

        def mutate(self, mutations):
            batches.append([one.namespace for one in mutations])
            mutate(mutations)

    store, graph.store = graph.store, Watching()
    graph.put(nodes=[Node("account", "a")], edges=[Edge("watched", "a", "t")])
    assert batches == [["node/account", "out/watched", "in/watched"]]


def test_what_is_retained_expires_by_its_event_time():
    clock = VirtualClock(now_us=1_000 * HOUR_US)
    graph = Graph.open("memory:", TYPES, clock=clock)
    old, now = clock.now_us() - 2 * HOUR_US, clock.now_us()
    graph.put(
        nodes=[
            Node("session", "replayed", {}, old),
            Node("session", "s", {}, now),
            Node("account", "a", {}, old),
        ],
        edges=[Edge("opened", "a", "replayed", {}, old), Edge("opened", "a", "s", {}, now)],
    )
    assert [node.id for node in graph.start("session").nodes()] == ["s"]
    assert graph.start("account", "a").out("opened").count() == 1
    clock.advance(3_601)
    assert not graph.start("session").nodes()
    assert graph.start("account", "a").out("opened").count() == 0
    assert graph.node("account", "a") is not None


def test_a_node_without_a_record_is_none_and_a_wrong_type_is_an_error(graph):
    assert graph.node("account", "nobody") is None
    with pytest.raises(Invalid, match="declared are `account`, `title`, `session`"):
        graph.node("movie", "x")


def test_types_that_are_declared_at_the_same_instant_are_all_remembered(monkeypatch):
    store = MemoryStore()
    Graph(store, [NodeType("before")])
    stale = store.get_items("graph/meta", [b"types"]).items()
    with monkeypatch.context() as patched:
        patched.setattr(Graph, "_known_types", lambda self: stale)
        Graph(store, [NodeType("here")])
        Graph(store, [NodeType("there")])
    assert set(Graph(store).schema.nodes) == {"before", "here", "there"}


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda graph: graph.put(nodes=Node("account", "a")), "`nodes` takes a list"),
        (lambda graph: graph.delete(nodes="a"), "`nodes` takes a list, not `'a'`; write nodes=[...]"),
        (lambda graph: graph.delete(nodes=["ab"]), "`nodes` takes NodeRef(...), not `'ab'`"),
        (lambda graph: graph.delete(edges=[("watched", "a")]), "`edges` takes EdgeRef(...)"),
        (lambda graph: graph.start("account", 5), "`id` takes a list, not `5`"),
        (lambda graph: Graph.open("memory:", NodeType("account")), "`types` takes a list"),
    ],
)
def test_what_is_no_list_is_one_clear_error(graph, ask, says):
    with pytest.raises(Invalid) as refused:
        ask(graph)
    assert says in str(refused.value)


def test_types_that_do_not_fit_make_no_folder(tmp_path):
    with pytest.raises(Invalid, match="undeclared node type `title`"):
        Graph.open(tmp_path / "graph", [NodeType("account"), EdgeType("watched", "account", "title")])
    assert not (tmp_path / "graph").exists()


def test_damaged_properties_name_whose_they_are(graph):
    graph.put(nodes=[Node("account", "a", {}, 1)], edges=[Edge("watched", "a", "t", {}, 1)])
    for namespace, key in ((layout.node_namespace("account"), b""), (layout.out_namespace("watched"), b"t")):
        junk = ItemWrite(key, b"5")
        put = Put(namespace=namespace, record=b"a", items=(junk,), event_time_us=2, token=TokenSource().new())
        graph.store.mutate([put])
    with pytest.raises(Corrupt, match=r"node `account:a`: the properties do not decode.*; write it again"):
        graph.node("account", "a")
    with pytest.raises(Corrupt, match="edge `a -watched-> t`: the properties do not decode"):
        graph.start("account", "a").out("watched").edges()
    graph.put(nodes=[Node("account", "a", {"name": "Ann"}, 3)])
    assert graph.node("account", "a").properties == {"name": "Ann"}
