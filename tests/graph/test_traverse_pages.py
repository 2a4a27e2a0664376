"""Pages of a traversal add up to the whole, and a traversal that runs out of time says so and goes on."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from weft.core.errors import Conflict, Invalid
from weft.graph import Edge, EdgeType, Graph, Node, NodeType
from weft.graph.schema import Schema
from weft.graph.traverse import reads
from weft.graph.traverse.steps import Hop, Query
from weft.kv import PageLimits
from weft.testing.clock import VirtualClock
from weft.testing.graph import LAYOUTS, TYPES, ModelGraph, graphs, outputs, queries, walk_model

SCHEMA = Schema(TYPES)
THINGS = ("nodes", "edges", "paths")


class SmallPages:
    """A store whose pages hold few items."""

    def __init__(self, store, items):
        self._store = store
        self._page = PageLimits(items=items)

    def get_items(self, *arguments, **named):
        return self._store.get_items(*arguments, **named, page=self._page)

    def scan_records(self, *arguments, **named):
        return self._store.scan_records(*arguments, **named, page=self._page)

    def __getattr__(self, name):
        return getattr(self._store, name)


class Ticking(VirtualClock):
    """Asking for the time takes a second."""

    def monotonic_s(self):
        self.advance(1)
        return super().monotonic_s()


def _stored(model, items=None, clock=None, types=TYPES):
    graph = Graph.open("memory:", types, clock=clock or VirtualClock())
    graph.put(nodes=model.nodes.values(), edges=model.edges.values())
    if items is not None:
        graph.store = SmallPages(graph.store, items)
    return graph


def _ask(graph, query, things, **named):
    return getattr(graph.traverse(query), things)(**named)


def _rest(graph, query, things, page, after):
    """All that follows a token."""
    found = []
    while after is not None:
        result = _ask(graph, query, things, page=page, after=after)
        assert len(result) <= page
        assert result.complete == (result.next is None) or result.next is None
        found += result
        after = result.next
    return found


@given(
    graphs(),
    queries(),
    st.sampled_from(THINGS),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from(LAYOUTS),
)
def test_pages_add_up_to_the_whole(model, query, things, page, items, types):
    graph = _stored(model, items, types=types)
    whole = _ask(graph, query, things)
    first = _ask(graph, query, things, page=page)
    assert list(first) + _rest(graph, query, things, page, first.next) == list(whole)
    assert (first.next is None) == (len(whole) <= page)
    if first.next is not None:
        assert (first.complete, first.reason) == (False, f"a page of {page}")


@given(graphs(), queries(), st.sampled_from(THINGS), st.integers(1, 3), outputs())
def test_what_changes_between_pages_is_a_conflict_or_makes_neither_gap_nor_repetition(
    model, query, things, page, output
):
    graph = _stored(model)
    first = _ask(graph, query, things, page=page)
    assume(first.next is not None)
    later = msgspec.structs.replace(output, event_time_us=10_000)
    if isinstance(later, Node):
        graph.put(nodes=[later])
    elif isinstance(later, Edge):
        graph.put(edges=[later])
    elif len(later.what) == 2:
        graph.delete(nodes=[later.what], event_time_us=10_000)
    else:
        graph.delete(edges=[later.what], event_time_us=10_000)
    names = [_name(thing) for thing in first]
    now = [_name(thing) for thing in _ask(graph, query, things)]
    try:
        rest = [_name(thing) for thing in _rest(graph, query, things, page, first.next)]
    except Conflict:
        assert now[: len(names)] != names or _starts_from_one(query)
        return
    assert len(set(names + rest)) == len(names + rest)
    assert set(now) - set(names) >= set(rest)
    if now[: len(names)] == names:
        assert names + rest == now


def _starts_from_one(query):
    """The last step may have begun at one node, whose edges are walked on from a key."""
    return bool(query.steps) and isinstance(query.steps[-1], Hop)


def _name(thing):
    if isinstance(thing, Node | Edge):
        return thing.ref
    return tuple(node.ref for node in thing.nodes), tuple(edge.ref for edge in thing.edges)


@given(graphs(), queries(), st.sampled_from(THINGS), st.integers(0, 12), st.integers(1, 3))
def test_a_traversal_that_runs_out_of_time_gives_a_part_and_goes_on(model, query, things, ticks, items):
    graph = _stored(model, items, Ticking())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reads, "_NODES_PER_READ", 2)
        whole = _ask(graph, query, things)
        part = _ask(graph, msgspec.structs.replace(query, within_s=ticks + 0.5), things)
        if part.reason != f"{ticks + 0.5:g} s were over":
            assert (list(part), part.reason) == (list(whole), whole.reason)
            return
        assert not part.complete
        if not any(getattr(step, "limit", None) or getattr(step, "per_node", None) for step in query.steps):
            assert {_name(thing) for thing in part} <= {_name(thing) for thing in whole}
        if part.next is not None:
            assert list(part) + _rest(graph, query, things, 3, part.next) == list(whole)


@given(graphs(), queries())
def test_with_time_enough_nothing_is_missing(model, query):
    result = _ask(_stored(model), msgspec.structs.replace(query, within_s=1e6), "nodes")
    assert [node.id for node in result] == walk_model(model, SCHEMA, query).nodes
    assert "over" not in result.reason


def _fan(number):
    model = ModelGraph()
    graph = _stored(model)
    graph.put(edges=[Edge("knows", "hub", f"{n:06}", {"n": n % 4}) for n in range(number)])
    return graph


def test_the_edges_of_one_node_go_on_behind_a_key_whatever_was_written():
    walk = (graph := _fan(5)).start("person", "hub").out("knows")
    first = walk.edges(page=2)
    graph.put(edges=[Edge("knows", "hub", "000000x")])
    graph.delete(edges=[("knows", "hub", "000001")])
    second = walk.edges(page=2, after=first.next)
    assert [edge.target for edge in second] == ["000002", "000003"]
    assert [edge.target for edge in walk.edges(page=9, after=second.next)] == ["000004"]


def test_no_time_at_all_reads_nothing_and_says_so():
    found = _fan(5).start("person", "hub").out("knows").within(0).nodes()
    assert (list(found), found.reason) == ([], "0 s were over")


@pytest.mark.parametrize("change", ["", "x", "AAAA", "é", "flip", "cut"])
def test_a_token_that_is_none_is_refused(change):
    walk = _fan(5).start("person", "hub").out("knows")
    token = walk.edges(page=2).next
    bad = {"flip": token[:10] + ("A" if token[10] != "A" else "B") + token[11:], "cut": token[:-4]}
    with pytest.raises(Invalid, match="`after` is not a token"):
        walk.edges(page=2, after=bad.get(change, change))


def test_a_token_belongs_to_its_question():
    graph = _fan(5)
    walk = graph.start("person", "hub").out("knows")
    token = walk.edges(page=2).next
    for other in (walk.nodes, walk.out("knows").edges, graph.start("person", "x").out("knows").edges):
        with pytest.raises(Invalid, match="`after` belongs to another question"):
            other(page=2, after=token)
    assert len(walk.within(1e6).edges(page=2, after=token)) == 2


def test_an_instant_needs_edges_with_validity():
    graph = _fan(1)
    with pytest.raises(Invalid, match="no edge type on the way has a validity"):
        graph.start("person", "hub").out("knows").as_of(1).nodes()
    with pytest.raises(Invalid, match=r"`as_of_us` is `1\.5`"):
        graph.start("person", "hub").out("likes").as_of(1.5).nodes()
    with pytest.raises(Invalid, match=r"`within_s` is `-1`"):
        graph.start("person", "hub").within(-1).nodes()


def test_validity_is_half_open():
    graph = Graph.open("memory:", [NodeType("n"), EdgeType("e", "n", "n", properties={"valid_to_us": int})])
    graph.put(edges=[Edge("e", "a", "b", {"valid_to_us": 10}), Edge("e", "a", "c")])
    at = {us: [n.id for n in graph.start("n", "a").out("e").as_of(us).nodes()] for us in (9, 10)}
    assert at == {9: ["b", "c"], 10: ["c"]}


def test_a_query_says_all_this_in_json():
    graph = _stored(ModelGraph())
    query = Query("person", ["a"], [Hop("out", "likes")], as_of_us=3, within_s=0.5)
    walk = graph.start("person", "a").out("likes").as_of(3).within(0.5)
    assert walk.query == query
    assert graph.traverse(walk.to_json()).query == query


def test_an_order_that_time_cut_has_no_next():
    graph = _stored(ModelGraph(), 2, Ticking())
    graph.put(edges=[Edge("knows", "hub", f"{n}", {"n": n}) for n in range(6)])
    walk = graph.start("person", "hub").out("knows", order_by="-n").within(2.5)
    assert [(edge.target) for edge in walk.edges()] == ["3", "2", "1", "0"]
    assert walk.edges().next is None


def test_a_token_of_another_graph_is_refused():
    walk, other = (_fan(5).start("person", "hub").out("knows") for _ in range(2))
    with pytest.raises(Invalid, match="`after` is not a token"):
        walk.edges(page=2, after=other.edges(page=2).next)


def test_tokens_outlive_the_process(tmp_path):
    pages = []
    for _ in range(2):
        with Graph.open(tmp_path, TYPES) as graph:
            graph.put(edges=[Edge("knows", "hub", f"n{number}") for number in range(5)])
            walk = graph.start("person", "hub").out("knows")
            pages.append(walk.edges(page=2, after=pages[-1].next if pages else None))
    assert [edge.target for page in pages for edge in page] == ["n0", "n1", "n2", "n3"]


def test_a_cut_on_the_way_promises_no_more_behind_the_last_step(monkeypatch):
    monkeypatch.setattr("weft.graph.traverse.walk.MAX_EDGES_PER_STEP", 2)
    graph = Graph.open("memory:", TYPES)
    ways = [Edge("knows", "hub", f"n{number}") for number in range(3)]
    graph.put(
        edges=[*ways, *(Edge("knows", f"n{number}", "t") for number in range(3)), Edge("knows", "t", "z")]
    )
    walk = graph.start("person", "hub").out("knows").out("knows").out("knows")
    found = walk.nodes()
    assert ([node.id for node in found], found.next) == (["z"], None)
    assert found.reason == "step 1 meets more than 2 edges"
