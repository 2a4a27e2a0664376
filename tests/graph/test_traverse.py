"""Traversals by example: what they cost, what they cut, what they refuse, what a reader may see."""

from __future__ import annotations

import pytest

from weft.core.errors import Bug, Invalid, LimitExceeded
from weft.graph import Edge, EdgeType, Graph, Node, NodeRef, NodeType
from weft.graph.traverse import answers, walk

TYPES = [
    NodeType("account", properties={"name": str}, unknown="keep"),
    NodeType("title", properties={"year": int, "tags": list}),
    EdgeType("watched", source="account", target="title", properties={"device": str, "n": int}),
    EdgeType("follows", source="account", target="account"),
]


@pytest.fixture
def graph():
    graph = Graph.open("memory:", TYPES)
    graph.put(
        nodes=[Node("account", f"a{n}", {"name": f"N{n}"}, 10) for n in range(4)]
        + [Node("title", f"t{n}", {"year": 2000 + n}, 10) for n in range(5)],
        edges=[
            Edge("watched", f"a{a}", f"t{t}", {"device": "tv" if t % 2 else "phone", "n": a + t}, 10 + a + t)
            for a in range(4)
            for t in range(a, 5)
        ]
        + [Edge("follows", "a0", "a1", {}, 10), Edge("follows", "a1", "a2", {}, 10)],
    )
    return graph


def ids(result):
    return [node.id for node in result]


def test_the_readme_session(graph):
    walk = graph.start("account", "a3").out("watched", where={"device": "tv"}, limit=100).in_("watched")
    assert ids(walk.nodes()) == ["a0", "a1", "a2", "a3"]
    assert walk.count() == 4
    assert walk.nodes().complete


def test_one_read_per_hop_whatever_the_size_of_the_frontier(graph):
    calls = []

    class Counting:
        def __getattr__(self, name):
            found = getattr(store, name)

            def call(*arguments, **named):
                calls.append((name, *arguments[:1], *map(len, arguments[1:2])))
                return found(*arguments, **named)

            return call

    store, graph.store = graph.store, Counting()
    assert graph.start("account", "a0").out("watched").in_("watched").out("watched").count() == 5
    assert calls == [
        ("snapshot",),
        ("get_items", "out/watched", 1),
        ("get_items", "in/watched", 5),
        ("get_items", "out/watched", 4),
    ]


@pytest.mark.parametrize(
    ("build", "found", "reason"),
    [
        (lambda s: s("account", "a0").out("watched", limit=5), 5, ""),
        (lambda s: s("account", "a0").out("watched", limit=4), 4, "step 1 walks 4 edges"),
        (lambda s: s("account").out("watched", limit=1), 1, "step 1 walks 1 edges"),
        (lambda s: s("account").out("watched", per_node=5), 5, ""),
        (lambda s: s("account").out("watched", per_node=1), 4, "step 1 walks 1 edges per node"),
        (lambda s: s("account").limit(4), 4, ""),
        (lambda s: s("account").limit(3), 3, "step 1 keeps 3 nodes"),
        (lambda s: s("title").where({"year": {">": 2002}}).limit(1), 1, "step 2 keeps 1 nodes"),
        (lambda s: s("title").where({"year": {">": 2003}}).limit(1), 1, ""),
        (lambda s: s("account", "a0").out("watched", where={"n": {"<": 2}}, limit=2), 2, ""),
    ],
)
def test_every_cut_is_visible(graph, build, found, reason):
    walk = build(graph.start)
    for result in (walk.nodes(), walk.count(), walk.edges()):
        assert (result.reason, result.complete) == (reason, not reason)
    assert walk.count() == len(walk.nodes()) == found


def test_bounds_on_memory_are_visible_cuts_too(graph, monkeypatch):
    monkeypatch.setattr(walk, "MAX_EDGES_PER_STEP", 3)
    monkeypatch.setattr(answers, "MAX_PATHS", 2)
    assert graph.start("account").count() == 3
    assert graph.start("account").count().reason == "the start set has more than 3 nodes"
    assert graph.start("account", "a0").out("watched").nodes().reason == "step 1 meets more than 3 edges"
    assert graph.start("account", "a0").out("watched").count() == 3
    paths = graph.start("account", "a2").out("watched").paths()
    assert (len(paths), paths.reason) == (2, "there are more than 2 paths")


def test_the_newest_per_node(graph):
    newest = graph.start("account", ["a0", "a1"]).out("watched", order_by="-event_time_us", per_node=1)
    assert [edge.ref[1:] for edge in newest.edges()] == [("a1", "t4"), ("a0", "t4")]


def test_top_by_count(graph):
    top = graph.start("account").out("watched").count_by(top=2)
    assert [(group.key, group.count) for group in top] == [
        (NodeRef("title", "t3"), 4),
        (NodeRef("title", "t4"), 4),
    ]
    assert top.reason == "the top 2 of 5 groups"
    by_year = graph.start("account", ["a2", "a3"]).out("watched").count_by("year")
    assert [(group.key, group.count) for group in by_year] == [(2003, 2), (2004, 2), (2002, 1)]


def test_distinct_counts_a_node_once(graph):
    assert [group.count for group in graph.start("account").out("watched").distinct().count_by()] == [1] * 5


def test_a_path_has_nodes_and_edges_in_walking_order(graph):
    (path,) = graph.start("account", "a0").out("follows").out("follows").paths()
    assert ids(path.nodes) == ["a0", "a1", "a2"]
    assert [edge.ref[1:] for edge in path.edges] == [("a0", "a1"), ("a1", "a2")]


def test_a_node_that_only_edges_know_is_bare(graph):
    graph.put(edges=[Edge("watched", "ghost", "unseen")])
    assert list(graph.start("account", "ghost").out("watched").nodes()) == [Node("title", "unseen")]
    assert not graph.start("account", "ghost").nodes()
    assert "ghost" not in ids(graph.start("account").nodes())
    (path,) = graph.start("account", "ghost").out("watched").paths()
    assert path.nodes == [Node("account", "ghost"), Node("title", "unseen")]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda s: s("movie"), "there is no node type `movie`"),
        (lambda s: s("account", "a").out("liked"), "there is no edge type `liked`"),
        (lambda s: s("account", "a").in_("watched"), "`in` along `watched` cannot start at `account`"),
        (lambda s: s("title", "a").out("watched"), "`watched` goes from `account` to `title`"),
        (
            lambda s: s("account", "a").out("watched", where={"x": 1}),
            "edge type `watched` has no property `x`",
        ),
        (lambda s: s("account", "a").out("watched", where={"n": {"~": 1}}), "`~` is not a comparison"),
        (lambda s: s("account", "a").out("watched", where={"n": "1"}), "`n` is an int, it cannot be"),
        (lambda s: s("account", "a").out("watched", where={"n": {"in": 3}}), "`in` on `n` takes a list"),
        (lambda s: s("title").where({"year": {"starts_with": 2}}), "`starts_with` on `year` takes a string"),
        (lambda s: s("account", "a").out("watched", order_by="x"), "has no property `x`"),
        (lambda s: s("account", "a").out("watched", limit=0), "`limit` is `0`"),
        (lambda s: s("account", "a").out("watched", per_node=-1), "`per_node` is `-1`"),
        (lambda s: s("account", "a").limit(True), "`limit` is `True`"),
        (lambda s: s("title").order_by("-rank"), "node type `title` has no property `rank`"),
        (lambda s: s("account", ""), "a node id is a string"),
        (lambda s: s("account", [3]), "a node id is a string"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_read(graph, build, says):
    graph.store.close()
    with pytest.raises(Invalid) as refused:
        build(graph.start).nodes()
    assert says in str(refused.value)


def test_a_traversal_has_a_longest_length(graph):
    walk = graph.start("account", "a0")
    for _ in range(65):
        walk = walk.out("follows")
    with pytest.raises(LimitExceeded, match="65 steps"):
        walk.nodes()


def test_values_that_do_not_compare_do_not_match(graph):
    graph.put(nodes=[Node("account", "x", {"rank": "high"}), Node("account", "y", {"rank": 3})])
    assert ids(graph.start("account").where({"rank": {">": 2}}).nodes()) == ["y"]
    assert ids(graph.start("account").order_by("rank").limit(2).nodes()) == ["y", "x"]


def test_a_traversal_is_data(graph):
    walk = graph.start("account", "a0").out("watched", where={"n": {">": 3}}).where({"year": 2004}).distinct()
    assert walk.to_json() == (
        '{"type":"account","ids":["a0"],"steps":[{"step":"hop","direction":"out","edge":"watched",'
        '"where":{"n":{">":3}}},{"step":"where","where":{"year":2004}},{"step":"distinct"}]}'
    )
    assert ids(graph.traverse(walk.to_json()).nodes()) == ["t4"]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"type":"a","steps":[{"step":"jump"}]}', '{"type":"a","x":1}', '{"type":1}', b"\xff"],
)
def test_a_traversal_that_does_not_parse_is_invalid(graph, text):
    with pytest.raises(Invalid, match="the traversal does not parse"):
        graph.traverse(text)


class Seeing:
    def __init__(self, *hidden):
        self.hidden = {NodeRef(*one) for one in hidden}
        self.calls = []

    def visible(self, nodes):
        self.calls.append(list(nodes))
        return [node not in self.hidden for node in nodes]


def test_a_hidden_node_is_not_returned_not_walked_and_not_counted(graph):
    view = graph.seen_by(Seeing(("account", "a1"), ("title", "t4")))
    assert not view.start("account", "a0").out("follows").out("follows").nodes()
    assert ids(view.start("account", "a0").out("watched").nodes()) == ["t0", "t1", "t2", "t3"]
    assert view.start("account", "a0").out("watched").count() == 4
    assert not view.start("account", "a1").out("watched").nodes()
    assert ids(view.start("account").nodes()) == ["a0", "a2", "a3"]
    assert view.node("account", "a1") is None
    assert view.node("account", "a0") is not None
    assert all(group.count == 1 for group in view.start("account", "a0").out("watched").count_by())


def test_limits_count_only_what_may_be_seen_and_do_not_tell_of_the_rest(graph):
    view = graph.seen_by(Seeing(("title", "t0"), ("title", "t1"), ("title", "t4")))
    found = view.start("account", "a0").out("watched", limit=2).nodes()
    assert (ids(found), found.complete) == (["t2", "t3"], True)
    found = view.start("account", "a0").out("watched", per_node=2).nodes()
    assert (ids(found), found.complete) == (["t2", "t3"], True)


def test_a_reader_is_asked_once_per_hop_about_all_new_nodes(graph):
    reader = Seeing()
    graph.seen_by(reader).start("account", "a0").out("watched").in_("watched").nodes()
    assert [[node.id for node in call] for call in reader.calls] == [
        ["a0"],
        ["t0", "t1", "t2", "t3", "t4"],
        ["a1", "a2", "a3"],
    ]


def test_a_reader_that_miscounts_or_fails_shows_nothing(graph):
    class Short:
        def visible(self, nodes):
            return []

    class Broken:
        def visible(self, nodes):
            raise ConnectionError

    with pytest.raises(Bug, match="answered 0 times to 1 questions"):
        graph.seen_by(Short()).start("account", "a0").nodes()
    with pytest.raises(ConnectionError):
        graph.seen_by(Broken()).start("account", "a0").nodes()


def test_a_loop_is_one_edge_whichever_way_it_is_walked(graph):
    graph.put(edges=[Edge("follows", "me", "me")])
    me = graph.start("account", "me")
    for found in (me.both("follows"), me.out("follows")):
        assert len(found.edges()) == len(found.paths()) == found.count_by()[0].count == 1


def test_edges_follow_the_order_of_the_nodes_that_they_reach(graph):
    walk = graph.start("account", "a2").out("watched").order_by("-year").limit(2)
    assert [edge.target for edge in walk.edges()] == ids(walk.nodes()) == ["t4", "t3"]
